"""The JSON of a panoptic dataset: read, and checked before anything relies on it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_checks import (
    Problem,
    Record,
    check_annotation,
    check_category,
    check_image,
)
from napari_eomt.formats.coco_file import CocoFile
from napari_eomt.formats.id_png import MAX_ID
from napari_eomt.formats.json_file import MAX_BYTES, read_json
from napari_eomt.formats.safe_paths import inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, eq=False)
class PanopticFile:
    """A panoptic dataset: its JSON as it was, and where its PNGs lie.

    Parameters
    ----------
    path : Path
        Of the JSON.
    folder : Path
        Of the PNGs.
    file : CocoFile
        Its annotations are one for each image: ``image_id``, ``file_name``, ``segments_info``.
    skip_invalid : bool
        Whether pixels and segments that make no sense are left out when an image is read.
    """

    path: Path
    folder: Path
    file: CocoFile
    skip_invalid: bool = False

    def annotation_of(self, image_id: int) -> Record | None:
        """Return the annotation of an image, if it has one."""
        found = self.file.annotations_of(image_id)
        return found[0] if found else None

    def png_of(self, image_id: int) -> Path:
        """Return the PNG of an image's segments.

        Raises
        ------
        DataError
            If it is not there, or the image was not annotated.
        """
        record = self.annotation_of(image_id)
        if record is None:
            raise DataError(
                f"{self.path.name}: image {image_id} has no annotation, so no PNG of segments. "
                "Annotate it, or leave the image out."
            )
        path = self.folder / str(record["file_name"])
        if not path.is_file():
            raise DataError(
                f"Image {image_id}: there is no file {record['file_name']!r} in {self.folder}, "
                "the PNG of its segments. Put the PNGs there."
            )
        return path


def load_panoptic(
    path: Path,
    folder: Path | None = None,
    *,
    skip_invalid: bool = False,
    max_bytes: int = MAX_BYTES,
) -> PanopticFile:
    """Read the JSON of a panoptic dataset, and check all of it; PNGs are read image by image.

    Parameters
    ----------
    path : Path
    folder : Path, optional
        Of the PNGs; by default named as the JSON, else the JSON's own.
    skip_invalid : bool
        Whether records that make no sense are left out, and told in ``file.problems``.
    max_bytes : int
        A larger JSON is not read.

    Raises
    ------
    DataError
        If it cannot be read, or a record makes no sense.
    """
    raw = read_json(path, max_bytes=max_bytes)
    lists = ("images", "annotations", "categories")
    if not isinstance(raw, dict) or any(not isinstance(raw.get(key), list) for key in lists):
        raise DataError(
            f"{path.name} is no COCO panoptic file: an object with the lists 'images', "
            "'annotations' and 'categories' was expected. Choose another file."
        )
    named = path.with_suffix("")
    png_folder = folder or (named if named.is_dir() else path.parent)
    checked = _Checked(path.name, skip_invalid)
    categories = checked.records(raw["categories"], "categories", _check_panoptic_category)
    images = checked.records(raw["images"], "images", check_image)
    by_id = {r["id"]: r for r in categories}, {r["id"]: r for r in images}
    annotations = checked.records(
        raw["annotations"],
        "annotations",
        lambda record: _check_panoptic_annotation(record, by_id[1], png_folder),
        key="image_id",
    )
    annotations = [checked.segments(record, *by_id) for record in annotations]
    known = ("info", "licenses", *lists)
    file = CocoFile(
        categories,
        images,
        annotations,
        info=raw.get("info"),
        licenses=raw.get("licenses"),
        extra={key: value for key, value in raw.items() if key not in known},
        keys=tuple(raw),
        problems=tuple(checked.problems),
    )
    return PanopticFile(path, png_folder, file, skip_invalid)


class _Checked:
    """Takes what makes sense out of a file, and keeps what does not apart."""

    def __init__(self, name: str, skip: bool) -> None:
        self._name, self._skip = name, skip
        self.problems: list[Problem] = []

    def records(
        self, rows: list[Any], section: str, check: Callable[[Record], None], key: str = "id"
    ) -> list[Record]:
        kept: dict[int, Record] = {}
        for index, row in enumerate(rows):
            try:
                if not isinstance(row, dict):
                    raise ValueError(f"it is {reprlib.repr(row)}; an object was expected")
                check(row)
                if row[key] in kept:
                    raise ValueError(f"the {key} {row[key]} is there twice. Give it another")
            except ValueError as error:
                what = "category" if section == "categories" else section[:-1]
                known = isinstance(row, dict) and type(row.get(key)) is int
                which = f"{what} {key} {row[key]}" if known else f"{what} number {index + 1}"
                self._add(Problem(section, index, f"{which}: {error}", row))
            else:
                kept[row[key]] = row
        return list(kept.values())

    def segments(
        self, record: Record, categories: dict[int, Record], images: dict[int, Record]
    ) -> Record:
        """Return an annotation with those segments that make sense."""
        kept: dict[int, Record] = {}
        for index, info in enumerate(record["segments_info"]):
            try:
                if not isinstance(info, dict):
                    raise ValueError(f"it is {reprlib.repr(info)}; an object was expected")
                plain = {k: v for k, v in info.items() if not k.startswith("segmentation")}
                check_annotation(plain | {"image_id": record["image_id"]}, categories, images, {})
                if not 1 <= info["id"] <= MAX_ID:
                    raise ValueError(f"id is {info['id']}; a PNG holds ids from 1 to {MAX_ID}")
                if info["id"] in kept:
                    raise ValueError("the id is there twice. Give it another")
            except ValueError as error:
                known = isinstance(info, dict) and type(info.get("id")) is int
                which = f"segment {info['id']}" if known else f"segment number {index + 1}"
                message = f"image {record['image_id']}, {which}: {error}"
                self._add(Problem("segments_info", index, message, info))
            else:
                kept[info["id"]] = info
        infos = list(kept.values())
        return (
            record
            if len(infos) == len(record["segments_info"])
            else record | {"segments_info": infos}
        )

    def _add(self, problem: Problem) -> None:
        message = f"{self._name}: {problem.message.rstrip('.')}."
        if not self._skip:
            raise DataError(
                f"{message} Correct the file, or write a copy without what makes no sense: "
                "napari-eomt convert --skip-invalid."
            )
        self.problems.append(replace(problem, message=message))


def _check_panoptic_category(record: Record) -> None:
    check_category(record)
    if record.get("isthing", 1) not in (0, 1):
        raise ValueError(f"isthing is {reprlib.repr(record['isthing'])}; 0 or 1 was expected")


def _check_panoptic_annotation(record: Record, images: dict[int, Record], folder: Path) -> None:
    if type(record.get("image_id")) is not int or record["image_id"] not in images:
        raise ValueError(
            f"image_id is {reprlib.repr(record.get('image_id'))}, which 'images' does not have. "
            "Add it, or remove the annotation"
        )
    name = record.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"file_name is {reprlib.repr(name)}; the name of a PNG was expected")
    try:
        inside(folder, name)
    except DataError as error:
        raise ValueError(str(error)) from error
    if not isinstance(record.get("segments_info"), list):
        raise ValueError(
            f"segments_info is {reprlib.repr(record.get('segments_info'))}; a list was expected"
        )
