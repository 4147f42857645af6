"""What is to change in a dataset, and the dataset as it will be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_eomt.formats.coco_file import CocoFile
from napari_eomt.formats.safe_paths import folded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_eomt.formats.coco_checks import Record


@dataclass(frozen=True)
class Source:
    """Where an image of a dataset comes from, under ``source`` of its record.

    Parameters
    ----------
    name : str
        What people call it.
    path : str or None
        The file it was read from: two folders may have a file of one name.
    frame : int or None
        Of a stack, which frame, from 0.
    """

    name: str
    path: str | None = None
    frame: int | None = None

    @classmethod
    def of(cls, record: Record) -> Source | None:
        """Return what a record says; None if it says nothing that is ours."""
        value = record.get("source")
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return None
        path, frame = value.get("path"), value.get("frame")
        return cls(
            value["name"],
            path if isinstance(path, str) else None,
            frame if type(frame) is int else None,
        )

    @property
    def whole(self) -> Source:
        """The stack that it is a frame of."""
        return self if self.frame is None else replace(self, frame=None)

    @property
    def key(self) -> Source:
        """Equal for what is the same: of a file, its path says it all."""
        return self if self.path is None else replace(self, name="")

    def row(self, stem: str) -> dict[str, Any]:
        """Return the record's field; `stem` is what the names of its files begin with."""
        row = {"name": self.name, "path": self.path, "stem": stem, "frame": self.frame}
        return {key: value for key, value in row.items() if value is not None}


class Changes:
    """Records that are added to a dataset or replaced in it; the dataset's own stay as they are.

    Parameters
    ----------
    file : CocoFile
        The dataset as it is on the disk.
    """

    def __init__(self, file: CocoFile) -> None:
        self.file = file
        self._images: dict[int, Record] = {}
        self._annotations: dict[int, list[Record]] = {}
        self._categories: list[Record] = []
        self.owners: dict[int, int] = {
            r["id"]: r["image_id"] if "image_id" in r else r["video_id"] for r in file.annotations
        }
        self.next_annotation_id = file.next_annotation_id
        # YouTube-VIS's frames have names but no ids.
        self.next_image_id = max([0, *file.image_by_id, *file.video_by_id]) + 1
        self._sources: dict[Source, int] = {}
        self._stems: dict[Source, str] = {}
        self.taken: set[str] = set()
        for record in file.images:
            self._index(record)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to change."""
        return not (self._images or self._annotations or self._categories)

    @property
    def categories(self) -> list[Record]:
        """All categories, with the new ones."""
        return [*self.file.categories, *self._categories]

    def image(self, image_id: int) -> Record | None:
        """Return the record of an image, if there is one."""
        return self._images.get(image_id) or self.file.image_by_id.get(image_id)

    def find(self, source: Source) -> Record | None:
        """Return the record of the image that comes from there."""
        image_id = self._sources.get(source.key)
        return None if image_id is None else self.image(image_id)

    def stem_of(self, source: Source) -> str | None:
        """Return what the files of an image, or of the frames of a stack, begin with."""
        return self._stems.get(source.whole.key)

    def annotations_of(self, image_id: int) -> list[Record]:
        """Return the annotations of an image."""
        if image_id in self._annotations:
            return self._annotations[image_id]
        return self.file.annotations_of(image_id)

    def part(self, image_ids: tuple[int, ...]) -> CocoFile:
        """Return a file of some images, with all categories."""
        records = [(i, self.image(i)) for i in image_ids]
        there = [(i, record) for i, record in records if record is not None]
        return CocoFile(
            self.categories,
            [record for _, record in there],
            [record for i, _ in there for record in self.annotations_of(i)],
        )

    def add_categories(self, records: tuple[Record, ...]) -> None:
        """Add categories, with ids that are free."""
        self._categories.extend(records)

    def put(self, image: Record, annotations: list[Record], next_annotation_id: int) -> None:
        """Add an image, or replace it and its annotations."""
        image_id = image["id"]
        for record in self.annotations_of(image_id):
            self.owners.pop(record["id"], None)
        self._images[image_id] = image
        self._annotations[image_id] = annotations
        self.owners |= {record["id"]: image_id for record in annotations}
        self.next_annotation_id = next_annotation_id
        self.next_image_id = max(self.next_image_id, image_id + 1)
        self._index(image)

    def merged(self) -> CocoFile:
        """Return the dataset as it will be: what is there keeps its place, new things come last."""
        if self.is_empty:
            return self.file
        there = self.file.image_by_id
        images = [self._images.get(r["id"], r) for r in self.file.images]
        images += (record for i, record in self._images.items() if i not in there)
        return replace(
            self.file,
            categories=self.categories,
            images=images,
            annotations=list(self._iter_annotations()),
        )

    def _iter_annotations(self) -> Iterator[Record]:
        rest = {r["id"]: r for records in self._annotations.values() for r in records}
        for record in self.file.annotations:
            is_frame = "image_id" in record and "segmentations" not in record
            if is_frame and record["image_id"] in self._annotations:
                now = rest.pop(record["id"], None)
                if now is not None:
                    yield now
            else:
                yield record
        yield from rest.values()

    def _index(self, record: Record) -> None:
        name = record.get("file_name")
        if isinstance(name, str) and name:
            self.taken.add(folded(PurePosixPath(name.replace("\\", "/")).stem))
        source = Source.of(record)
        if source is None:
            return
        self._sources.setdefault(source.key, record["id"])
        stem = record["source"].get("stem")
        if isinstance(stem, str):
            self._stems.setdefault(source.whole.key, stem)
            self.taken.add(folded(stem))
