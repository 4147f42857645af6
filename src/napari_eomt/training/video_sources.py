"""Videos and their tracks as a training reads them, frame by frame: YouTube-VIS, or open work.

What is one thing over time has one id in all frames of its video. No torch.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.evaluation.truth import painted
from napari_eomt.formats.changes import renumbered
from napari_eomt.formats.coco_attributes import read_attributes
from napari_eomt.formats.coco_categories import read_category
from napari_eomt.formats.dataset_images import image_file, roots_of
from napari_eomt.formats.image_files import check_image, read_image
from napari_eomt.formats.rebuilt import by_track
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.training.sources import ImageEntry, SessionImage, SessionSource
from napari_eomt.training.video_choice import frame_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_eomt.annotation.document import Document
    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.coco_file import CocoFile
    from napari_eomt.formats.dataset import Dataset
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.frames import Frame


class VideoSource(ABC):
    """Videos: an `ImageSource` of frames, whose `group` is their video.

    The frames of a video stand in their order, and ids of segments are those of their tracks.

    Attributes
    ----------
    track_lengths : dict of (str, int) to int
        In how many frames each track is, by video and id.
    track_categories : dict of (str, int) to int
        Of the same tracks.
    notes : tuple of str
        What was left out.
    """

    categories: tuple[Category, ...]
    entries: tuple[ImageEntry, ...]
    track_lengths: Mapping[tuple[str, int], int]
    track_categories: Mapping[tuple[str, int], int]
    notes: tuple[str, ...] = ()

    @abstractmethod
    def frame(self, key: str) -> Frame:
        """Read the pixels of a frame."""

    @abstractmethod
    def segmentation(self, key: str) -> Segmentation:
        """Read the tracks of a frame."""

    @property
    def files(self) -> dict[str, Path]:
        """Files of the frames by their keys, if they are in files; several may be in one."""
        return {}


class YtvisSource(VideoSource):
    """The videos of a YouTube-VIS file. One without tracks shows that there is nothing.

    Parameters
    ----------
    dataset : Dataset

    Raises
    ------
    DataError
        If there are no videos, or frames of some are not there, or of another size.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.path, self._file = dataset.path, dataset.file
        # A decoder's limits are set for the whole process while it reads, so one reads at a time.
        self._lock = threading.Lock()
        self.categories = tuple(read_category(record) for record in self._file.categories)
        self._roots = roots_of(self.path)
        self._places: dict[str, tuple[Record, int]] = {}
        self._ids: dict[int, dict[int, int]] = {}
        entries: list[ImageEntry] = []
        lengths: dict[tuple[str, int], int] = {}
        kinds: dict[tuple[str, int], int] = {}
        for video in self._file.videos:
            names = video.get("file_names")
            if not names:
                raise DataError(
                    f"{self.path}: video {video['id']} does not say which files its frames are. "
                    "Give it 'file_names', one for each frame."
                )
            group, size = group_of_video(video), (int(video["height"]), int(video["width"]))
            for frame, name in enumerate(names):
                key = frame_key(video["id"], frame)
                entries.append(ImageEntry(key, str(name), group, size))
                self._places[key] = video, frame
            records = self._file.annotations_of_video(video["id"])
            ids = self._ids[video["id"]] = _track_ids(records)
            for record in records:
                n = sum(mask is not None for mask in record["segmentations"])
                track = group, ids[record["id"]]
                lengths[track] = lengths.get(track, 0) + n
                kinds[track] = record["category_id"]
        self.entries, self.track_lengths = tuple(entries), lengths
        self.track_categories = kinds
        self._check_frames()

    def frame(self, key: str) -> Frame:
        """Read the pixels of a frame.

        Raises
        ------
        DataError
            If it cannot be read, or is of another size than its video.
        """
        video, frame = self._places[key]
        with self._lock:
            return read_image(self._path(video, frame), (video["height"], video["width"]))

    def segmentation(self, key: str) -> Segmentation:
        """Read the tracks of a frame.

        Raises
        ------
        DataError
            If a mask cannot be drawn.
        """
        video, frame = self._places[key]
        records = []
        for record in self._file.annotations_of_video(video["id"]):
            mask = record["segmentations"][frame]
            if mask is not None:
                kept = {k: v for k, v in record.items() if k != "segmentations"}
                records.append({**kept, "image_id": key, "segmentation": mask})
        found = painted(records, (video["height"], video["width"]), self._file)
        ids = self._ids[video["id"]]
        return _renumbered(found, {s.id: ids[s.annotation_id or 0] for s in found.segments})

    @property
    def files(self) -> dict[str, Path]:
        """Files of the frames by their keys."""
        return {key: self._path(*place) for key, place in self._places.items()}

    @property
    def coco(self) -> CocoFile:
        """The file that they were read from."""
        return self._file

    def id_of(self, video: str) -> int:
        """Return the id of a video in the file."""
        return next(int(v["id"]) for v in self._file.videos if group_of_video(v) == video)

    def _path(self, video: Record, frame: int) -> Path:
        record = {"id": f"{video['id']}, frame {frame}", "file_name": video["file_names"][frame]}
        return image_file(self._roots, record)

    def _check_frames(self) -> None:
        """Refuse frames that are missing, and the first of a video if it is of another size."""
        missing: list[str] = []
        for video, frame in self._places.values():
            try:
                path = self._path(video, frame)
            except DataError as error:
                missing.append(str(error).replace("Image ", "Video ", 1))
                continue
            if frame == 0:
                check_image(path, (video["height"], video["width"]))
        if missing:
            raise DataError(
                f"{self.path}: {len(missing)} of {len(self._places)} frames are not there. The "
                f"first: {missing[0]}"
            )


