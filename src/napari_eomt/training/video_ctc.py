"""Sequences of the Cell Tracking Challenge to learn from: images beside their tracks. No torch."""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError
from napari_eomt.formats.ctc import read_ctc
from napari_eomt.formats.ctc_table import TABLES, find_ctc
from napari_eomt.formats.image_files import check_image, read_image
from napari_eomt.structures.categories import Category
from napari_eomt.training.sources import ImageEntry
from napari_eomt.training.video_choice import frame_key
from napari_eomt.training.video_sources import VideoSource

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.annotation.document import Document
    from napari_eomt.structures.frames import Frame
    from napari_eomt.structures.segments import Segmentation

_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_NUMBER = re.compile(r"(\d+)$", re.ASCII)
_N_DOCUMENTS = 4  # in memory at a time


class CtcSource(VideoSource):
    """All sequences of a folder that have a table of tracks.

    The images of ``01_GT/TRA/man_track.txt`` are looked for in ``01/``, as the challenge has them;
    else in the table's own folder, in ``images/`` or ``frames/`` beside it, and above it.

    Parameters
    ----------
    path : Path
        Of the folder, or of a table.

    Raises
    ------
    DataError
        If there is no table, tracks cannot be read, or images of frames are not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.categories = (Category(1, "cell"),)
        # A decoder's limits are set for the whole process while it reads, so one reads at a time.
        self._lock = threading.Lock()
        self._places: dict[str, tuple[Path, int, Path]] = {}
        self._document = lru_cache(maxsize=_N_DOCUMENTS)(_read)
        entries: list[ImageEntry] = []
        lengths: dict[tuple[str, int], int] = {}
        for table in find_ctc(path):
            document = self._document(table)
            name = sequence_name(table)
            images = find_frames(table, document.n_frames)
            size = document.image_shape
            check_image(images[0], size)
            for frame, image in enumerate(images):
                key = frame_key(name, frame)
                entries.append(ImageEntry(key, f"{name}/{image.name}", name, size))
                self._places[key] = table, frame, image
            for _, segment in document.iter_segments():
                lengths[name, segment.id] = lengths.get((name, segment.id), 0) + 1
        self.entries, self.track_lengths = tuple(entries), lengths
        self.track_categories = dict.fromkeys(lengths, self.categories[0].id)
        names = [sequence_name(table) for table in find_ctc(path)]
        if len(set(names)) < len(names):
            raise DataError(
                f"{path} has several tables of a sequence called {max(names, key=names.count)!r}. "
                "Choose a folder that has one of each."
            )

    def frame(self, key: str) -> Frame:
        """Read the pixels of a frame.

        Raises
        ------
        DataError
            If it cannot be read, or is of another size than its tracks.
        """
        table, _, image = self._places[key]
        with self._lock:
            return read_image(image, self._document(table).image_shape)

    def segmentation(self, key: str) -> Segmentation:
        """Return the tracks of a frame."""
        table, frame, _ = self._places[key]
        with self._lock:
            return self._document(table).segmentation(frame)

    @property
    def files(self) -> dict[str, Path]:
        """Files of the frames by their keys."""
        return {key: image for key, (_, _, image) in self._places.items()}

    @property
    def tables(self) -> dict[str, Path]:
        """The tables of tracks, by the names of their sequences."""
        return {sequence_name(table): table for table, _, _ in self._places.values()}


def sequence_name(table: Path) -> str:
    """Return what a sequence is called: 01 of 01_GT/TRA/man_track.txt, else its folder."""
    folder = table.parent
    if folder.name.upper() == "TRA":
        folder = folder.parent
    name = re.sub(r"_(GT|ST|RES)$", "", folder.name, flags=re.IGNORECASE)
    return name or folder.name


def find_frames(table: Path, n_frames: int) -> list[Path]:
    """Return the images of a sequence, in order.

    Raises
    ------
    DataError
        If there are none, or not as many as the tracks have frames.
    """
    folder = table.parent
    above = folder.parent.parent if folder.name.upper() == "TRA" else folder.parent
    places = [above / sequence_name(table), folder / "images", folder / "frames", folder]
    places += [folder.parent / "images", folder.parent / "frames"]
    seen: list[tuple[Path, int]] = []
    for place in places:
        found = list(numbered_images(place, TABLES[table.name]))
        if len(found) == n_frames:
            return found
        if found:
            seen.append((place, len(found)))
    if seen:
        place, n = seen[0]
        raise DataError(
            f"{table} is of {n_frames} frames, but {place} has {n} images. Put an image of each "
            "frame there."
        )
    raise DataError(
        f"{table}: there are no images of its {n_frames} frames in {places[0]} or {places[1]}. "
        "Put them there, numbered as the frames: t000.tif, t001.tif …"
    )


def numbered_images(folder: Path, mask: str = "") -> dict[Path, int]:
    """Return the images of a folder whose names end in a number, in its order, with it.

    Parameters
    ----------
    folder : Path
    mask : str, optional
        What the names of label images begin with, which are none.
    """
    if not folder.is_dir():
        return {}
    numbers = {
        path: int(match[1])
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES
        and not (mask and re.fullmatch(rf"{mask}\d+", path.stem))
        and (match := _NUMBER.search(path.stem))
    }
    return dict(sorted(numbers.items(), key=lambda item: item[1]))


def _read(table: Path) -> Document:
    return read_ctc(table)
