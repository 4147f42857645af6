"""A COCO file in memory: its records as they were, checked, and found by their ids."""

from __future__ import annotations

import reprlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_checks import (
    Problem,
    Record,
    check_annotation,
    check_category,
    check_image,
    check_video,
    wrong_runs,
)
from napari_eomt.formats.json_file import MAX_BYTES, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from napari_eomt.structures.rle import Rle

T = TypeVar("T")

_MAX_WHY = 300  # characters: what a damaged file holds may be long

_SECTIONS = ("info", "licenses", "categories", "images", "videos", "annotations")


@dataclass(frozen=True, eq=False)
class CocoFile:
    """What a COCO file holds: instances in images, or in videos as YouTube-VIS has them.

    Records are the JSON's own objects, with every field that they had: a change to one is a
    change to the file. The indexes are made once, when they are first asked for: make a new
    `CocoFile` of changed lists (`dataclasses.replace`).

    Parameters
    ----------
    categories, images, annotations : list of dict
        In their order.
    videos : list of dict
    info, licenses : Any
        None if there are none.
    extra : dict
        Every other key.
    keys : tuple of str
        All keys in the order in which they were; those of what is not in it come last.
    problems : tuple of Problem
        Records that were left out when it was read.
    """

    categories: list[Record] = field(default_factory=list)
    images: list[Record] = field(default_factory=list)
    annotations: list[Record] = field(default_factory=list)
    videos: list[Record] = field(default_factory=list)
    info: Any = None
    licenses: Any = None
    extra: dict[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @cached_property
    def category_by_id(self) -> dict[int, Record]:
        """The categories by their ids."""
        return {record["id"]: record for record in self.categories}

    @cached_property
    def image_by_id(self) -> dict[int, Record]:
        """The images by their ids."""
        return {record["id"]: record for record in self.images}

    @cached_property
    def video_by_id(self) -> dict[int, Record]:
        """The videos by their ids."""
        return {record["id"]: record for record in self.videos}

    @cached_property
    def annotation_by_id(self) -> dict[int, Record]:
        """The annotations by their ids."""
        return {record["id"]: record for record in self.annotations}

    def annotations_of(self, image_id: int) -> list[Record]:
        """Return the annotations of an image, in their order."""
        return self._by_image.get(image_id, [])

    def annotations_of_video(self, video_id: int) -> list[Record]:
        """Return the annotations of a video that have a mask for each frame, in their order."""
        return self._by_video.get(video_id, [])

    def is_shared(self, image: Record) -> bool:
        """Whether several images are of the file of one: slices of a stack, each with a `frame`."""
        return image.get("file_name") in self._shared_names

    @property
    def next_annotation_id(self) -> int:
        """An id that no annotation has, nor one that was left out."""
        skipped = (p.record.get("id") for p in self.problems if isinstance(p.record, dict))
        ids = [*self.annotation_by_id, *(i for i in skipped if type(i) is int)]
        return max(0, max(ids, default=0)) + 1

    @cached_property
    def _shared_names(self) -> frozenset[str]:
        n_images = Counter(record["file_name"] for record in self.images if record.get("file_name"))
        return frozenset(name for name, n in n_images.items() if n > 1)

    @cached_property
    def _by_image(self) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {}
        for record in self.annotations:
            if "image_id" in record and "segmentations" not in record:
                found.setdefault(record["image_id"], []).append(record)
        return found

    @cached_property
    def _by_video(self) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {}
        for record in self.annotations:
            if "segmentations" in record:
                found.setdefault(record["video_id"], []).append(record)
        return found

    def items(self, annotations: Iterable[Record] | None = None) -> Iterator[tuple[str, Any]]:
        """Yield keys and values as they lie in the file.

        Parameters
        ----------
        annotations : iterable of dict, optional
            Instead of its own, taken as they come.
        """
        values: dict[str, Any] = {name: getattr(self, name) for name in _SECTIONS}
        if annotations is not None:
            values["annotations"] = iter(annotations)
        needed = [
            name
            for name in _SECTIONS
            if values[name] not in (None, [])
            or name in ("categories", "annotations")
            or (name == "images" and not self.videos)
        ]
        values |= self.extra
        for key in dict.fromkeys((*self.keys, *needed, *self.extra)):
            if key in values:
                yield key, values[key]


def load_coco(path: Path, *, skip_invalid: bool = False, max_bytes: int = MAX_BYTES) -> CocoFile:
    """Read a COCO file, and check all of it.

    Parameters
    ----------
    path : Path
    skip_invalid : bool
        Whether records that make no sense are left out, and told in `problems`; an annotation of
        an image or category that was left out is one of them.
    max_bytes : int
        A larger file is not read.

    Raises
    ------
    DataError
        If the file cannot be read; or, unless they are skipped, for the first record that makes no
        sense, by its id.
    """
    raw = read_json(path, max_bytes=max_bytes)
    if not isinstance(raw, dict):
        hint = " A list is what COCO's results are: they do not say which images and categories "
        raise DataError(
            f"{path.name} holds a {type(raw).__name__}; an object with 'images', 'annotations' and "
            f"'categories' was expected.{hint + 'there are.' if isinstance(raw, list) else ''}"
        )
    for names in (("categories",), ("images", "videos")):
        if not any(name in raw for name in names):
            raise DataError(
                f"{path.name} has no '{names[0]}'; an object with 'images', 'annotations' and "
                f"'categories' was expected, not one with {reprlib.repr(sorted(raw))}. Choose a "
                "COCO file of instances."
            )
    return _Checked(path.name, skip_invalid).file(raw)


def save_coco(file: CocoFile, path: Path, annotations: Iterable[Record] | None = None) -> None:
    """Write a COCO file, whole or not at all, a record a line.

    Parameters
    ----------
    file : CocoFile
    path : Path
    annotations : iterable of dict, optional
        Instead of the file's own: written as they come, so that not all of them have to be in
        memory.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_json(path, file.items(annotations))


class _Checked:
    """Takes what makes sense out of a file, and keeps what does not apart."""

    def __init__(self, name: str, skip_invalid: bool) -> None:
        self._name, self._skip = name, skip_invalid
        self._problems: list[Problem] = []

    def file(self, raw: dict[str, Any]) -> CocoFile:
        categories = self._records(raw, "categories", check_category)
        images = self._records(raw, "images", check_image)
        videos = self._records(raw, "videos", check_video)
        by_id = [{r["id"]: r for r in records} for records in (categories, images, videos)]
        runs: list[tuple[int, Rle]] = []
        kept: list[tuple[int, Record]] = []

        def check(record: Record) -> list[Rle]:
            return check_annotation(record, *by_id)

        for index, record, found in self._iter(raw, "annotations", check):
            runs.extend((len(kept), rle) for rle in found)
            kept.append((index, record))
        wrong: dict[int, str] = {}
        for k, message in wrong_runs(runs):
            if k not in wrong:
                wrong[k] = message
                self._add("annotations", *kept[k], message)
        annotations = [record for k, (_, record) in enumerate(kept) if k not in wrong]
        return CocoFile(
            categories,
            images,
            annotations,
            videos,
            raw.get("info"),
            raw.get("licenses"),
            {key: value for key, value in raw.items() if key not in _SECTIONS},
            tuple(raw),
            tuple(self._problems),
        )

    def _records(
        self, raw: dict[str, Any], section: str, check: Callable[[Record], None]
    ) -> list[Record]:
        return [record for _, record, _ in self._iter(raw, section, check)]

    def _iter(
        self, raw: dict[str, Any], section: str, check: Callable[[Record], T]
    ) -> Iterator[tuple[int, Record, T]]:
        records = raw.get(section, [])
        if not isinstance(records, list):
            raise DataError(
                f"{self._name}: '{section}' is a {type(records).__name__}; a list was expected. "
                "Choose a COCO file of instances."
            )
        seen: set[int] = set()
        for index, record in enumerate(records):
            try:
                if not isinstance(record, dict):
                    raise ValueError(f"it is {reprlib.repr(record)}; an object was expected")
                found = check(record)
                if record["id"] in seen:
                    raise ValueError(f"the id {record['id']} is there twice. Give it another")
            except ValueError as error:
                self._add(section, index, record, str(error))
            else:
                seen.add(record["id"])
                yield index, record, found

    def _add(self, section: str, index: int, record: Any, why: str) -> None:
        what = {"categories": "category"}.get(section, section[:-1])
        which = f"{what} number {index + 1}"
        if isinstance(record, dict) and type(record.get("id")) is int:
            which = f"{what} {record['id']}"
            for owner in ("image", "video"):
                if section == "annotations" and type(record.get(f"{owner}_id")) is int:
                    which += f" of {owner} {record[f'{owner}_id']}"
        why = why if len(why) <= _MAX_WHY else f"{why[:_MAX_WHY]} …"
        message = f"{self._name}: {which}: {why.rstrip('.')}."
        if not self._skip:
            raise DataError(
                f"{message} Correct the file, or write a copy without what makes no sense: "
                "napari-eomt convert --skip-invalid."
            )
        self._problems.append(Problem(section, index, message, record))
