"""What is converted: images, stacks or videos of any format, read one by one as documents."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_eomt.annotation.files import SUFFIX, TABLE, load_document
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_categories import read_category, write_categories
from napari_eomt.formats.coco_checks import n_frames
from napari_eomt.formats.coco_file import CocoFile, load_coco
from napari_eomt.formats.coco_instance import read_document
from napari_eomt.formats.coco_masks import mask_of
from napari_eomt.formats.coco_panoptic import PanopticFile, load_panoptic, read_panoptic
from napari_eomt.formats.ctc import read_ctc
from napari_eomt.formats.ctc_table import ctc_images, find_ctc
from napari_eomt.formats.dataset_merge import merge_categories
from napari_eomt.formats.detect import Format, json_in
from napari_eomt.formats.id_images import find_id_images, read_id_image
from napari_eomt.formats.id_tables import find_table, read_table
from napari_eomt.formats.rebuilt import by_track, rebuilt
from napari_eomt.formats.ytvis import read_video
from napari_eomt.structures.rle import areas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from napari_eomt.annotation.document import Document
    from napari_eomt.formats.coco_checks import Record

# What every format says in a way of its own; the rest goes along.
_OWN = frozenset({"id", "image_id", "video_id", "category_id", "iscrowd", "frame", "file_name"})
_OWN |= {"segmentation", "segmentations", "area", "areas", "bbox", "bboxes"}


@dataclass(frozen=True, eq=False)
class Item:
    """An image, a stack or a video that is to be converted.

    Parameters
    ----------
    stem : str
        What files of it are called, with "/" between folders.
    frame_shape : tuple of int
    size : (H, W)
        In pixels.
    images : tuple of dict
        What is known about the image of each frame; ``file_name`` at least.
    read : callable
        Returns its document, and the other fields of its annotations by `annotation_id`.
    video : dict or None
        What is known about the video.
    """

    stem: str
    frame_shape: tuple[int, ...]
    size: tuple[int, int]
    images: tuple[Record, ...]
    read: Callable[[], tuple[Document, dict[int, Record]]]
    video: Record | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """What is converted.

    Parameters
    ----------
    path : Path
    form : str
    categories : list of dict
        As COCO has them.
    items : list of Item
    file : CocoFile, PanopticFile or None
        The dataset as it was, if it is one.
    notes : list of str
        What was left out or is not as it was, for people; grows as items are read.
    losses : Counter of str
        How many times something was found that only the dataset's own format can say.
    """

    path: Path
    form: Format
    categories: list[Record]
    items: list[Item]
    file: CocoFile | PanopticFile | None = None
    notes: list[str] = field(default_factory=list)
    losses: Counter[str] = field(default_factory=Counter)

    @property
    def coco(self) -> CocoFile:
        """The JSON as it was; an empty one if the source has none."""
        if isinstance(self.file, PanopticFile):
            return self.file.file
        return CocoFile() if self.file is None else self.file


def open_source(
    path: Path,
    form: Format,
    *,
    folder: Path | None = None,
    as_videos: bool = False,
    skip_invalid: bool = False,
) -> Source:
    """Open what is to be converted.

    Parameters
    ----------
    path : Path
    form : str
        Its format.
    folder : Path, optional
        Of the PNGs of a panoptic dataset.
    as_videos : bool
        Whether images that say which video they are of are read as its frames.
    skip_invalid : bool
        Whether what makes no sense is left out and noted.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    if form == "labels":
        return _labels(path, skip_invalid)
    if form == "ctc":
        return _ctc(path, skip_invalid)
    if form == "eomt":
        return _documents(path)
    json = path if not path.is_dir() else json_in(path)
    if json is None:
        raise DataError(f"{path} has no JSON of annotations. Name it.")
    if form == "panoptic":
        panoptic = load_panoptic(json, folder, skip_invalid=skip_invalid)
        return _images(json, panoptic, as_videos)
    file = load_coco(json, skip_invalid=skip_invalid)
    return _videos(json, file) if form == "ytvis" else _images(json, file, as_videos)


