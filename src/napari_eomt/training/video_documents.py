"""Documents of stacks to learn from, NAME.eomt, beside the pixels of their frames. No torch."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_eomt.annotation.files import SUFFIX, load_document
from napari_eomt.errors import DataError
from napari_eomt.formats.image_files import read_image
from napari_eomt.formats.rebuilt import by_track
from napari_eomt.inference.video_frames import open_frames
from napari_eomt.training.sources import ImageEntry, decided_frames
from napari_eomt.training.video_choice import frame_key
from napari_eomt.training.video_ctc import numbered_images
from napari_eomt.training.video_sources import VideoSource, merged_categories

if TYPE_CHECKING:
    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.image_ref import ImageRef
    from napari_eomt.structures.frames import Frame
    from napari_eomt.structures.segments import Segmentation

_N_DOCUMENTS = 4  # in memory at a time
_BESIDE = (".tif", ".tiff", ".zarr", ".npy", ".mp4", ".avi", ".mov", ".mkv", ".webm")


def find_documents(path: Path) -> list[Path]:
    """Return a document's folder as it is, of another folder the documents in it, by name."""
    if not path.is_dir():
        return []
    if path.suffix == SUFFIX:
        return [path]
    return sorted(p for p in path.iterdir() if p.suffix == SUFFIX and p.is_dir())


