"""Images with their documents, written as a dataset; without a window, in any thread."""

from __future__ import annotations

import shlex
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.edits import Edit, StateChange
from napari_eomt.annotation.files import SUFFIX, save_document
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.rows import plain_text
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.convert import convert
from napari_eomt.formats.dataset import NAME, Dataset, load_dataset
from napari_eomt.formats.dataset_inputs import frames_of
from napari_eomt.formats.detect import guess
from napari_eomt.formats.export import iter_export
from napari_eomt.formats.presets import PRESETS
from napari_eomt.formats.safe_paths import folded, free_stem, safe_stem
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.video_frames import VideoFrames, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_eomt.annotation.document import Document

ExportFormat = Literal["coco", "panoptic", "ytvis", "labels", "ctc", "csv"]

N_AT_ONCE = 8
"""Frames that are written before anybody can stop it again."""

_FILES: dict[ExportFormat, str] = {
    "coco": NAME,
    "panoptic": "panoptic.json",
    "ytvis": "ytvis.json",
    "labels": "labels",
    "ctc": "tracks",
    "csv": "track_tables",
}


class ExportParams(BaseModel):
    """How images and their objects are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: ExportFormat = Field("coco", title="Format", description="Which files are written.")
    tool: str = Field(
        "coco",
        title="For",
        description="The tool that shall read it. For others than COCO's own, a copy as that tool "
        "takes it is written beside the dataset.",
    )
    append: bool = Field(
        True,
        title="If there is a dataset",
        description="Add to it: images that are in it already get their new objects, nothing else "
        "changes. Otherwise the folder has to be without one.",
    )
    copy_images: bool = Field(
        True,
        title="Images",
        description="Copy the images into the dataset without loss, so that it can be taken along; "
        "or refer to the files, which then have to lie in the dataset's folder. Videos that came "
        "from a dataset refer to its files.",
    )
    val_fraction: float = Field(
        0.0,
        ge=0,
        le=0.9,
        title="To check",
        description="Part of the images that a training checks itself with, 0 to 0.9: writes "
        "annotations_train.json and annotations_val.json as well. An image that is added "
        "moves none of 20 or more; the frames of a stack, and equal images, stay together. "
        "0: no parts.",
    )


@dataclass(frozen=True, eq=False)
class ExportItem:
    """An image, a stack or a video that is to be written.

    Parameters
    ----------
    name : str
        What people call it.
    read : callable
        Returns its document; nobody else changes that.
    pixels : callable
        Returns what its frames come from, see `FrameSource`.
    path : Path or None
        The file that it was read from.
    kept : callable, optional
        Given the document after it was written, with what was written marked so.
    """

    name: str
    read: Callable[[], Document]
    pixels: Callable[[], Any]
    path: Path | None = None
    kept: Callable[[Document], None] = lambda _: None


@dataclass(frozen=True)
class ExportDone:
    """What was written.

    Parameters
    ----------
    path : Path
        The file, or the folder of label images or tracks.
    n_images, n_objects : int
        Frames count as images, and an object counts in each of them.
    notes : tuple of str
        What is not as one might think; for people.
    """

    path: Path
    n_images: int
    n_objects: int
    notes: tuple[str, ...] = ()


class Stopped(Exception):
    """Raised by what is told of progress, to end an export."""


def export(
    items: Sequence[ExportItem],
    folder: Path,
    params: ExportParams,
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
) -> ExportDone:
    """Write images with their documents.

    Of a COCO dataset all of it is written or nothing; it is locked meanwhile.

    Parameters
    ----------
    items : sequence of ExportItem
    folder : Path
        Of the dataset; made if it is not there.
    params : ExportParams
    on_progress : callable
        Given how much is done, how much there is, and a text; what it raises ends it all.

    Raises
    ------
    DataError
        If something does not fit into the format, or into the dataset that is there.
    OutputError
        If it cannot be written.
    """
    if not items:
        raise DataError("There are no objects to export. Segment an image, or draw some.")
    if params.form == "coco":
        return _to_coco(items, folder, params, on_progress)
    return _converted(items, folder, params, on_progress)


def exported(document: Document) -> Edit:
    """Return the edit that marks what was written: frames in which nothing is left to decide."""
    changes = []
    for frame in range(document.n_frames):
        state = document.state(frame)
        is_left = any(not s.is_locked for s in document.segments(frame).values())
        if state is not FrameState.EXPORTED and not is_left:
            changes.append(StateChange(frame, state, FrameState.EXPORTED))
    return Edit("Mark as exported", states=tuple(changes))


def target_of(folder: Path, form: ExportFormat, origins: Sequence[str | None] = ()) -> Path:
    """Return the file that would be written in a folder.

    It is the one that everything was read from, if that lies there and is of the format.
    """
    if len(set(origins)) == 1 and origins[0] is not None:
        path = Path(origins[0])
        if path.parent.resolve() == folder.resolve() and guess(path) == form:
            return path
    if form == "coco" and not (folder / NAME).exists():
        # Datasets of others are added to under the name that they have.
        found = [p for p in sorted(folder.glob("*.json")) if guess(p) == "coco"]
        if len(found) == 1:
            return found[0]
    return folder / _FILES[form]


def command_line(documents: Path, folder: Path, form: ExportFormat) -> str:
    """Return the command that writes documents in the same format."""
    out = target_of(folder, form)
    arguments = ["napari-eomt", "convert", str(documents), "--out", str(out), "--to", form]
    return " ".join(shlex.quote(argument) for argument in arguments)


def _to_coco(
    items: Sequence[ExportItem],
    folder: Path,
    params: ExportParams,
    on_progress: Callable[[int, int, str], None],
) -> ExportDone:
    notes: Counter[str] = Counter()
    n_images = n_objects = 0
    first = items[0].read()
    path = target_of(folder, "coco", [None if first.origin is None else first.origin.path])
    if path.exists() and not params.append:
        raise DataError(
            f"{folder} has a dataset already. Choose another folder, or add to what is there."
        )
    dataset = load_dataset(path) if path.exists() else Dataset.create(folder)
    with dataset:
        for k, item in enumerate(items):
            document = first if k == 0 else item.read()
            is_here = (
                document.origin is not None
                and Path(document.origin.path).resolve() == path.resolve()
            )
            # Of what was read from there, what was deleted is to go from there, too.
            frames = frames_of(document, range(document.n_frames) if is_here else None)
            for start in range(0, len(frames), N_AT_ONCE):
                on_progress(*_place(k, len(items), start, len(frames)), item.name)
                added = dataset.add(
                    None if is_here or not params.copy_images else item.pixels(),
                    document,
                    name=item.name,
                    source_path=None if is_here else item.path,
                    frames=frames[start : start + N_AT_ONCE],
                    images="copy" if params.copy_images or is_here else "reference",
                )
                notes.update(added.notes)
            n_images += len(frames)
            n_objects += _n_objects(document)
        on_progress(1, 1, "writing the file")
        parts = dataset.save(val_fraction=params.val_fraction or None)
        if parts:
            notes[f"{parts['train']:,} images to train, {parts['val']:,} to check."] += 1
            notes.update(dataset.split_notes)
        if params.tool != "coco":
            notes.update(_copy_for(dataset, params.tool, on_progress))
    _mark(items)
    return ExportDone(path, n_images, n_objects, tuple(notes))


def _copy_for(
    dataset: Dataset, tool: str, on_progress: Callable[[int, int, str], None]
) -> list[str]:
    """Write a copy of a dataset as a tool takes it, beside it; return what to know about it."""
    title = PRESETS[tool].title
    steps, n_images = iter_export(dataset, dataset.folder / tool, tool), len(dataset.file.images)
    while True:
        try:
            n = next(steps)
        except StopIteration as end:
            # What the tool cannot hold was said before it was chosen.
            notes = [note for note in end.value.notes if note not in PRESETS[tool].loses]
            return [*notes, f"The copy for {title} is in {dataset.folder / tool}."]
        on_progress(n, n_images, f"copy for {title}")


def _converted(
    items: Sequence[ExportItem],
    folder: Path,
    params: ExportParams,
    on_progress: Callable[[int, int, str], None],
) -> ExportDone:
    """Write another format than COCO's instances: from documents, as the command line does."""
    form = params.form
    frames = VideoFrames(folder)
    with TemporaryDirectory(prefix="napari-eomt-") as stage, closing(frames):
        taken: set[str] = set()
        stems: list[str] = []
        origins = []
        n_images = n_objects = 0
        for k, item in enumerate(items):
            on_progress(k, 2 * len(items), item.name)
            document = item.read()
            stem = free_stem(safe_stem(PurePosixPath(item.name).stem), lambda s: s in taken)
            taken.add(folded(stem))
            origins.append(None if document.origin is None else document.origin.path)
            # What the image is called is all that the formats say of it.
            ref = ImageRef(
                name=plain_text(item.name),
                path=None if item.path is None else plain_text(str(item.path)),
                shape=(*document.frame_shape, *document.image_shape),
                dtype="",
                fingerprint="",
            )
            stems.append(stem)
            # The names of videos do not show; their order tells whose frames are whose.
            place = in_order(k, stem) if form == "ytvis" else stem
            save_document(document, Path(stage) / f"{place}{SUFFIX}", ref)
            n_images += document.n_frames
            n_objects += _n_objects(document)
        out = target_of(folder, form, origins)
        # What came from a dataset is written as it came; its images are named there.
        is_copied = form == "ytvis" and params.copy_images and not any(origins)
        if is_copied and out.exists():
            raise OutputError(f"{out} is there already. Choose another folder.")
        made = Path(stage) / "made" / out.name if is_copied else out
        done = convert(
            Path(stage),
            made,
            form,
            overwrite=out.exists() and origins[0] == str(out),
            on_item=lambda k, n, name: on_progress(len(items) + k, len(items) + n, name),
        )
        if is_copied:
            for stem, item in zip(stems, items, strict=True):
                frames.put(stem, item.pixels(), partial(_tell_frame, on_progress, item.name))
            frames.save(made, out)
    _mark(items)
    return ExportDone(out, n_images, n_objects, done.notes)


def _tell_frame(
    on_progress: Callable[[int, int, str], None], name: str, frame: int, n_frames: int
) -> None:
    on_progress(frame, n_frames, f"images of {name}")


def _place(item: int, n_items: int, frame: int, n_frames: int) -> tuple[int, int]:
    """Return how far it is: in images, or of one stack in frames."""
    return (frame, n_frames) if n_items == 1 else (item, n_items)


def _mark(items: Sequence[ExportItem]) -> None:
    for item in items:
        document = item.read()
        document.apply(exported(document))
        item.kept(document)


def _n_objects(document: Document) -> int:
    return sum(s.status is not Status.REJECTED and s.area > 0 for _, s in document.iter_segments())