def _images(path: Path, file: CocoFile | PanopticFile, as_videos: bool) -> Source:
    coco = file.file if isinstance(file, PanopticFile) else file
    form: Format = "panoptic" if isinstance(file, PanopticFile) else "coco"
    source = Source(path, form, coco.categories, [], file, [str(p) for p in coco.problems])
    groups: dict[Any, list[Record]] = {}
    for record in coco.images:
        key = record.get("video_id") if as_videos else None
        groups.setdefault(("image", record["id"]) if key is None else ("video", key), []).append(
            record
        )
    stems = _stems(records[0].get("file_name") or records[0]["id"] for records in groups.values())
    for (kind, key), records, stem in zip(groups, groups.values(), stems, strict=True):
        records.sort(key=_place)
        ids = [record["id"] for record in records]
        size = (records[0]["height"], records[0]["width"])

        def read(ids: list[int] = ids, kind: str = kind) -> tuple[Document, dict[int, Record]]:
            if isinstance(file, PanopticFile):
                document = read_panoptic(file, ids, source.notes)
                raw = [
                    r for i in ids for r in (file.annotation_of(i) or {}).get("segments_info", ())
                ]
            else:
                document = read_document(file, ids, origin_path=path)
                raw = [r for i in ids for r in file.annotations_of(i)]
                _count_hidden(raw, document, source.losses)
            if kind == "video":
                document = by_track(document)
            return document, _other_fields(raw)

        shape = () if len(ids) == 1 and kind == "image" else (len(ids),)
        video = {"id": key} if kind == "video" else None
        source.items.append(Item(stem, shape, size, tuple(records), read, video))
    return source


def _videos(path: Path, file: CocoFile) -> Source:
    source = Source(path, "ytvis", file.categories, [], file, [str(p) for p in file.problems])
    stems = _stems(
        str(PurePosixPath((v.get("file_names") or [f"video_{v['id']}/0"])[0]).parent)
        if len(file.videos) > 1
        else path.stem
        for v in file.videos
    )
    for video, stem in zip(file.videos, stems, strict=True):
        names = video.get("file_names") or [f"{stem}/{k:05d}" for k in range(n_frames(video))]
        images = tuple({"file_name": name, "frame": k} for k, name in enumerate(names))

        def read(video_id: int = video["id"]) -> tuple[Document, dict[int, Record]]:
            document = read_video(file, video_id, origin_path=path)
            raw = file.annotations_of_video(video_id)
            n_masks = sum(bool(mask) for r in raw for mask in r["segmentations"])
            n_shown = sum(1 for _ in document.iter_segments())
            source.losses["masks that others hide"] += n_masks - n_shown
            return document, _other_fields(raw)

        size = (video["height"], video["width"])
        source.items.append(Item(stem, (n_frames(video),), size, images, read, video))
    return source


def _labels(path: Path, skip_invalid: bool) -> Source:
    paths = find_id_images(path)
    if not paths:
        raise DataError(f"{path} has no label images (TIFF, PNG). Choose another folder.")
    root = path if path.is_dir() else path.parent

    def load(one: Path, notes: list[str] | None) -> tuple[Document, list[Record], list[Record]]:
        table = find_table(one)
        document = read_id_image(one, table, skip_invalid=skip_invalid, problems=notes, notes=notes)
        known = None if table is None else read_table(table)
        images = list(known.images) if known else []
        own = document.categories.values()
        records = write_categories(own, known.records if known else ())
        name = one.relative_to(root).as_posix()
        if len(images) != document.n_frames:
            images = [{"file_name": name} for _ in range(document.n_frames)]
            images = (
                images
                if not document.frame_shape
                else [image | {"frame": k} for k, image in enumerate(images)]
            )
        return document, records, images

    return _merged(path, "labels", [(p.relative_to(root).as_posix(), p) for p in paths], load)


def _ctc(path: Path, skip_invalid: bool) -> Source:
    tables = find_ctc(path)
    if not tables:
        raise DataError(f"{path} has no table of tracks. Choose the folder of one.")
    root = path if path.is_dir() else path.parent

    def load(one: Path, notes: list[str] | None) -> tuple[Document, list[Record], list[Record]]:
        document = read_ctc(one, skip_invalid=skip_invalid, problems=notes)
        images = ctc_images(one, document.n_frames)
        records = [{"file_name": name, "frame": k} for k, name in enumerate(images)]
        return document, write_categories(document.categories.values(), ()), records

    names = [table.parent.relative_to(root).as_posix() for table in tables]
    names = [root.name if name == "." else name for name in names]
    return _merged(path, "ctc", list(zip(names, tables, strict=True)), load)


