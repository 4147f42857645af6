"""Where images and their annotations come from: a dataset on disk, or work that is open.

No torch.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from napari_eomt.annotation.document import FrameState
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_categories import read_category
from napari_eomt.formats.slices import image_name
from napari_eomt.formats.splits import group_of
from napari_eomt.training.image_files import check_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.annotation.document import Document
    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.coco_file import CocoFile
    from napari_eomt.formats.dataset import Dataset
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.frames import Frame, FrameSource
    from napari_eomt.structures.segments import Segmentation


@dataclass(frozen=True)
class ImageEntry:
    """An image to learn from or to check on.

    Parameters
    ----------
    key : str
        By which the source knows it; the same next time.
    name : str
        What people call it.
    group : str
        Of images that look nearly the same, such as the frames of a stack.
    shape : (H, W)
        In pixels.
    """

    key: str
    name: str
    group: str
    shape: tuple[int, int]


def entry_of(record: Record, file: CocoFile) -> ImageEntry:
    """Return the entry of an image of a COCO file."""
    name = image_name(record, is_shared=file.is_shared(record))
    size = int(record["height"]), int(record["width"])
    return ImageEntry(str(record["id"]), name, group_of(record), size)


class ImageSource(Protocol):
    """Images and their annotations, read one at a time, by several threads."""

    @property
    def categories(self) -> tuple[Category, ...]:
        """Of all annotations."""

    @property
    def entries(self) -> tuple[ImageEntry, ...]:
        """The images, in a fixed order."""

    def frame(self, key: str) -> Frame:
        """Read the pixels of an image."""

    def segmentation(self, key: str) -> Segmentation:
        """Read the annotations of an image."""


class DatasetSource:
    """The images of a dataset on disk. One without annotations shows that there is nothing.

    Parameters
    ----------
    dataset : Dataset

    Raises
    ------
    DataError
        If there are no images, or the files of some are not there.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        # A decoder's limits are set for the whole process while it reads, so one reads at a time.
        self._lock = threading.Lock()
        file = dataset.file
        if not file.images:
            what = "only videos" if file.videos else "no images"
            raise DataError(
                f"{dataset.path} has {what}: there is nothing to learn from. Add images with "
                "their annotations, such as by an export."
            )
        self.categories = tuple(read_category(record) for record in file.categories)
        self._ids = {str(record["id"]): int(record["id"]) for record in file.images}
        self.entries = tuple(entry_of(record, file) for record in file.images)
        check_files(dataset.path, file.images)

    def frame(self, key: str) -> Frame:
        """Read the pixels of an image.

        Raises
        ------
        DataError
            If it cannot be read, or is of another size than the dataset says.
        """
        with self._lock:
            return self._dataset.image(self._ids[key])

    def segmentation(self, key: str) -> Segmentation:
        """Read the annotations of an image.

        Raises
        ------
        DataError
            If a mask cannot be drawn.
        """
        return self._dataset.document(self._ids[key]).segmentation(0)


@dataclass(frozen=True, eq=False)
class SessionImage:
    """An image or a stack that is open, and the work on it.

    Parameters
    ----------
    key : str
        Different for each; the same next time.
    document : Document
        A copy, if the work goes on.
    source : FrameSource
        Its pixels.
    """

    key: str
    document: Document
    source: FrameSource


class SessionSource:
    """Frames of images that are open, of which something was decided.

    Taken are frames that were reviewed, also those in which there is nothing, and frames with at
    least one segment that a person has decided about.

    Parameters
    ----------
    images : sequence of SessionImage
        Categories of equal ids are one: all documents are of one piece of work.

    Raises
    ------
    DataError
        If nothing was decided, or the documents have different categories of one id.
    """

    def __init__(self, images: Sequence[SessionImage]) -> None:
        self._places: dict[str, tuple[SessionImage, int]] = {}
        entries: list[ImageEntry] = []
        categories: dict[int, Category] = {}
        for image in images:
            for category in image.document.categories.values():
                known = categories.setdefault(category.id, category)
                if (known.name, known.is_thing) != (category.name, category.is_thing):
                    raise DataError(
                        f"{image.source.name}: category {category.id} is {category.name!r}, in "
                        f"another image {known.name!r}. Give them different ids."
                    )
            for frame in decided_frames(image.document):
                key = f"{image.key} {frame}"
                name = image.source.name
                if image.document.n_frames > 1:
                    name = f"{name}, frame {frame + 1}"
                entries.append(ImageEntry(key, name, image.key, image.document.image_shape))
                self._places[key] = image, frame
        if not entries:
            raise DataError(
                "Nothing was decided in any open image: there is nothing to learn from. Accept, "
                "correct or draw objects first, or mark a frame as reviewed."
            )
        self.entries = tuple(entries)
        self.categories = tuple(categories.values())

    def frame(self, key: str) -> Frame:
        """Read the pixels of a frame."""
        image, frame = self._places[key]
        return image.source.frame(frame)

    def segmentation(self, key: str) -> Segmentation:
        """Return what is known about a frame."""
        image, frame = self._places[key]
        return image.document.segmentation(frame)


def decided_frames(document: Document) -> tuple[int, ...]:
    """Return the frames of which somebody has decided something: that is what can be learnt."""
    done = (FrameState.REVIEWED, FrameState.EXPORTED)
    return tuple(
        frame
        for frame in range(document.n_frames)
        if document.state(frame) in done or document.n_locked([frame]) > 0
    )
