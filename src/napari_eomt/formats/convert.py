"""Annotations from one format into another; what the other cannot hold is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_eomt.annotation.document import Document, Origin
from napari_eomt.annotation.files import SUFFIX, save_document
from napari_eomt.annotation.tracks import track_table
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.changes import merged_categories
from napari_eomt.formats.coco_file import CocoFile, save_coco
from napari_eomt.formats.coco_instance import annotations_of
from napari_eomt.formats.coco_masks import MARK
from napari_eomt.formats.coco_panoptic import PanopticFile, save_panoptic
from napari_eomt.formats.ctc_write import save_ctc
from napari_eomt.formats.detect import TARGETS, Format, Target, detect
from napari_eomt.formats.id_images import save_id_image
from napari_eomt.formats.id_pixels import SUFFIXES
from napari_eomt.formats.origins import origin_of
from napari_eomt.formats.safe_paths import inside, safe_stem
from napari_eomt.formats.sources import Item, Source, open_source
from napari_eomt.formats.tracks_csv import save_tracks_csv
from napari_eomt.formats.ytvis import save_ytvis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_eomt.formats.coco_checks import Record

__all__ = ["Conversion", "convert", "detect"]

_OF_VIDEOS: tuple[Target, ...] = ("ytvis", "ctc", "csv")
_OF_DATASETS: tuple[Target, ...] = ("coco", "panoptic", "ytvis")


@dataclass(frozen=True)
class Conversion:
    """What was done.

    Parameters
    ----------
    path : Path
        What was written: a JSON, a label image, or a folder.
    source, target : str
        Formats.
    n_items : int
        Images, stacks or videos.
    n_segments : int
        In all frames.
    notes : tuple of str
        What was left out or is not as it was, for people.
    """

    path: Path
    source: Format
    target: Target
    n_items: int
    n_segments: int
    notes: tuple[str, ...]


def convert(
    path: Path,
    out: Path,
    to: Target | None = None,
    *,
    source: Format | None = None,
    folder: Path | None = None,
    skip_invalid: bool = False,
    overwrite: bool = False,
    on_item: Callable[[int, int, str], None] = lambda *_: None,
) -> Conversion:
    """Convert annotations.

    Into its own format a dataset is written as it is, without what makes no sense if that is left
    out. Documents that were read from one dataset, into its format, become that dataset with
    what was changed in them.

    Parameters
    ----------
    path : Path
        A JSON, a label image, a document, or a folder of these.
    out : Path
        A JSON for COCO, panoptic (its PNGs go into a folder of the same name) and YouTube-VIS; a
        label image if there is but one, else a folder, as for tables of tracks (.csv); a folder
        for tracks of the Cell Tracking Challenge, and for documents.
    to : str, optional
        By default what `out` says: .json is YouTube-VIS for videos, else COCO; .tif and .png are
        label images, .eomt is a document, .csv a table of tracks.
    source : str, optional
        Format of `path`; by default found out.
    folder : Path, optional
        Of the PNGs of a panoptic dataset that is read.
    skip_invalid : bool
        Whether what makes no sense is left out and noted; else it is an error.
    overwrite : bool
        Whether files that are there are replaced.
    on_item : callable
        Called before each image with how many are done, how many there are, and its name; what it
        raises ends the work.

    Raises
    ------
    DataError
        If the input cannot be read, or the output cannot hold it at all.
    OutputError
        If it cannot be written, or is there.
    """
    form = source or detect(path)
    target = to or _target(out, form)
    if target in _OF_DATASETS and out.suffix.lower() != ".json":
        raise DataError(f"{out}: {TARGETS[target]} are written as a JSON. Name a file of .json.")
    if target not in ("labels", "csv", "eomt") and not overwrite and out.exists():
        raise OutputError(f"{out} is there already. Choose another name, or overwrite it.")
    found = open_source(
        path, form, folder=folder, as_videos=target in _OF_VIDEOS, skip_invalid=skip_invalid
    )
    if not found.items and target not in _OF_DATASETS:
        raise DataError(f"{path} has no images. There is nothing to write.")
    writer = _Writer(found, out, target, overwrite, on_item)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out.parent} cannot be made: {error.strerror or error}.") from error
    writer.write()
    return Conversion(
        out, form, target, len(found.items), writer.n_segments, tuple(dict.fromkeys(writer.notes()))
    )


def _target(out: Path, form: Format) -> Target:
    suffix = out.suffix.lower()
    if suffix == ".csv":
        return "csv"
    if suffix == SUFFIX:
        return "eomt"
    if suffix in SUFFIXES:
        return "labels"
    if suffix == ".json":
        return "ytvis" if form == "ytvis" else "coco"
    raise DataError(f"{out} does not say which format is wanted. Name one of {', '.join(TARGETS)}.")


def _check_video(item: Item) -> None:
    """Check that an item has one axis of frames, as tracks need."""
    if len(item.frame_shape) != 1:
        what = "an image" if not item.frame_shape else f"a stack of {item.frame_shape}"
        raise DataError(
            f"{item.stem} is {what}; a video has one axis of frames. Give the images of a "
            "video the same 'video_id', and their places as 'frame_id'; or give one stack."
        )


class _Writer:
    """Writes the items of a source, one at a time."""

    def __init__(
        self,
        source: Source,
        out: Path,
        target: Target,
        overwrite: bool,
        on_item: Callable[[int, int, str], None],
    ) -> None:
        self._source, self._out, self._target = source, out, target
        self._overwrite, self._on_item = overwrite, on_item
        # Other fields of the annotations of the item at hand.
        self._fields: dict[int, Record] = {}
        self._notes: list[str] = []
        self.n_segments = 0

    def write(self) -> None:
        origin = origin_of(self._source) if self._source.form == "eomt" else None
        if origin is not None and origin.form == self._target:
            self._update(origin.file)
        elif self._source.form == self._target:
            self._again()
        else:
            getattr(self, f"_to_{self._target}")()

    def notes(self) -> list[str]:
        """Return what is to be told."""
        found = [*self._source.notes, *self._notes]
        if self._source.form == self._target:
            return found
        if self._target == "eomt":
            path = self._source.path
            if self._source.file is not None:
                found.append(
                    f"the documents refer to {path}: what only it can say stays there, and goes "
                    "along when they are written into its format again"
                )
            return found
        losses = self._source.losses
        found += [f"{n} {what}" for what, n in losses.items() if n]
        if self._target == "labels":
            coco = self._source.coco
            keys = [key for key in ("info", "licenses") if getattr(coco, key)] + list(coco.extra)
            if keys:
                found.append(f"label images hold no {', '.join(keys)} of the dataset")
        return found

    def _iter(self) -> Iterator[tuple[Item, Document]]:
        items = self._source.items
        for k, item in enumerate(items):
            self._on_item(k, len(items), item.stem)
            document, fields = item.read()
            self._fields.clear()
            self._fields.update(fields)
            self.n_segments += sum(1 for _, s in document.iter_segments() if s.area)
            yield item, document

    def _again(self) -> None:
        """Write a dataset as it is; label images and documents one by one."""
        source = self._source
        if isinstance(source.file, PanopticFile):
            # Read all the same: what is wrong with a PNG is told now.
            frames = (
                (record["id"], document, frame)
                for item, document in self._iter()
                for frame, record in enumerate(item.images)
            )
            save_panoptic(source.file, self._out, frames, overwrite=self._overwrite)
        elif source.file is not None:
            for _ in self._iter():
                pass
            save_coco(source.file, self._out)
        else:
            getattr(self, f"_to_{self._target}")()

    def _update(self, file: CocoFile | PanopticFile) -> None:
        """Write the dataset that the documents were read from, with what has changed in them."""
        items = ((d, d.origin or Origin("")) for _, d in self._iter())
        if isinstance(file, PanopticFile):
            frames = ((i, d, frame) for d, o in items for frame, i in enumerate(o.image_ids))
            save_panoptic(file, self._out, frames, overwrite=self._overwrite)
        elif self._target == "ytvis":
            videos = ((o.video_id or 0, d) for d, o in items)
            save_ytvis(file, self._out, videos, notes=self._notes)
        else:
            self._update_coco(file, items)

    def _update_coco(self, file: CocoFile, items: Iterator[tuple[Document, Origin]]) -> None:
        images: set[int] = set()
        kept: dict[int, Record] = {}
        new: list[Record] = []
        categories = file.categories
        for document, origin in items:
            categories = merged_categories(categories, document)
            for frame, image_id in enumerate(origin.image_ids):
                next_id = file.next_annotation_id + len(new)
                for record in annotations_of(document, frame, image_id, file, next_id):
                    if record["id"] in file.annotation_by_id:
                        kept[record["id"]] = record
                    else:
                        new.append(record)
                images.add(image_id)

        def records() -> Iterator[Record]:
            for record in file.annotations:
                if record.get("image_id") not in images:
                    yield record
                elif record["id"] in kept:
                    yield kept[record["id"]]
            yield from new

        save_coco(replace(file, categories=categories), self._out, records())

    def _base(self, **lists: Any) -> CocoFile:
        """Return a file with what the source says of the dataset as a whole."""
        coco = self._source.coco
        keys = tuple(key for key in coco.keys if key not in ("images", "videos"))
        extra = {k: v for k, v in coco.extra.items() if k not in ("images", "videos")}
        return CocoFile(
            self._source.categories,
            info=coco.info,
            licenses=coco.licenses,
            extra=extra,
            keys=keys,
            **lists,
        )

    def _image_records(self) -> list[list[Record]]:
        """Return the records of the images of each item, with ids that differ."""
        known = [r.get("id") for item in self._source.items for r in item.images]
        next_id = max((i for i in known if type(i) is int), default=0) + 1
        found, taken = [], set()
        for item in self._source.items:
            here = []
            for record in item.images:
                height, width = item.size
                image_id = record.get("id")
                if type(image_id) is not int or image_id in taken:
                    image_id, next_id = next_id, next_id + 1
                taken.add(image_id)
                size = {"height": height, "width": width}
                row = {"id": image_id} | record | size | {"id": image_id}
                if item.video is not None:
                    row.setdefault("video_id", item.video["id"])
                here.append(row)
            found.append(here)
        return found

    def _to_coco(self) -> None:
        images = self._image_records()

        def records() -> Iterator[Record]:
            next_id = 1
            for (_, document), rows in zip(self._iter(), images, strict=False):
                for frame, image in enumerate(rows):
                    made = annotations_of(document, frame, image["id"], None, next_id)
                    next_id += len(made)
                    for record in made:
                        segment = document.segments(frame)[record["attributes"][MARK]]
                        other = self._fields.get(segment.annotation_id or 0, {})
                        attributes = (other.get("attributes") or {}) | record["attributes"]
                        yield other | record | {"attributes": attributes}

        flat = [image for rows in images for image in rows]
        save_coco(self._base(images=flat), self._out, records())

    def _to_panoptic(self) -> None:
        images = self._image_records()
        flat = [image for rows in images for image in rows]
        categories = [
            record if "isthing" in record else record | {"isthing": 1}
            for record in self._source.categories
        ]
        file = replace(self._base(images=flat), categories=categories)
        folder = self._out.with_suffix("")
        panoptic = PanopticFile(self._out, folder, file)
        frames = (
            (image["id"], document, frame)
            for (_, document), rows in zip(self._iter(), images, strict=False)
            for frame, image in enumerate(rows)
        )
        save_panoptic(
            panoptic,
            self._out,
            frames,
            folder=folder,
            fields=self._fields,
            overwrite=self._overwrite,
        )

    def _to_ytvis(self) -> None:
        videos: list[Record] = []
        for k, item in enumerate(self._source.items, 1):
            _check_video(item)
            videos.append(
                {
                    "id": (item.video or {}).get("id", k),
                    "height": item.size[0],
                    "width": item.size[1],
                    "length": item.frame_shape[0],
                    "file_names": [str(r.get("file_name", "")) for r in item.images],
                }
            )
        documents = (
            (video["id"], document)
            for (_, document), video in zip(self._iter(), videos, strict=False)
        )
        file = self._base(videos=videos)
        save_ytvis(file, self._out, documents, fields=self._fields, notes=self._notes)

    def _to_ctc(self) -> None:
        is_one = len(self._source.items) == 1
        for item in self._source.items:
            _check_video(item)
        for item, document in self._iter():
            notes: list[str] = []
            place = self._out if is_one else self._place(item, "")
            save_ctc(document, place, overwrite=self._overwrite, notes=notes)
            self._notes += [f"{item.stem}: {note}" for note in notes]

    def _to_csv(self) -> None:
        is_file = self._out.suffix.lower() == ".csv"
        if is_file and len(self._source.items) > 1:
            raise DataError(
                f"{self._out} is one table, there are {len(self._source.items)} videos. Name a "
                "folder."
            )
        for item in self._source.items:
            _check_video(item)
        for item, document in self._iter():
            save_tracks_csv(
                track_table(document),
                self._out if is_file else self._place(item, ".csv"),
                categories=document.categories,
                overwrite=self._overwrite,
            )
            n_stuff = len({s.id for _, s in document.iter_segments() if not s.is_thing})
            if n_stuff:
                self._notes.append(f"{item.stem}: regions of stuff ({n_stuff}) are in no track")

    def _to_labels(self) -> None:
        is_file = self._out.suffix.lower() in SUFFIXES
        if is_file and len(self._source.items) > 1:
            raise DataError(
                f"{self._out} is one label image, there are {len(self._source.items)} images. Name "
                "a folder."
            )
        for item, document in self._iter():
            save_id_image(
                document,
                self._out if is_file else self._place(item, ".tif"),
                images=item.images,
                categories=self._source.categories,
                fields=self._fields,
                overwrite=self._overwrite,
            )

    def _to_eomt(self) -> None:
        is_one = self._out.suffix.lower() == SUFFIX
        if is_one and len(self._source.items) > 1:
            raise DataError(
                f"{self._out} is one document, there are {len(self._source.items)} images. Name a "
                "folder."
            )
        for item, document in self._iter():
            place = self._out if is_one else self._place(item, SUFFIX)
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{place.parent}: {error.strerror or error}.") from error
            if document.origin is not None:
                path = str(Path(document.origin.path).resolve())
                document.origin = replace(document.origin, path=path)
            save_document(document, place, overwrite=self._overwrite)

    def _place(self, item: Item, suffix: str) -> Path:
        """Return where a file of an item goes, inside the folder on every system."""
        stem = "/".join(safe_stem(part) for part in item.stem.split("/"))
        return inside(self._out, f"{stem}{suffix}")