def _documents(path: Path) -> Source:
    is_one = (path / TABLE).is_file()
    paths = [path] if is_one else sorted(p.parent for p in path.rglob(f"*{SUFFIX}/{TABLE}"))
    if not paths:
        raise DataError(f"{path} has no documents. Choose another folder.")

    def load(one: Path, notes: list[str] | None) -> tuple[Document, list[Record], list[Record]]:
        document, image = load_document(one)
        name = one.stem if image is None else Path(image.path or image.name).name
        n_rejected = sum(s.status.value == "rejected" for _, s in document.iter_segments())
        if n_rejected and notes is not None:
            notes.append(f"{one.name}: {n_rejected} rejected objects were left out")
        images: list[Record] = [{"file_name": name} for _ in range(document.n_frames)]
        if document.frame_shape:
            images = [image | {"frame": k} for k, image in enumerate(images)]
        return document, write_categories(document.categories.values(), ()), images

    root = path.parent if is_one else path
    return _merged(path, "eomt", [(p.relative_to(root).as_posix(), p) for p in paths], load)


def _merged(
    path: Path,
    form: Format,
    paths: Sequence[tuple[str, Path]],
    load: Callable[[Path, list[str] | None], tuple[Document, list[Record], list[Record]]],
) -> Source:
    """Return a source of files that each have categories of their own."""
    source = Source(path, form, [], [])
    for stem, (_, one) in zip(_stems(name for name, _ in paths), paths, strict=True):
        # Looked at now for its size and its categories, and read again when it is its turn: not
        # all of them fit into memory.
        document, records, images = load(one, None)
        merge = merge_categories(records, source.categories)
        source.categories.extend(merge.new)
        source.notes.extend(f"{one.name}: {note}" for note in merge.notes)

        def read(
            one: Path = one, ids: Mapping[int, int] = merge.ids
        ) -> tuple[Document, dict[int, Record]]:
            document, _, _ = load(one, source.notes)
            categories = [read_category(record) for record in source.categories]
            return rebuilt(document, categories, ids), {}

        shape, size = document.frame_shape, document.image_shape
        source.items.append(Item(stem, shape, size, tuple(images), read))
    return source


def _count_hidden(raw: Iterable[Record], document: Document, losses: Counter[str]) -> None:
    """Count what cannot be seen of annotations, or is no mask."""
    shown = {s.annotation_id: s.area for _, s in document.iter_segments()}
    for record in raw:
        mask = mask_of(record, document.image_shape)
        if mask is None:
            losses["annotations without a mask (boxes, keypoints)"] += 1
        elif record["id"] not in shown:
            losses["annotations that others hide, or without a pixel"] += 1
        elif int(areas([mask])[0]) > shown[record["id"]]:
            losses["annotations that others hide in part"] += 1
        if isinstance(record.get("segmentation"), list):
            losses["polygons, of which the pixels were taken"] += mask is not None


def _other_fields(records: Iterable[Record]) -> dict[int, Record]:
    found = {}
    for record in records:
        other = {key: value for key, value in record.items() if key not in _OWN}
        if other:
            found[record["id"]] = other
    return found


def _stems(names: Iterable[Any]) -> list[str]:
    """Return names without suffixes; of equal ones later ones are numbered."""
    found: dict[str, None] = {}
    for name in names:
        stem = str(PurePosixPath(str(name).replace("\\", "/")).with_suffix("")).strip("/.") or "a"
        free, k = stem, 1
        while free in found:
            k += 1
            free = f"{stem}_{k}"
        found[free] = None
    return list(found)


def _place(record: Record) -> int:
    """Return where a frame lies in its video, if it says so; else frames stay in their order."""
    for name in ("frame_id", "frame", "frame_index"):
        if type(record.get(name)) is int:
            return int(record[name])
    return 0