class SessionVideos(VideoSource):
    """Stacks that are open, of whose frames something was decided; see `SessionSource`.

    Parameters
    ----------
    images : sequence of SessionImage

    Raises
    ------
    DataError
        If nothing was decided, or the documents have different categories of one id.
    """

    def __init__(self, images: Sequence[SessionImage]) -> None:
        tracked = [replace(image, document=by_track(image.document)) for image in images]
        self._source = SessionSource(tracked)
        self.categories, self.entries = self._source.categories, self._source.entries
        lengths: dict[tuple[str, int], int] = {}
        kinds: dict[tuple[str, int], int] = {}
        for entry in self.entries:
            for segment in self._source.segmentation(entry.key).segments:
                track = entry.group, segment.id
                lengths[track] = lengths.get(track, 0) + 1
                kinds[track] = segment.category_id
        self.track_lengths, self.track_categories = lengths, kinds

    def frame(self, key: str) -> Frame:
        """Read the pixels of a frame."""
        return self._source.frame(key)

    def segmentation(self, key: str) -> Segmentation:
        """Return what is known about a frame."""
        return self._source.segmentation(key)


def group_of_video(record: Record) -> str:
    """Return by what a video of a YouTube-VIS file is known."""
    return f"video {record['id']}"


def merged_categories(
    known: tuple[Category, ...], document: Document, name: str
) -> tuple[Category, ...]:
    """Return categories with those of a document, of one piece of work: equal ids are one.

    Raises
    ------
    DataError
        If there are different ones of one id.
    """
    by_id = {category.id: category for category in known}
    for category in document.categories.values():
        other = by_id.setdefault(category.id, category)
        if (other.name, other.is_thing) != (category.name, category.is_thing):
            raise DataError(
                f"{name}: category {category.id} is {category.name!r}, in another document "
                f"{other.name!r}. Give them different ids."
            )
    return tuple(by_id.values())


def _track_ids(records: Sequence[Record]) -> dict[int, int]:
    """Return a number for each annotation of a video: the same for those of one track."""
    numbers: dict[tuple[str, int], int] = {}
    found: dict[int, int] = {}
    for record in records:
        track = read_attributes(Segment(1, record["category_id"]), record).track_id
        name = ("annotation", int(record["id"])) if track is None else ("track", track)
        found[record["id"]] = numbers.setdefault(name, len(numbers) + 1)
    return found


def _renumbered(found: Segmentation, numbers: Mapping[int, int]) -> Segmentation:
    """Give segments the ids of their tracks; two of one track are one."""
    kept: dict[int, Any] = {}
    for segment in found.segments:
        kept.setdefault(numbers[segment.id], segment)
    segments = tuple(replace(segment, id=i) for i, segment in sorted(kept.items()))
    return Segmentation(renumbered(found.id_map, numbers), segments)
