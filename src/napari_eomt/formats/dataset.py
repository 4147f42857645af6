"""A dataset in a folder: images and one COCO file, added to without ever being half written."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_swap import sync_folder
from napari_eomt.formats import dataset_split
from napari_eomt.formats.coco_categories import read_category
from napari_eomt.formats.coco_file import CocoFile, load_coco, save_coco
from napari_eomt.formats.coco_instance import read_document
from napari_eomt.formats.dataset_add import Added, Target, addition
from napari_eomt.formats.dataset_changes import Changes
from napari_eomt.formats.dataset_images import (
    PendingImages,
    image_file,
    image_folder,
    roots_of,
)
from napari_eomt.formats.dataset_lock import DatasetLock
from napari_eomt.formats.json_file import MAX_BYTES
from napari_eomt.formats.slices import read_record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    import numpy.typing as npt

    from napari_eomt.annotation.document import Document
    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.splits import Part
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Segmentation

NAME = "annotations.json"
"""Of the COCO file of a dataset that we begin."""

_UNFINISHED = re.compile(r"\.writing-[0-9a-f]{12}\.json")


def load_dataset(
    path: Path | str, *, skip_invalid: bool = False, max_bytes: int = MAX_BYTES
) -> Dataset:
    """Open a dataset, and make the files of its parts again if they are stale.

    Parameters
    ----------
    path : Path or str
        Its folder, or its COCO file. In a folder it is `annotations.json`, or the only JSON there,
        or in `annotations/`.
    skip_invalid : bool
        Whether records that make no sense are left out; see `load_coco`. Such a dataset is only
        read, for they would be lost.
    max_bytes : int
        A larger COCO file is not read.

    Raises
    ------
    DataError
        If there is none, or it cannot be read.
    """
    found = dataset_json(Path(path))
    dataset = Dataset(found, load_coco(found, skip_invalid=skip_invalid, max_bytes=max_bytes))
    dataset.renew_parts()
    return dataset


class Dataset:
    """Images and what is known about them, as COCO has it.

    `add` prepares, `save` makes it so: the images first, then one step that replaces the COCO
    file. Killed at any moment, the dataset is the one of before or the one of after. From the
    first `add` until `save` or `close` nobody else can write it. A context manager, which closes.

    Parameters
    ----------
    path : Path
        Its COCO file.
    file : CocoFile
        What is in it.

    Attributes
    ----------
    notes : tuple of str
        What was left out when it was opened.
    split_notes : tuple of str
        What is in no part, as `save` has split it.
    """

    def __init__(self, path: Path, file: CocoFile) -> None:
        self.path = path
        self.notes: tuple[str, ...] = tuple(str(problem) for problem in file.problems)
        self.split_notes: tuple[str, ...] = ()
        self._roots = roots_of(path)
        self._lock = DatasetLock(path.parent)
        self._state = _state(path)
        self._changes = Changes(file)
        self._images = PendingImages(image_folder(self._roots, file.images))
        self._other: tuple[Path, Any, CocoFile] | None = None

    @classmethod
    def create(cls, folder: Path | str) -> Dataset:
        """Begin a dataset in a folder, which is made if it is not there.

        Raises
        ------
        DataError
            If there is one already.
        OutputError
            If the folder cannot be made.
        """
        path = Path(folder) / NAME
        if path.exists():
            raise DataError(
                f"{path.parent} has a dataset already. Add to it, or choose another folder."
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{path.parent}: the folder cannot be made ({error.strerror or error}). Choose "
                "another."
            ) from error
        return cls(path, CocoFile())

    @property
    def folder(self) -> Path:
        """In which the COCO file lies."""
        return self.path.parent

    @property
    def file(self) -> CocoFile:
        """The COCO file as it will be when it is saved."""
        return self._changes.merged()

    @property
    def val_fraction(self) -> float | None:
        """The fraction of images that check, if the dataset is split."""
        return dataset_split.val_fraction_of(self._changes.file)

    @property
    def is_saved(self) -> bool:
        """Whether nothing was added since it was opened or saved."""
        return self._changes.is_empty

    def image_path(self, image_id: int) -> Path:
        """Return the file of an image.

        Raises
        ------
        DataError
            If there is no such image, its file is not there, or lies outside of the dataset.
        """
        return image_file(self._roots, self._record(image_id))

    def image(self, image_id: int) -> npt.NDArray[Any]:
        """Read the pixels of an image: (H, W) or (H, W, C). Its `frame` may say of which slice.

        Raises
        ------
        DataError
            If it cannot be read, is of another size than the dataset says, or has no such slice.
        """
        record = self._record(image_id)
        is_shared = self._changes.file.is_shared(record)
        return read_record(self.image_path(image_id), record, is_shared=is_shared)

    def document(self, *image_ids: int) -> Document:
        """Read what is known about an image, or about several as the frames of a stack."""
        for image_id in image_ids:
            self._record(image_id)
        return read_document(self._changes.part(image_ids), image_ids, origin_path=self.path)

    def add(
        self,
        image: Any,
        result: Document | Segmentation,
        *,
        name: str = "",
        source_path: Path | str | None = None,
        frames: Iterable[int] | None = None,
        categories: Iterable[Category] | None = None,
        images: Literal["copy", "reference"] = "copy",
        axes: str | None = None,
        segmentation: Literal["rle", "polygons"] = "rle",
    ) -> Added:
        """Add an image or a stack with its annotations, or replace those that are there.

        Nothing is changed before `save`.

        Parameters
        ----------
        image : array, or an object with `frame(index)`, or None
            (H, W) or (H, W, C), a stack with the document's frames in front. None if its files
            are in the dataset already, or are referred to. Files of a dataset from which the
            document was read are never written again.
        result : Document or Segmentation
            Rejected segments are left out.
        name : str
            What people call the image: its files are called so. An image of the same name, from
            the same file, is replaced; without a name it is always a new one.
        source_path : Path or str, optional
            The file that it was read from.
        frames : iterable of int, optional
            Which; all that something is known about are written if none are named.
        categories : iterable of Category, optional
            Of a segmentation; a document has its own.
        images : {"copy", "reference"}
            Write the pixels without loss, or refer to `source_path`, which has to lie in the
            dataset's folder.
        axes : str, optional
            A letter for each axis of frames, for the names of files: "tz".
        segmentation : {"rle", "polygons"}
            How new masks are written.

        Raises
        ------
        DataError
            If the image and the result do not fit each other, or another program is writing.
        OutputError
            If the disk is full, or the folder cannot be written.
        """
        self._begin()
        try:
            if categories is None:
                categories = [read_category(record) for record in self._changes.categories]
            wanted = addition(
                image,
                result,
                name=name,
                source_path=None if source_path is None else Path(source_path),
                frames=frames,
                categories=map(read_category, self._changes.categories)
                if categories is None
                else categories,
                is_reference=images == "reference",
                axes=axes,
                form=segmentation,
            )
            return wanted.apply(
                Target(self.path, self._changes, self._images, self._roots, self._load_other)
            )
        finally:
            self._end_if_saved()

    def save(self, *, val_fraction: float | None = None) -> dict[Part, int]:
        """Write what was added.

        Parameters
        ----------
        val_fraction : float, optional
            Split the dataset: from now on `annotations_train.json` and `annotations_val.json` are
            written as well. 0 ends that.

        Returns
        -------
        dict of str to int
            How many images each part has, if the dataset is split. Equal images are in one; what
            is left out is in `split_notes`.

        Raises
        ------
        OutputError
            If it cannot be written: the dataset of before is whole, and saving can be tried again.
        DataError
            If another program is writing, or has changed it since the first `add`; or an image
            cannot be read to be compared: then the dataset is saved, and its parts are not.
        """
        self._begin()
        try:
            file = self._changes.merged()
            if val_fraction is not None:
                file = dataset_split.with_val_fraction(file, val_fraction or None)
            if file is not self._changes.file or self._state is None:
                if _state(self.path) != self._state:
                    raise DataError(
                        f"{self.path} was changed by another program while it was being added to. "
                        "Open it and add again."
                    )
                self._images.place()
                save_coco(file, self.path)
                with suppress(OSError):  # some network disks know no such thing
                    sync_folder(self.folder)
                self._images.settle()
                self._state = _state(self.path)
                self._changes, self._other = Changes(file), None
            return self._write_parts()
        finally:
            self._end_if_saved()

    def renew_parts(self) -> None:
        """Make the files of the parts again if they are of another state than the dataset.

        A dataset that cannot be written now is left as it is, with a note.
        """
        if self.val_fraction is None or not dataset_split.is_stale(self.path):
            return
        try:
            self._begin()
            try:
                self._write_parts()
            finally:
                self._end_if_saved()
        except (DataError, OutputError) as error:
            self.notes += (f"The files of its parts are not of its last state: {error}",)

    def close(self) -> None:
        """Forget what was added since it was saved, and let others write."""
        self._images.discard()
        self._changes = Changes(self._changes.file)
        self._lock.release()

    def __enter__(self) -> Dataset:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _begin(self) -> None:
        """Become the one who writes, on what is on the disk now."""
        if self._lock.is_held:
            return
        if self._changes.file.problems:
            raise DataError(
                f"{self.path}: {len(self._changes.file.problems)} records that make no sense were "
                "left out, and would be lost. Correct them, or export to a new folder."
            )
        self._lock.acquire()
        try:
            if _state(self.path) != self._state:
                # Nothing was added yet: who adds has the lock.
                file = load_coco(self.path) if self.path.exists() else CocoFile()
                self._changes, self._state = Changes(file), _state(self.path)
            self._images.clean()
            for path in self.folder.glob(".writing-*.json"):
                if _UNFINISHED.fullmatch(path.name):
                    with suppress(OSError):
                        path.unlink()
        except BaseException:
            self._lock.release()
            raise

    def _load_other(self, path: Path) -> CocoFile:
        """Read the COCO file of another dataset, once for all the images that come from there."""
        state = _state(path)
        if self._other is None or self._other[:2] != (path, state):
            self._other = path, state, load_coco(path)
        return self._other[2]

    def _end_if_saved(self) -> None:
        if self._changes.is_empty:
            self._lock.release()

    def _write_parts(self) -> dict[Part, int]:
        file = self._changes.file
        val_fraction = dataset_split.val_fraction_of(file)
        if val_fraction is None:
            dataset_split.remove_parts(self.path)
            written = dataset_split.Written()
        else:
            written = dataset_split.write_parts(self.path, file, val_fraction)
        self.split_notes = written.notes
        return written.n_images

    def _record(self, image_id: int) -> Record:
        record = self._changes.image(image_id)
        if record is None:
            n = len(self._changes.merged().images)
            raise DataError(f"{self.path}: there is no image {image_id}; it has {n}.")
        return record


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def dataset_json(path: Path) -> Path:
    """Return the COCO file of a dataset, given that or its folder.

    Raises
    ------
    DataError
        If the folder has none, or several of which none is called as ours.
    """
    if not path.is_dir():
        return path
    if (path / NAME).exists():
        return path / NAME
    for folder in (path, path / "annotations"):
        found = sorted(folder.glob("*.json")) if folder.is_dir() else []
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(
                f"{folder} has {len(found)} JSON files and no {NAME}. Name one of them, such as "
                f"{found[0].name}."
            )
    raise DataError(f"{path} has no {NAME}. Choose the folder of a dataset, or its COCO file.")
