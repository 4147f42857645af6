"""Segmenting image files one after another."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_eomt.atomic import replacing_all
from napari_eomt.errors import DataError, OutputError
from napari_eomt.inference.predict import iter_predict
from napari_eomt.inference.progress import Progress
from napari_eomt.inference.results import ResultWriter

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.sources import FileSource
    from napari_eomt.models.segmenter import Segmenter


@dataclass(frozen=True)
class ImageResult:
    """What became of an image file.

    Parameters
    ----------
    image, labels, table : Path
        The file that was read, and those that were written.
    n_frames, n_segments : int
    n_tiles, n_full_tiles : int
        Views that the model saw, and those of them that use nearly all of its queries.
    object_size : float or None
        Side of a typical object that set the zoom, in pixels of the image; of a stack the
        frames' median.
    seconds : float
    notes : tuple of str
        What the user should know.
    """

    image: Path
    labels: Path
    table: Path
    n_frames: int
    n_segments: int
    n_tiles: int
    n_full_tiles: int
    object_size: float | None
    seconds: float
    notes: tuple[str, ...]


def iter_segment_file(
    source: FileSource,
    out: Path,
    stem: str,
    segmenter: Segmenter,
    params: PredictParams,
    frames: Sequence[int] | None = None,
) -> Generator[Progress, None, ImageResult]:
    """Segment an image file, and write ``stem.tif`` and ``stem.csv``, whole or not at all.

    One frame is in memory at a time. Each step is progress and a place to stop; then nothing is
    left behind.

    Parameters
    ----------
    source : FileSource
    out : Path
        Folder to write to.
    stem : str
        Name of the results, without a suffix.
    segmenter : Segmenter
    params : PredictParams
    frames : sequence of int, optional
        Which frames; by default all, with the stack's axes. A single one is written as a plain
        image, several as a stack with one axis.

    Raises
    ------
    DataError
        If the image cannot be read or used.
    OutputError
        If the results cannot be written.
    """
    started = time.monotonic()
    stack_shape, stack_names = source.stack_shape, source.stack_names
    if frames is not None:
        stack_shape = (len(frames),) if len(frames) > 1 else ()
        stack_names = stack_names if len(stack_names) == len(stack_shape) else ()
    chosen = range(source.n_frames) if frames is None else frames
    labels, table = result_paths(out, stem)
    n_segments = n_tiles = n_full_tiles = 0
    object_size: float | None = None
    notes = dict.fromkeys(source.notes)
    with (
        _clear(source, out),
        replacing_all((table, labels)) as (table_part, labels_part),
        ResultWriter(
            labels_part,
            table_part,
            source.roles.frame_shape(source.shape),
            stack_shape,
            stack_names,
            segmenter.card.categories,
        ) as writer,
    ):
        for done, index in enumerate(chosen):
            steps = iter_predict(
                source.frame(index),
                segmenter,
                params,
                keep_bytes=0,
                # Measured in the first frame: all of a stack are seen at one zoom.
                object_size=object_size,
            )
            while True:
                try:
                    progress = next(steps)
                except StopIteration as stop:
                    prediction = stop.value
                    break
                yield progress if len(chosen) == 1 else Progress(done, len(chosen), "frame")
            # One numbering for the whole stack, as in the viewer.
            writer.add(index, prediction.segmentation.shifted(n_segments))
            n_segments += len(prediction.segmentation.segments)
            n_tiles += prediction.n_tiles
            n_full_tiles += prediction.n_full_tiles
            notes.update(dict.fromkeys(prediction.notes))
            object_size = prediction.object_size
    return ImageResult(
        image=source.path,
        labels=labels,
        table=table,
        n_frames=len(chosen),
        n_segments=n_segments,
        n_tiles=n_tiles,
        n_full_tiles=n_full_tiles,
        object_size=object_size,
        seconds=time.monotonic() - started,
        notes=tuple(notes),
    )


@contextmanager
def _clear(source: FileSource, out: Path) -> Iterator[None]:
    """Say in an error which image it is about, and that it was the writing that failed."""
    try:
        yield
    except DataError as error:
        if str(error).startswith(str(source.path)):
            raise
        raise DataError(f"{source.path}: {error}") from error
    except OSError as error:
        raise write_error(out, error) from error


def write_error(out: Path, error: OSError) -> OutputError:
    """Return what to tell the user when writing to a folder failed."""
    return OutputError(
        f"{out}: results cannot be written there ({error.strerror or error}). Free space, or "
        "choose another folder with --out."
    )


def check_writable(out: Path) -> None:
    """Make the folder of the results, and try it before hours of work are spent.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial = out / ".writing-trial"
        trial.write_bytes(b"0")
        trial.unlink()
    except OSError as error:
        raise write_error(out, error) from error


def result_paths(out: Path, stem: str) -> tuple[Path, Path]:
    """Return where the label image and the table of segments lie."""
    return out / f"{stem}.tif", out / f"{stem}.csv"


def result_stems(images: Sequence[Path], out: Path) -> list[str]:
    """Return a name for each image's results: its own, less the suffix, made unique.

    Images of the same name get their suffix or their folder added (``a_png``, ``plate1_a``),
    else a number; where a result would take the place of an input, ``_labels`` is added.
    """
    stems = [_stem(path) for path in images]
    for longer in (
        [f"{_stem(path)}_{path.suffix[1:]}" for path in images],
        [f"{path.resolve().parent.name}_{_stem(path)}" for path in images],
    ):
        # Two names that differ in case are one file on Windows and macOS.
        counts = Counter(stem.casefold() for stem in stems)
        stems = [
            new if counts[old.casefold()] > 1 else old
            for old, new in zip(stems, longer, strict=True)
        ]
    inputs = {str(path.resolve()).casefold() for path in images}
    taken: set[str] = set()
    for k, stem in enumerate(stems):
        unique, n = stem, 1
        while unique.casefold() in taken or any(
            str(path.resolve()).casefold() in inputs for path in result_paths(out, unique)
        ):
            n += 1
            unique = f"{stem}_labels" if n == 2 and stem.casefold() not in taken else f"{stem}-{n}"
        taken.add(unique.casefold())
        stems[k] = unique
    return stems


def _stem(path: Path) -> str:
    stem = path.stem
    return stem[:-4] if stem.lower().endswith(".ome") and len(stem) > 4 else stem


def choose_frames(text: str, n_frames: int) -> list[int] | None:
    """Return which frames of `n_frames` a text means; None for "all".

    Parameters
    ----------
    text : str
        "all", a number from 0 such as "3", or a slice such as "0:10" or "::5", as in Python.
    n_frames : int

    Raises
    ------
    DataError
        If it means none of them, or nothing.
    """
    if text == "all":
        return None
    parts = text.split(":")
    try:
        numbers = [int(part) if part.strip() else None for part in parts]
        if len(parts) == 1 and numbers[0] is not None:
            chosen = [numbers[0]] if 0 <= numbers[0] < n_frames else []
        elif len(parts) in (2, 3):
            chosen = list(range(n_frames)[slice(*numbers)])
        else:
            raise ValueError(text)
    except ValueError as error:
        raise DataError(
            f"{text!r} does not name frames; 'all', a number such as 3, or a slice such as 0:10 "
            "was expected."
        ) from error
    if not chosen:
        raise DataError(f"frames {text} were asked for, but it has {n_frames}, counted from 0.")
    return chosen
