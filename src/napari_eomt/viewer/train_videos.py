"""Learning from videos on disk, each a row; without a window, no torch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.evaluation.truth import load_annotated
from napari_eomt.formats.copies import join_copies
from napari_eomt.formats.dataset import Dataset
from napari_eomt.training.video_opened import videos_at, videos_of
from napari_eomt.viewer.train_dataset import LearnRow, Prepared, quiet, typical_size
from napari_eomt.viewer.train_folder import FolderSource, common_folder
from napari_eomt.viewer.train_video_parts import write_parts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_eomt.training.sources import ImageEntry
    from napari_eomt.training.video_opened import Videos
    from napari_eomt.training.video_sources import VideoSource
    from napari_eomt.viewer.train_dataset import Parts, Tell

_N_MEASURED, _N_FRAMES = 50, 3
"""Videos, and frames of each, in which objects are measured: the rest is like them."""


def open_learn_source(path: Path) -> FolderSource | VideoFolderSource:
    """Open a dataset on disk: of images, or of videos with tracks.

    Parameters
    ----------
    path : Path
        Its folder, its COCO file or its YouTube-VIS file, a folder of the Cell Tracking
        Challenge, or a document.

    Raises
    ------
    DataError
        If there is none, it cannot be read, or has nothing annotated.
    """
    videos = videos_at(path)
    if videos is not None:
        return VideoFolderSource(videos)
    data = load_annotated(path)
    videos = videos_of(data) if isinstance(data, Dataset) else None
    return FolderSource(data) if videos is None else VideoFolderSource(videos)


class VideoFolderSource:
    """The videos of a dataset on disk.

    Parameters
    ----------
    videos : Videos
    """

    val_fraction = None
    """Videos on disk are not split."""

    def __init__(self, videos: Videos) -> None:
        self._videos = videos
        self.path = videos.path
        source = videos.source
        frames: dict[str, list[ImageEntry]] = {}
        for entry in source.entries:
            frames.setdefault(entry.group, []).append(entry)
        # As the command does, which decides itself if nobody chooses.
        copies = join_copies({entry.key: entry.group for entry in source.entries}, source.files)
        measured = set(list(frames)[:_N_MEASURED])
        categories = {category.id: category for category in source.categories}
        tracks: dict[str, list[int]] = {video: [] for video in frames}
        for (video, track), category_id in source.track_categories.items():
            if source.track_lengths[video, track]:
                tracks[video].append(category_id)
        self.rows = tuple(
            LearnRow(
                video,
                _name_of(video, entries),
                len(entries),
                sum(categories[i].is_thing for i in tracks[video]),
                entries[0].shape,
                _object_size(source, entries) if video in measured else None,
                sum(not categories[i].is_thing for i in tracks[video]),
                Counter(categories[i] for i in tracks[video]),
                is_video=True,
                group=copies[video],
            )
            for video, entries in frames.items()
        )

    def write(
        self, parts: Parts, is_chosen: bool, val_fraction: float, folder: Path, tell: Tell = quiet
    ) -> Prepared:
        """Return the dataset as it is or, if somebody chose among its videos, a part of it.

        See `LearnSource.write`.
        """
        if not is_chosen:
            return Prepared(self.path, None, val_fraction)
        learn, check = write_parts(self._videos.source, parts.of, folder, tell)
        return Prepared(learn, check, val_fraction if parts.in_time else 0.0)


def _name_of(video: str, entries: Sequence[ImageEntry]) -> str:
    """Return what people call a video: the folder of its frames, if they have one."""
    folder = common_folder(entry.name for entry in entries).rstrip("/")
    return folder.rpartition("/")[2] or video


def _object_size(source: VideoSource, entries: Sequence[ImageEntry]) -> float | None:
    """Return the median √area of the things in a few frames."""
    areas: list[float] = []
    for k in np.unique(np.linspace(0, len(entries) - 1, _N_FRAMES).astype(int)):
        found = source.segmentation(entries[k].key)
        pixels = np.bincount(found.id_map.ravel())
        areas += [float(pixels[s.id]) for s in found.segments if s.is_thing and s.id < len(pixels)]
    return typical_size(areas)
