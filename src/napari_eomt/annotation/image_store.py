"""The work on the images of a folder: documents, how far each image is, and where one was."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Protocol

from pydantic import Field, ValidationError

from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.files import SUFFIX, load_document, save_document
from napari_eomt.annotation.rows import Count, Row, plain_text
from napari_eomt.annotation.sessions import autosave_dir
from napari_eomt.atomic import replacing
from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_swap import whole
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.image_ref import ImageRef

_INDEX, _LAST = "index.json", "last.json"


class Progress(Row):
    """How far an image is, as its document says.

    Parameters
    ----------
    state : FrameState
        Of the frame that is least far.
    n_objects : int
        Without rejected ones.
    n_left : int
        Proposals that nobody has decided about.
    work : str
        Which document it is; empty if there is none.
    """

    state: FrameState = FrameState.NEW
    n_objects: Count = 0
    n_left: Count = 0
    work: str = ""

    @classmethod
    def of(cls, document: Document, work: str = "") -> Progress:
        """Return how far a document is."""
        segments = [s for _, s in document.iter_segments()]
        n_left = sum(not segment.is_locked for segment in segments)
        n_objects = sum(segment.status is not Status.REJECTED for segment in segments)
        states = {document.state(frame) for frame in range(document.n_frames)}
        if states == {FrameState.NEW} and not segments:
            state = FrameState.NEW
        elif n_left or states & {FrameState.NEW, FrameState.PROPOSED}:
            state = FrameState.PROPOSED
        else:
            state = FrameState.REVIEWED if FrameState.REVIEWED in states else FrameState.EXPORTED
        return cls(state=state, n_objects=n_objects, n_left=n_left, work=work)


class ImageStore(Protocol):
    """Keeps the work on the images of one folder."""

    def progress(self) -> dict[str, Progress]:
        """Return how far the images are, by name."""

    def load(self, image: ImageRef) -> Document | None:
        """Return what is kept of an image; None if nothing is."""

    def outdated(self, name: str, image: ImageRef) -> str:
        """Return what to know where there is work on other pixels of this name; else nothing."""

    def save(self, name: str, image: ImageRef, document: Document) -> Path | None:
        """Keep a document; return where, if it is on the disk."""

    def document(self, name: str) -> Path | None:
        """Return where the document of an image is kept; None if nothing is."""

    def record(self, progress: Mapping[str, Progress]) -> None:
        """Take down how far some images are, by name: their documents say so already."""

    @property
    def current(self) -> str:
        """The image that was open last; empty if none was."""

    @current.setter
    def current(self, name: str) -> None: ...


class _Index(Row):
    folder: str
    current: str = ""
    images: dict[str, Progress] = Field(default_factory=dict)


class FolderStore:
    """Keeps the work on a folder's images among the user's data, never in the folder itself.

    Parameters
    ----------
    folder : Path
        Of the images, or the file of a dataset.
    root : Path, optional
        Of all such stores.
    """

    def __init__(self, folder: Path, root: Path | None = None) -> None:
        self.folder = folder.resolve()
        self._root = root or store_dir()
        readable = re.sub(r"[^A-Za-z0-9_-]+", "-", self.folder.name).strip("-")[:40] or "images"
        digest = hashlib.sha256(str(self.folder).encode(errors="surrogateescape")).hexdigest()
        self.path = self._root / f"{readable}-{digest[:16]}"
        self._index = _Index(folder=plain_text(str(self.folder)))
        # A damaged index is made anew: the documents are what counts, and are found by themselves.
        with suppress(OSError, ValidationError):
            self._index = _Index.model_validate_json((self.path / _INDEX).read_bytes())
        self._images = dict(self._index.images)
        self._unreadable: set[Path] = set()
        self._current = self._index.current

    def progress(self) -> dict[str, Progress]:
        """Return how far the images are, by name."""
        return dict(self._images)

    @property
    def current(self) -> str:
        """The image that was open last; empty if none was."""
        return self._current

    @current.setter
    def current(self, name: str) -> None:
        if name != self._current:
            self._current = name
            self._write()

    def load(self, image: ImageRef) -> Document | None:
        """Return what is kept of an image; None if nothing is.

        Raises
        ------
        DataError
            If its document is damaged.
        """
        folder = self._folder_of(image)
        if not whole(folder).is_dir():
            return None
        try:
            return load_document(folder)[0]
        except DataError:
            self._unreadable.add(folder)
            raise

    def outdated(self, name: str, image: ImageRef) -> str:
        """Return what to know where there is work on other pixels of this name; else nothing."""
        work = self._images.get(name, Progress()).work
        folder = self.path / work
        if not work or folder == self._folder_of(image) or not whole(folder).is_dir():
            return ""
        return (
            f"{name} has other pixels than when it was worked on. The work of then is kept in "
            f"{folder}; open it from there if it still fits."
        )

    def save(self, name: str, image: ImageRef, document: Document) -> Path:
        """Keep a document, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        folder = self._folder_of(image)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        if folder in self._unreadable:
            # Damaged, or of a later version: there may still be something to get out of it.
            aside = folder.with_name(f"{folder.stem}-unreadable-{token_hex(3)}{SUFFIX}")
            try:
                whole(folder).rename(aside)
            except OSError as error:
                raise _unwritable(self.path, error) from error
            self._unreadable.discard(folder)
        save_document(document, folder, image, overwrite=True)
        self._images[name] = Progress.of(document, folder.name)
        self._write()
        return folder

    def document(self, name: str) -> Path | None:
        """Return where the document of an image is kept; None if nothing is."""
        work = self._images.get(name, Progress()).work
        return self.path / work if work and whole(self.path / work).is_dir() else None

    def record(self, progress: Mapping[str, Progress]) -> None:
        """Take down how far some images are, by name: their documents say so already.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        self._images.update(progress)
        self._write()

    def _folder_of(self, image: ImageRef) -> Path:
        return self.path / f"{image.key}{SUFFIX}"

    def _write(self) -> None:
        index = _Index(folder=self._index.folder, current=self._current, images=dict(self._images))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with replacing(self.path / _INDEX) as temporary:
                temporary.write_text(index.model_dump_json(indent=1) + "\n", encoding="utf-8")
            with replacing(self._root / _LAST) as temporary:
                temporary.write_text(json.dumps({"folder": index.folder}), encoding="utf-8")
        except OSError as error:
            raise _unwritable(self.path, error) from error


def store_dir() -> Path:
    """Return the folder of all stores, beside that of the sessions."""
    return autosave_dir().parent / "folders"


def last_folder(root: Path | None = None) -> Path | None:
    """Return the folder of images, or the file of a dataset, that was worked on last.

    None if it is not there any more.
    """
    try:
        found = json.loads(((root or store_dir()) / _LAST).read_text(encoding="utf-8"))
        folder = Path(found["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if folder.exists() else None


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: the work on the images cannot be kept ({error.strerror or error}). Free the "
        "disk; the image stays open until then."
    )
