"""Videos on disk as a training opens them: YouTube-VIS, the Cell Tracking Challenge, documents."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_eomt.annotation.files import SUFFIX
from napari_eomt.errors import DataError
from napari_eomt.formats.ctc_table import find_ctc
from napari_eomt.formats.dataset import Dataset, dataset_json
from napari_eomt.training.video_ctc import CtcSource
from napari_eomt.training.video_documents import DocumentVideos, find_documents
from napari_eomt.training.video_sources import VideoSource, YtvisSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_eomt.formats.slices import ImagePlace


@dataclass(frozen=True, eq=False)
class Videos:
    """Videos with their tracks.

    Parameters
    ----------
    path : Path
        Of the JSON, the document, or the folder of either.
    source : VideoSource
    notes : tuple of str
        What was left out.
    """

    path: Path
    source: VideoSource
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class OpenedVideos:
    """Videos that are open to be learnt from; has all that `Opened` has.

    Parameters
    ----------
    data : Videos
    """

    data: Videos

    @property
    def source(self) -> VideoSource:
        """Their frames."""
        return self.data.source

    @property
    def path(self) -> Path:
        """Of the JSON, or the folder."""
        return self.data.path

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out."""
        return self.data.notes

    @property
    def files(self) -> Mapping[str, ImagePlace]:
        """Files of the frames, by their keys."""
        return self.data.source.files

    @property
    def val_fraction(self) -> float | None:
        """Videos on disk are not split."""
        return None


def videos_at(path: Path) -> Videos | None:
    """Open documents of stacks, or the Cell Tracking Challenge's sequences; None if it is neither.

    A folder with a COCO file is that, whatever else lies in it.

    Raises
    ------
    DataError
        If its tracks or images cannot be used.
    """
    if path.suffix == SUFFIX and path.is_dir():  # its own JSON is no COCO file
        return _videos(path, DocumentVideos(path))
    if path.is_dir():
        try:
            dataset_json(path)
        except DataError:
            pass
        else:
            return None
    if find_documents(path):
        return _videos(path, DocumentVideos(path))
    return Videos(path, CtcSource(path)) if find_ctc(path) else None


def _videos(path: Path, source: VideoSource) -> Videos:
    return Videos(path, source, source.notes)


def videos_of(dataset: Dataset) -> Videos | None:
    """Return the videos of a YouTube-VIS file; None if it is of images.

    Raises
    ------
    DataError
        If frames are not there.
    """
    if dataset.file.images or not dataset.file.videos:
        return None
    return Videos(dataset.path, YtvisSource(dataset), dataset.notes)


def check_tracks(source: VideoSource, path: Path, keys: Sequence[str]) -> tuple[str, ...]:
    """Check that something of what is learnt from goes on from frame to frame.

    Parameters
    ----------
    source : VideoSource
    path : Path
        For errors.
    keys : sequence of str
        Of the frames that learn.

    Returns
    -------
    tuple of str
        What the user should know.

    Raises
    ------
    DataError
        If there is no track, or each is in one frame only.
    """
    tracks = _lengths(source, keys)
    if not tracks:
        raise DataError(
            f"{path}: the {len(keys)} frames that learn have no tracks: there is nothing to "
            "learn from. Annotate objects in them first."
        )
    n_short = sum(n == 1 for n in tracks)
    if n_short == len(tracks):
        raise DataError(
            f"{path}: each of the {n_short} tracks is in one frame only: they do not tell how an "
            "object goes on. Join what is the same object in several frames; or learn from the "
            "frames as images, with an image model."
        )
    if not n_short:
        return ()
    return (f"{n_short} of {len(tracks)} tracks are in one frame only.",)


def _lengths(source: VideoSource, keys: Sequence[str]) -> list[int]:
    """Return in how many of some frames each track is that is in any."""
    groups = {entry.key: entry.group for entry in source.entries}
    n_frames, n_learn = Counter(groups.values()), Counter(groups[key] for key in keys)
    whole = {video for video, n in n_learn.items() if n == n_frames[video]}
    lengths = [n for (video, _), n in source.track_lengths.items() if video in whole and n]
    found: Counter[tuple[str, int]] = Counter()
    for key in keys:
        if groups[key] not in whole:
            found.update((groups[key], s.id) for s in source.segmentation(key).segments)
    return [*lengths, *found.values()]
