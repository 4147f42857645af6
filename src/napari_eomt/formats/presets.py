"""What other tools read of COCO, and a copy of a dataset as each of them takes it.

COCO allows more than any tool reads. What is written here of a tool was read in its own source or
in its makers' answers, named in the comments; what it cannot hold is said in words for people.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_instance import mask_of
from napari_eomt.formats.safe_paths import folded, free_stem, safe_stem
from napari_eomt.structures.polygons import mask_to_polygons

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.coco_file import CocoFile
    from napari_eomt.structures.rle import Rle


@dataclass(frozen=True)
class Preset:
    """A tool that reads COCO.

    Parameters
    ----------
    name : str
        As on the command line.
    title : str
        What people call it.
    masks : {"any", "rle", "polygons"}
        The form of masks that it reads as they are.
    json_name, image_folder : str
        Where it looks for the COCO file and the images, in the folder of the copy.
    positive_ids : bool
        Whether it takes a category id below 1 for none.
    flat_names : bool
        Whether it looks at the last part of `file_name` alone, so that two images of one name in
        two folders are one to it, and two of one stem as well.
    names_differ : bool
        Whether it knows categories by their names alone.
    loses : tuple of str
        What it cannot hold; sentences for people.
    """

    name: str
    title: str
    masks: Literal["any", "rle", "polygons"] = "any"
    json_name: str = "annotations.json"
    image_folder: str = "images"
    positive_ids: bool = False
    flat_names: bool = False
    names_differ: bool = False
    loses: tuple[str, ...] = ()


_COCO = Preset(
    # pycocotools: annToRLE takes polygons, and counts as a list or compressed. detectron2:
    # load_coco_json takes the same, maps ids with gaps by itself, and asks for
    # INPUT.MASK_FORMAT = "bitmask" where masks are run lengths.
    "coco",
    "COCO (pycocotools, detectron2)",
    loses=(
        "detectron2 reads run lengths only with INPUT.MASK_FORMAT set to 'bitmask'.",
        "Scores, states and notes stay in the file under 'attributes', where nothing reads them.",
    ),
)
_CVAT = Preset(
    # CVAT reads through Datumaro: polygons and run lengths, counts as a list or compressed; a
    # category id of 0 is "no label" to it; attributes are texts or numbers, of labels that have
    # them; images are found by their names without the suffix.
    "cvat",
    "CVAT",
    json_name="annotations/instances_default.json",
    image_folder="images/default",
    positive_ids=True,
    flat_names=True,
    names_differ=True,
    loses=(
        (
            "CVAT keeps scores, states and notes only for labels that have such attributes; make "
            "these before importing."
        ),
        (
            "An object of several polygons becomes a group of polygons; one of run lengths stays "
            "one mask."
        ),
        (
            "Images are not part of CVAT's import of annotations; make a task of them first. "
            "16-bit images are shown with their contrast changed."
        ),
    ),
)
_X_ANYLABELING = Preset(
    # X-AnyLabeling, coco_to_custom: takes each element of 'segmentation' for a polygon, so that
    # run lengths give nonsense ("RLE is not supported"); the last part of file_name; one file of
    # labels for each stem.
    "x-anylabeling",
    "X-AnyLabeling",
    masks="polygons",
    flat_names=True,
    names_differ=True,
    loses=(
        (
            "X-AnyLabeling reads polygons only: each part of an object becomes a polygon of its "
            "own, in a group."
        ),
        "Holes become cuts without width in the outline; they are lost when it is edited.",
        "That an object is a crowd, scores, states and notes are not read.",
        "Import as polygons; rectangles would read the boxes alone.",
    ),
)
_SUPERVISION = Preset(
    # supervision, DetectionDataset.from_coco: run lengths exactly, list or compressed; polygons
    # rounded to whole pixels and filled with their border, a row and a column too large;
    # categories by name.
    "supervision",
    "supervision",
    masks="rle",
    flat_names=True,
    names_differ=True,
    loses=(
        "supervision reads masks, boxes and categories; scores, states and notes are not read.",
        "Categories are numbered from 0 in the order of their ids.",
    ),
)
_MMDETECTION = Preset(
    # MMDetection, CocoDataset.parse_data_info: needs area and bbox, leaves out what has no area or
    # is less than a pixel wide; LoadAnnotations: run lengths only with poly2mask, else ignored.
    "mmdetection",
    "MMDetection",
    names_differ=True,
    loses=(
        "MMDetection reads run lengths only with poly2mask=True, which is its default.",
        "Name the categories in metainfo: it leaves out those that are not named there.",
        "Crowds are ignored in training; scores, states and notes are not read.",
    ),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset for preset in (_COCO, _CVAT, _X_ANYLABELING, _SUPERVISION, _MMDETECTION)
}
"""By name."""


@dataclass(eq=False)
class Prepared:
    """A dataset as a tool takes it.

    Parameters
    ----------
    file : CocoFile
        With the categories and images as they are to be written; annotations come from `iter`.
    preset : Preset
    sources : dict of int to dict
        The records of the images as they were.
    category_ids : dict of int to int
        What each id becomes.
    notes : list of str
        What is not as in the dataset; those of annotations come as they are written.
    """

    file: CocoFile
    preset: Preset
    sources: dict[int, Record]
    category_ids: dict[int, int]
    notes: list[str] = field(default_factory=list)

    def iter(self) -> Iterator[Record]:
        """Yield the annotations, one by one."""
        n_empty = 0
        for record in self.file.annotations:
            if "image_id" not in record or "segmentations" in record:
                continue
            image = self.sources[record["image_id"]]
            mask = mask_of(record, (image["height"], image["width"]))
            if mask is not None and not mask.area:
                n_empty += 1
                continue
            yield self._written(record, mask)
        if n_empty:
            self.notes.append(f"{n_empty} annotations whose mask is empty were left out.")

    def _written(self, record: Record, mask: Rle | None) -> Record:
        written = dict(record)
        written["category_id"] = self.category_ids[record["category_id"]]
        written.setdefault("iscrowd", 0)
        if mask is None:
            return written
        is_polygons = isinstance(record["segmentation"], list)
        if self.preset.masks == "polygons" and not is_polygons:
            written["segmentation"] = mask_to_polygons(mask)
        elif self.preset.masks == "rle" and is_polygons:
            written["segmentation"] = mask.as_coco()
        written.setdefault("area", mask.area)
        if written.get("bbox") is None:
            y0, x0, y1, x1 = mask.bbox
            written["bbox"] = [x0, y0, x1 - x0, y1 - y0]
        return written


def prepare(file: CocoFile, preset: Preset) -> Prepared:
    """Bring a dataset into the form that a tool reads.

    Parameters
    ----------
    file : CocoFile
        Left as it is.
    preset : Preset

    Raises
    ------
    DataError
        If the tool cannot tell its categories apart, or it is one of videos.
    """
    if file.videos:
        raise DataError(
            f"The dataset is one of videos, which {preset.title} does not read. Convert it to "
            "images first."
        )
    names = [record["name"] for record in file.categories]
    twice = sorted({name for name in names if names.count(name) > 1})
    if preset.names_differ and twice:
        raise DataError(
            f"The category '{twice[0]}' is there twice, and {preset.title} knows categories by "
            "their names. Rename one of them."
        )
    notes: list[str] = []
    ids = [record["id"] for record in file.categories]
    shift = 1 - min(ids) if preset.positive_ids and ids and min(ids) < 1 else 0
    if shift:
        notes.append(f"Category ids are {shift} larger than in the dataset: they begin at 1.")
    images = list(file.images)
    if preset.flat_names:
        images = _flat(images, notes)
    written = replace(
        file,
        categories=[dict(r, id=r["id"] + shift) if shift else r for r in file.categories],
        images=images,
    )
    return Prepared(written, preset, file.image_by_id, {i: i + shift for i in ids}, notes)


def _flat(images: list[Record], notes: list[str]) -> list[Record]:
    taken: set[str] = set()
    flat: list[Record] = []
    n_renamed = 0
    for record in images:
        name: Any = record.get("file_name") or f"image {record['id']}.png"
        path = PurePosixPath(name.replace("\\", "/"))
        stem = free_stem(safe_stem(path.stem), lambda s: s in taken)
        taken.add(folded(stem))
        fresh = f"{stem}{path.suffix}"
        n_renamed += fresh != name
        flat.append(record if fresh == name else {**record, "file_name": fresh})
    if n_renamed:
        notes.append(f"{n_renamed} images have another name: no folders, and no stem twice.")
    return flat
