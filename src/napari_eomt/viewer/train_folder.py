"""Learning from a dataset on disk, COCO instances or COCO panoptic; without a window, no torch."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError, OutputError
from napari_eomt.evaluation.truth import load_annotated
from napari_eomt.formats.coco_categories import read_category
from napari_eomt.formats.coco_panoptic import PanopticFile
from napari_eomt.formats.copies import join_copies
from napari_eomt.formats.dataset_images import image_file, image_files, roots_of
from napari_eomt.formats.safe_paths import inside
from napari_eomt.formats.splits import group_of
from napari_eomt.viewer.train_dataset import LearnRow, Prepared, quiet, typical_size, with_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.dataset import Dataset
    from napari_eomt.structures.categories import Category
    from napari_eomt.training.split import Choice
    from napari_eomt.viewer.train_dataset import Parts, Tell

IMAGES = "images"


class FolderSource:
    """The images of a dataset on disk; of a panoptic one those that have a PNG.

    Parameters
    ----------
    data : Path, Dataset or PanopticFile
        Or its folder, or its COCO file.

    Raises
    ------
    DataError
        If there is none, it cannot be read, or has no annotated images.
    """

    def __init__(self, data: Path | Dataset | PanopticFile) -> None:
        self._data = load_annotated(data) if isinstance(data, Path) else data
        self.path = self._data.path
        file = self._data.file
        self._file = file
        self._categories = {record["id"]: read_category(record) for record in file.categories}
        is_panoptic = isinstance(self._data, PanopticFile)
        # An image without a PNG was not annotated; without an instance it shows nothing.
        images = [r for r in file.images if not is_panoptic or file.annotations_of(r["id"])]
        if not images:
            what = "no annotated images" if is_panoptic else "no images"
            raise DataError(
                f"{self.path} has {what} to learn from. Choose a dataset of annotated images."
            )
        self._images = images
        groups: dict[str, list[Record]] = {}
        for record in images:
            groups.setdefault(group_of(record), []).append(record)
        prefix = common_folder(groups)
        # As the command does, which decides itself if nobody chooses.
        copies = join_copies(
            {str(record["id"]): group_of(record) for record in images},
            image_files(self.path, images, file),
        )
        self.rows = tuple(
            replace(self._row(group, group.removeprefix(prefix), records), group=copies[group])
            for group, records in groups.items()
        )

    @property
    def val_fraction(self) -> float | None:
        """Part of the images that check, if the dataset itself says so."""
        return None if isinstance(self._data, PanopticFile) else self._data.val_fraction

    def write(
        self, parts: Parts, is_chosen: bool, val_fraction: float, folder: Path, tell: Tell = quiet
    ) -> Prepared:
        """Return the dataset as it is or, if somebody chose among its images, a part of it.

        The part has links to the images, and to the PNGs of panoptic segments, where the disk
        allows it, else copies. See `LearnSource.write`.
        """
        if not is_chosen:
            return Prepared(self.path, None, val_fraction)
        roots, ids = roots_of(self.path), {}
        for k, record in enumerate(self._images):
            part = parts.of.get(group_of(record), "none")
            if part == "none":
                continue
            name = str(record.get("file_name"))
            tell(k, len(self._images), name)
            # A stack once, not for each of its slices: where links are not possible it is copied.
            if not (target := inside(folder / IMAGES, name, record["id"])).exists():
                link(image_file(roots, record), target)
            ids[int(record["id"])] = part
        prepared = with_parts(self._file, folder, ids)
        self._link_pngs(prepared, ids)
        return prepared

    def _link_pngs(self, prepared: Prepared, ids: Mapping[int, Choice]) -> None:
        """Put the PNGs of each part into a folder that is named as its JSON."""
        if not isinstance(self._data, PanopticFile):
            return
        places = {"train": prepared.dataset, "val": prepared.val}
        for image_id, part in ids.items():
            place, record = places[part], self._data.annotation_of(image_id)
            if place is None or record is None:
                continue
            target = inside(place.with_suffix(""), record["file_name"], image_id)
            link(self._data.png_of(image_id), target)

    def _row(self, group: str, name: str, records: Sequence[Record]) -> LearnRow:
        found: Counter[Category] = Counter()
        areas: list[float] = []
        for record in records:
            for each in self._annotated(record["id"]):
                category = self._categories.get(each.get("category_id"))
                # Crowds are ignored.
                if category is None or each.get("iscrowd"):
                    continue
                found[category] += 1
                if category.is_thing:
                    areas.append(_area(each))
        n_things = sum(n for category, n in found.items() if category.is_thing)
        return LearnRow(
            group,
            name,
            len(records),
            n_things,
            _shape(records[0]),
            typical_size(areas),
            found.total() - n_things,
            found,
        )

    def _annotated(self, image_id: int) -> list[Record]:
        """Return what is annotated in an image: its instances, or its segments."""
        records = self._file.annotations_of(image_id)
        if not isinstance(self._data, PanopticFile):
            return records
        return [info for record in records for info in record["segments_info"]]


def common_folder(names: Iterable[str]) -> str:
    """Return the folder that all names begin with, "images/": nobody needs to read it."""
    parts = [name.rpartition("/")[0].split("/") for name in names]
    same: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1 or not level[0]:
            break
        same.append(level[0])
    return "/".join(same) + "/" if same else ""


def _area(record: Record) -> float:
    area = record.get("area")
    return float(area) if isinstance(area, int | float) else 0.0


def _shape(record: Record) -> tuple[int, int] | None:
    height, width = record.get("height"), record.get("width")
    is_known = isinstance(height, int) and isinstance(width, int) and min(height, width) > 0
    return (int(height), int(width)) if is_known and height and width else None


def link(source: Path, target: Path) -> None:
    """Make a file be at another place as well: by a link where the disk allows it, else a copy.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), target)
        except FileExistsError:
            return  # two records of one file
        except OSError:
            shutil.copyfile(source, target)
    except OSError as error:
        raise OutputError(
            f"{target}: the image cannot be written ({error.strerror or error}). Free the disk, or "
            "let the dataset's own split decide: then it is read where it is."
        ) from error