class DocumentVideos(VideoSource):
    """Stacks with their tracks as they were saved while they were annotated.

    Taken are the frames of which something was decided: those that were reviewed, also where there
    is nothing, and those with a segment that a person has decided about. The pixels of
    ``NAME.eomt`` are in the folder ``NAME`` beside it, a numbered image for each frame, in a file
    beside it such as ``NAME.tif``, or where the document says that they were.

    Parameters
    ----------
    path : Path
        Of a document, or of a folder of some.

    Raises
    ------
    DataError
        If there is none, nothing was decided in any, or pixels are not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Sources of frames are not made for several threads.
        self._lock = threading.Lock()
        self._places: dict[str, tuple[Path, int]] = {}
        self._pixels: dict[Path, Any] = {}
        self._document = lru_cache(maxsize=_N_DOCUMENTS)(_read)
        self.notes: tuple[str, ...] = ()
        self.categories = ()
        entries: list[ImageEntry] = []
        lengths: dict[tuple[str, int], int] = {}
        kinds: dict[tuple[str, int], int] = {}
        skipped: list[str] = []
        for folder in find_documents(path):
            document, ref = self._document(folder)
            frames = decided_frames(document)
            if document.n_frames < 2 or not frames:
                skipped.append(folder.name)
                continue
            if len(document.frame_shape) > 1:
                raise DataError(
                    f"{folder.name} has frames along {len(document.frame_shape)} axes, "
                    f"{' × '.join(map(str, document.frame_shape))}; a video has them along one. "
                    "Take one of them out of the folder, or save a stack of one axis."
                )
            self.categories = merged_categories(self.categories, document, folder.name)
            self._pixels[folder] = pixels_of(folder, ref, document, frames)
            name = folder.stem
            for frame in frames:
                key = frame_key(name, frame)
                title = f"{name}, frame {frame + 1}"
                entries.append(ImageEntry(key, title, name, document.image_shape))
                self._places[key] = folder, frame
                for segment in document.segmentation(frame).segments:
                    track = name, segment.id
                    lengths[track] = lengths.get(track, 0) + 1
                    kinds[track] = segment.category_id
        if not entries:
            raise DataError(
                f"{path}: nothing was decided in any document of a stack ({len(skipped)} looked "
                "at). Accept, correct or draw objects first, or mark frames as reviewed."
            )
        if skipped:
            note = (
                f"{len(skipped)} documents are left out, such as {skipped[0]}: they are of single "
                "images, or nothing was decided."
            )
            self.notes = (note,)
        self.entries, self.track_lengths = tuple(entries), lengths
        self.track_categories = kinds

    def frame(self, key: str) -> Frame:
        """Read the pixels of a frame.

        Raises
        ------
        DataError
            If it cannot be read, or is of another size than its document.
        """
        folder, frame = self._places[key]
        with self._lock:
            pixels: Frame = self._pixels[folder].frame(frame)
            shape = self._document(folder)[0].image_shape
        if pixels.shape[:2] != shape:
            raise DataError(
                f"{folder.name}: frame {frame + 1} is of {pixels.shape[:2]} px, its document of "
                f"{shape}. Put the images there that were annotated."
            )
        return pixels

    def segmentation(self, key: str) -> Segmentation:
        """Return what is known about a frame."""
        folder, frame = self._places[key]
        with self._lock:
            return self._document(folder)[0].segmentation(frame)

    @property
    def files(self) -> dict[str, Path]:
        """Files of the frames by their keys; those of one stack may be in one."""
        found: dict[str, Path] = {}
        for key, (folder, frame) in self._places.items():
            source = self._pixels[folder]
            if isinstance(source, NumberedFrames):
                found[key] = source.files[frame]
            elif Path(source.path).is_file():
                found[key] = Path(source.path)
        return found

    @property
    def documents(self) -> dict[str, Path]:
        """The documents that are learnt from, by the names of their videos."""
        return {folder.stem: folder for folder in self._pixels}

    def pixels_of(self, video: str) -> Any:
        """Return what the frames of a video come from."""
        return self._pixels[self.documents[video]]


class NumberedFrames:
    """The frames of a stack as images in a folder, by their numbers; some may be missing.

    Parameters
    ----------
    folder : Path
    n_frames : int
        Of the stack. If there are so many images, they are its frames whatever their numbers.
    """

    def __init__(self, folder: Path, n_frames: int) -> None:
        self.path, self.n_frames = folder, n_frames
        images = numbered_images(folder)
        numbers = range(n_frames) if len(images) == n_frames else list(images.values())
        self.files = dict(zip(numbers, images, strict=True))

    def frame(self, index: int) -> Frame:
        """Read one."""
        return read_image(self.files[index])


def pixels_of(
    folder: Path, ref: ImageRef | None, document: Document, frames: tuple[int, ...]
) -> Any:
    """Open the pixels of a document; see `DocumentVideos`.

    Parameters
    ----------
    folder : Path
    ref : ImageRef or None
    document : Document
    frames : tuple of int
        That are needed.

    Raises
    ------
    DataError
        If they are not there, or there are others.
    """
    numbered = folder.with_suffix("")
    if numbered.is_dir():
        found = NumberedFrames(numbered, document.n_frames)
        missing = [frame for frame in frames if frame not in found.files]
        if missing:
            raise DataError(
                f"{numbered} has no image of frame {missing[0]}, counted from 0, nor of "
                f"{len(missing) - 1} others of {len(frames)} that were annotated. Put an image of "
                "each there, numbered as the frames."
            )
        return found
    places = [folder.with_suffix(suffix) for suffix in _BESIDE]
    if ref is not None and ref.path is not None:
        places.append(Path(ref.path))
    place = next((place for place in places if place.exists()), None)
    if place is None:
        told = "" if len(places) == len(_BESIDE) else f", nor at {places[-1]}, where they were"
        raise DataError(
            f"{folder.name}: its pixels are not beside it, as {numbered.name}.tif or as a folder "
            f"{numbered.name} of numbered images{told}. Put them there."
        )
    is_folder = place.is_dir() and place.suffix != ".zarr"
    source: Any = NumberedFrames(place, document.n_frames) if is_folder else open_frames(place)
    if is_folder and len(source.files) < document.n_frames:
        raise DataError(
            f"{place} has {len(source.files)} numbered images, {folder.name} is of "
            f"{document.n_frames} frames. Put an image of each there."
        )
    if source.n_frames != document.n_frames:
        raise DataError(
            f"{place} has {source.n_frames} frames, {folder.name} is of {document.n_frames}. Save "
            f"the frames that were annotated as numbered images in a folder {numbered}."
        )
    return source


def _read(folder: Path) -> tuple[Document, ImageRef | None]:
    document, ref = load_document(folder)
    return by_track(document), ref
