"""A dataset as a viewer opens it: its images, stacks and videos, each with its document."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import tifffile
from PIL import Image as Picture
from PIL import UnidentifiedImageError

from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.image_store import Progress
from napari_eomt.annotation.operations import add_categories
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_attributes import read_attributes
from napari_eomt.formats.coco_file import load_coco
from napari_eomt.formats.coco_instance import read_document
from napari_eomt.formats.coco_panoptic import read_panoptic
from napari_eomt.formats.panoptic_file import PanopticFile, load_panoptic
from napari_eomt.formats.slices import image_name
from napari_eomt.formats.ytvis import read_video
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment
from napari_eomt.viewer.dataset_frames import DatasetFrames, image_path
from napari_eomt.viewer.dataset_kind import Found, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.annotation.document import Document
    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.coco_file import CocoFile

MAX_STACK_PIXELS = 2**29
"""Of images that are opened as one stack: their id maps take twice as many bytes."""

DEFAULT_CATEGORY = Category(1, "object")
"""Of a dataset that has none."""


@dataclass(frozen=True)
class Item:
    """What is opened at once: an image, several as a stack, or a video.

    Parameters
    ----------
    name : str
    image_ids : tuple of int
        One for each frame; () of a video.
    video_id : int or None
    """

    name: str
    image_ids: tuple[int, ...] = ()
    video_id: int | None = None

    @property
    def title(self) -> str:
        """The name without folders, for people."""
        return PurePosixPath(self.name.replace("\\", "/")).name or self.name


class OpenDataset:
    """The images of a dataset, and what is known about each.

    Parameters
    ----------
    found : Found
        COCO instances, YouTube-VIS or COCO panoptic.
    skip_invalid : bool
        Whether records that make no sense are left out; `problems` tells which.

    Raises
    ------
    DataError
        If it cannot be read, or has no images.
    """

    def __init__(self, found: Found, *, skip_invalid: bool = False) -> None:
        self.path: Path = found.path
        self.panoptic: PanopticFile | None = None
        if found.kind is Kind.PANOPTIC:
            self.panoptic = load_panoptic(found.path, skip_invalid=skip_invalid)
            self.file: CocoFile = self.panoptic.file
        else:
            self.file = load_coco(found.path, skip_invalid=skip_invalid)
        self.problems = tuple(str(problem.message) for problem in self.file.problems)
        # A file of both kinds is one of images that know their videos.
        self.is_video = bool(self.file.videos) and not self.file.images
        if self.is_video:
            self.items = [
                Item(str(v.get("name") or f"video {v['id']}"), (), v["id"])
                for v in self.file.videos
            ]
        else:
            self.items = [
                Item(image_name(r, is_shared=self.file.is_shared(r)), (r["id"],))
                for r in self.file.images
            ]
        if not self.items:
            raise DataError(f"{self.path.name} has no images. Choose another dataset.")

    def stack(self) -> Item | None:
        """Return all images as one stack, if they are of one kind and not too many; else None."""
        records = self.file.images
        if self.is_video or len(records) < 2:
            return None
        sizes = {(r["height"], r["width"]) for r in records}
        if len(sizes) > 1 or len(records) * records[0]["height"] * records[0]["width"] > (
            MAX_STACK_PIXELS
        ):
            return None
        # Headers alone: a few thousand in a second.
        paths = {image_path(self.path, r) for r in records}
        if len(set(map(_kind_of_pixels, paths))) > 1:
            return None
        return Item(self.name, tuple(r["id"] for r in records))

    @property
    def name(self) -> str:
        """What people call it: its folder, unless that says nothing."""
        folder = self.path.parent
        return folder.parent.name if folder.name == "annotations" else folder.name

    def document(self, item: Item) -> Document:
        """Read what is known about an item.

        Raises
        ------
        DataError
            If a mask cannot be drawn, or a PNG of a panoptic dataset cannot be read.
        """
        if self.panoptic is not None:
            document = read_panoptic(self.panoptic, item.image_ids)
        elif item.video_id is not None:
            document = read_video(self.file, item.video_id, origin_path=self.path)
        else:
            document = read_document(self.file, item.image_ids, origin_path=self.path)
        if not document.categories:
            document.apply(add_categories(document, [DEFAULT_CATEGORY]))
        return document

    def source(self, item: Item) -> DatasetFrames:
        """Return the pixels of an item; those of a stack are read when they are shown.

        Raises
        ------
        DataError
            If the first image is not there, or cannot be read.
        """
        is_stack = item.video_id is not None or len(item.image_ids) > 1
        return DatasetFrames(
            self.path,
            item.title,
            self.records(item),
            is_stack=is_stack,
            is_shared=self.file.is_shared,
        )

    def records(self, item: Item) -> list[Record]:
        """Return the image of each frame: of a video, as images have it."""
        if item.video_id is None:
            return [self.file.image_by_id[i] for i in item.image_ids]
        video = self.file.video_by_id[item.video_id]
        size = {"height": video["height"], "width": video["width"]}
        names = video.get("file_names")
        if not isinstance(names, list) or not names:
            raise DataError(
                f"{self.path.name}: video {item.video_id} has no 'file_names'. Add the list of "
                "its frames."
            )
        return [{"id": item.video_id, "file_name": name, **size} for name in names]

    def progress(self, item: Item) -> Progress:
        """Return how far an item is, as its annotations say, without a mask of them."""
        if self.panoptic is not None:
            annotation = self.panoptic.annotation_of(item.image_ids[0])
            records = [] if annotation is None else annotation["segments_info"]
        elif item.video_id is not None:
            records = self.file.annotations_of_video(item.video_id)
        else:
            records = [r for i in item.image_ids for r in self.file.annotations_of(i)]
        plain = Segment(1, 0)
        n_left = sum(not read_attributes(plain, record).is_locked for record in records)
        if not records:
            return Progress()
        state = FrameState.PROPOSED if n_left else FrameState.REVIEWED
        return Progress(state=state, n_objects=len(records), n_left=n_left)


def _kind_of_pixels(path: Path) -> str:
    """Return what tells images apart that cannot be frames of one stack."""
    with suppress(OSError, UnidentifiedImageError, tifffile.TiffFileError):
        # Pillow knows no TIFF of two channels.
        if path.suffix.lower() in (".tif", ".tiff"):
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages.first
                return f"{page.dtype} × {page.samplesperpixel}"
        with Picture.open(path) as picture:
            mode = str(picture.mode)
            return {"P": "RGB", "PA": "RGBA", "LA": "RGBA"}.get(mode, mode)
    return f"unknown: {path}"
