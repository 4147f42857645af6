"""One image or stack on its way into a dataset: its records, its files, its ids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_instance import annotations_of, categories_of
from napari_eomt.formats.dataset_changes import Source
from napari_eomt.formats.dataset_images import find_image, shows
from napari_eomt.formats.dataset_inputs import (
    document_of,
    frames_of,
    label_of,
    without_suffix,
)
from napari_eomt.formats.dataset_merge import CategoryMerge, merge_categories, renumber
from napari_eomt.formats.detect import guess
from napari_eomt.formats.image_files import image_size, storable
from napari_eomt.formats.safe_paths import folded, free_stem, safe_stem
from napari_eomt.structures.segments import Segmentation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from napari_eomt.annotation.document import Document
    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.coco_file import CocoFile
    from napari_eomt.formats.dataset_changes import Changes
    from napari_eomt.formats.dataset_images import PendingImages
    from napari_eomt.structures.categories import Category

Form = Literal["rle", "polygons"]

_OURS = frozenset({"id", "file_name", "height", "width", "source", "license"})


@dataclass(frozen=True)
class Added:
    """What an addition came to.

    Parameters
    ----------
    image_ids : tuple of int
        Of its frames, in the dataset.
    n_annotations : int
    notes : tuple of str
        What is not as one might think; for people.
    """

    image_ids: tuple[int, ...]
    n_annotations: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """The dataset that something is added to.

    Parameters
    ----------
    path : Path
        Its COCO file.
    changes : Changes
    images : PendingImages
    roots : sequence of Path
        The folders in which its images may lie.
    load : callable
        Reads the COCO file of another dataset.
    """

    path: Path
    changes: Changes
    images: PendingImages
    roots: Sequence[Path]
    load: Callable[[Path], CocoFile]


@dataclass(frozen=True, eq=False)
class Addition:
    """An image or a stack, and what is known about it.

    Parameters
    ----------
    image : Any
        An array, something with `frame(index)`, or None.
    document : Document
    source : Source or None
        None for an image without a name.
    stem : str
        What its files are to begin with.
    frames : tuple of int
        Which are added.
    is_reference : bool
        Whether the image stays where it is.
    axes : str
        A letter for each axis of frames.
    form : {"rle", "polygons"}
    """

    image: Any
    document: Document
    source: Source | None
    stem: str
    frames: tuple[int, ...]
    is_reference: bool
    axes: str
    form: Form

    def apply(self, target: Target) -> Added:
        """Add it to what is to change: all of it, or after an error nothing."""
        changes, is_here = target.changes, self._is_here(target)
        original, notes = self._original(target)
        merge = merge_categories(categories_of(self.document, original), changes.categories)
        next_id, image_id = changes.next_annotation_id, changes.next_image_id
        ready: list[tuple[Record, list[Record]]] = []
        written: list[str] = []
        stem = None if self.source is None else changes.stem_of(self.source)
        stem = stem or free_stem(self.stem, lambda name: name in changes.taken)
        try:
            for frame in self.frames:
                there = self._there(frame, target)
                record = {"id": image_id} if there is None else there
                image_id += there is None
                record = self._image_record(frame, record, stem, target, original, written)
                annotations, next_id = self._annotations(
                    frame, record["id"], changes, original, merge, is_here, next_id
                )
                ready.append((record, annotations))
        except BaseException:
            target.images.drop(written)
            raise
        changes.add_categories(merge.new)
        for record, annotations in ready:
            changes.put(record, annotations, next_id)
        return Added(
            tuple(record["id"] for record, _ in ready),
            sum(len(annotations) for _, annotations in ready),
            (*notes, *merge.notes),
        )

    def _is_here(self, target: Target) -> bool:
        origin = self.document.origin
        return (
            origin is not None
            and origin.video_id is None
            and Path(origin.path).resolve() == target.path.resolve()
        )

    def _original(self, target: Target) -> tuple[CocoFile | None, tuple[str, ...]]:
        """Return the file that the document was read from, and what to know about it."""
        origin = self.document.origin
        if origin is None:
            return None, ()
        if origin.video_id is not None:
            raise DataError(
                "The document was read from a video. Export it as YouTube-VIS, which keeps its "
                "tracks."
            )
        if self._is_here(target):
            return target.changes.part(origin.image_ids), ()
        path = Path(origin.path)
        if not path.is_file():
            gone = (
                f"{path}, from which this was read, is not there any more: masks are written as "
                "they are seen, and fields that are not ours are not written."
            )
            return None, (gone,)
        if guess(path) != "coco":
            other = f"{path} is no file of COCO instances: what else it says is not written here."
            return None, (other,)
        original = target.load(path)
        licenses = {original.image_by_id.get(i, {}).get("license") for i in origin.image_ids}
        if licenses == {None} or original.licenses is None:
            return original, ()
        return original, (f"{path} names licenses of its images; look whether they allow this.",)

    def _there(self, frame: int, target: Target) -> Record | None:
        """Return the image of a frame, if the dataset has it."""
        origin = self.document.origin
        if self._is_here(target) and origin is not None:
            return target.changes.image(origin.image_ids[frame])
        return None if self.source is None else target.changes.find(self._source(frame))

    def _source(self, frame: int) -> Source:
        source = self.source or Source("")
        return replace(source, frame=frame) if self.document.frame_shape else source

    def _image_record(
        self,
        frame: int,
        record: Record,
        stem: str,
        target: Target,
        original: CocoFile | None,
        written: list[str],
    ) -> Record:
        height, width = self.document.image_shape
        is_there = "file_name" in record
        if is_there and (self.image is None or self._is_here(target)):
            if (record["height"], record["width"]) != (height, width):
                raise DataError(
                    f"Image {record['id']} of the dataset is {record['height']} × "
                    f"{record['width']}, the document {height} × {width}. Give the image as well."
                )
            return record
        if self.is_reference:
            name = self._reference(target)
        elif self.image is None:
            raise DataError(
                f"The dataset does not have {self._what(frame)} yet. Give its pixels as well."
            )
        else:
            pixels = self._pixels(frame)
            path = find_image(target.roots, record) if is_there else None
            if path is not None and shows(path, storable(pixels)):
                name = record["file_name"]
            else:
                label = label_of(frame, self.document.frame_shape, self.axes)
                taken = target.changes.taken
                # A stack's own stem is taken by itself, that of a single image is its name.
                is_first = not is_there and not label
                base = f"{stem}{label}"
                name = target.images.put(
                    pixels, base, lambda s: s in taken and not (is_first and s == folded(base))
                )
                written.append(name)
        fresh: Record = {"id": record["id"], "file_name": name, "height": height, "width": width}
        fresh |= self._other_fields(frame, original) if not is_there else {}
        fresh |= {k: v for k, v in record.items() if k not in fresh}
        if self.source is not None:
            fresh["source"] = self._source(frame).row(stem)
        elif self.document.frame_shape:
            fresh["source"] = {"stem": stem, "frame": frame}
        return fresh

    def _other_fields(self, frame: int, original: CocoFile | None) -> Record:
        origin = self.document.origin
        if original is None or origin is None:
            return {}
        record = original.image_by_id.get(origin.image_ids[frame], {})
        return {key: value for key, value in record.items() if key not in _OURS}

    def _annotations(
        self,
        frame: int,
        image_id: int,
        changes: Changes,
        original: CocoFile | None,
        merge: CategoryMerge,
        is_here: bool,
        next_id: int,
    ) -> tuple[list[Record], int]:
        made = annotations_of(
            self.document, frame, image_id, original, next_id, segmentation=self.form
        )
        # Copies: untouched ones are the original's own records.
        records = [dict(record) for record in made]
        for record in records:
            if record["category_id"] not in merge.ids:
                raise DataError(
                    f"A segment of {self._what(frame)} has the category {record['category_id']}, "
                    f"not one of {sorted(merge.ids)}. Name its categories."
                )
            record["category_id"] = merge.ids[record["category_id"]]
        previous, origin = changes.annotations_of(image_id), self.document.origin
        known = set()
        if original is not None and origin is not None:
            known = {r["id"] for r in original.annotations_of(origin.image_ids[frame])}
        if not is_here:
            # Boxes and keypoints that somebody else has made: the document knows nothing of them.
            kept = [dict(r) for r in previous if r.get("segmentation") in (None, [])]
            known |= {r["id"] for r in kept}
            records = kept + records
        return records, renumber(records, known, previous, changes.owners, image_id, next_id)

    def _reference(self, target: Target) -> str:
        path = None if self.source is None or self.source.path is None else Path(self.source.path)
        if path is None or self.document.frame_shape or not path.is_file():
            raise DataError(
                f"{self._what(0)} cannot be referred to: only an image that is a file of its own "
                "can. Copy the images."
            )
        size = image_size(path)
        if size != self.document.image_shape:
            raise DataError(
                f"{path.name} is {size[0]} × {size[1]}, its segmentation "
                f"{self.document.image_shape[0]} × {self.document.image_shape[1]}. Copy the images."
            )
        for root in target.roots:
            folder = root.resolve()
            if path.is_relative_to(folder):
                name = path.relative_to(folder).as_posix()
                found = find_image(target.roots, {"id": 0, "file_name": name})
                if found is not None and found.resolve() == path:
                    return name
        raise DataError(
            f"{path} lies outside of {target.path.parent}, so that the dataset could not be moved. "
            "Copy the images, or make the dataset in a folder above them."
        )

    def _pixels(self, frame: int) -> npt.NDArray[Any]:
        shape = self.document.frame_shape
        if callable(getattr(self.image, "frame", None)):
            pixels = np.asarray(self.image.frame(frame))
        else:
            found = tuple(getattr(self.image, "shape", np.shape(self.image)))
            if found[: len(shape)] != shape:
                raise DataError(
                    f"{self._what(frame)} is {found}; the frames of the document are {shape}, in "
                    "front of height and width. Put the axes in this order."
                )
            index = tuple(int(i) for i in np.unravel_index(frame, shape)) if shape else ()
            pixels = np.asarray(self.image[index] if index else self.image)
        if pixels.ndim not in (2, 3) or pixels.shape[:2] != self.document.image_shape:
            raise DataError(
                f"{self._what(frame)} is {pixels.shape}; {self.document.image_shape} and, last, "
                "channels were expected. Put the axes in this order."
            )
        return pixels

    def _what(self, frame: int) -> str:
        name = self.source.name if self.source is not None else "the image"
        return f"{name}, frame {frame}," if self.document.frame_shape else name


def addition(
    image: Any,
    result: Document | Segmentation,
    *,
    name: str,
    source_path: Path | None,
    frames: Iterable[int] | None,
    categories: Iterable[Category],
    is_reference: bool,
    axes: str | None,
    form: Form,
) -> Addition:
    """Check what is to be added; see `Dataset.add`.

    Raises
    ------
    DataError
        If something does not fit.
    """
    document = document_of(result, categories) if isinstance(result, Segmentation) else result
    n_axes = len(document.frame_shape)
    letters = axes if axes is not None else {1: "t", 2: "tz"}.get(n_axes, "pqrsuvw"[:n_axes])
    if len(letters) != n_axes or (not letters.isalpha() and letters):
        raise DataError(
            f"The document has {n_axes} axes of frames; {axes!r} names {len(letters)}. Give each a "
            "letter, such as 'tz'."
        )
    source = None
    if name or source_path is not None:
        path = None if source_path is None else source_path.resolve()
        source = Source(name or (path.name if path else ""), None if path is None else str(path))
    wanted = frames_of(document, frames)
    stem = safe_stem(without_suffix(source.name if source else "image"))
    return Addition(image, document, source, stem, wanted, is_reference, letters, form)
