"""What `napari-eomt predict` does with its images, and says about them."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_eomt.cli.model_run import open_segmenter, quiet_tifffile
from napari_eomt.cli.options import say_error
from napari_eomt.cli.progress import progress_bar
from napari_eomt.errors import DataError, ModelError
from napari_eomt.inference.batch import (
    check_writable,
    choose_frames,
    iter_segment_file,
    result_paths,
    result_stems,
)
from napari_eomt.inference.inputs import find_images
from napari_eomt.inference.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_eomt.errors import EomtError
    from napari_eomt.inference.batch import ImageResult
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.progress import Progress
    from napari_eomt.inference.sources import FileSource
    from napari_eomt.models.card import DTypeName
    from napari_eomt.models.segmenter import Segmenter


@dataclass
class PredictJob:
    """What is done with each image, and what came of it."""

    params: PredictParams
    out: Path
    frames: str
    axes: str | None
    overwrite: bool
    as_json: bool
    quiet: bool
    debug: bool
    n_done: int = 0
    n_skipped: int = 0
    n_failed: int = 0

    def run(
        self,
        inputs: list[str],
        recursive: bool,
        model: str | None,
        device: str | None,
        dtype: DTypeName | None,
        *,
        input_size: int | None = None,
        compiled: bool = False,
    ) -> None:
        """Segment what the inputs name; the settings say what is None.

        Raises
        ------
        EomtError
            If nothing more can be done: no such model or task, results cannot be written.
        """
        quiet_tifffile()
        images, errors = find_images(inputs, recursive=recursive, out=self.out)
        for error in errors:
            self._fail(error)
        if not images:
            return
        check_writable(self.out)
        todo = self._left(images)
        if todo:
            segmenter = open_segmenter(
                model,
                device,
                dtype,
                self.params,
                quiet=self.quiet,
                input_size=input_size,
                compiled=compiled,
            )
        try:
            for image, stem in todo:
                self._segment(image, stem, segmenter)
        finally:
            self._sum_up(len(images) + len(errors))

    def _left(self, images: list[Path]) -> list[tuple[Path, str]]:
        """Return the images to do, with the names of their results; say which are skipped."""
        todo = []
        for image, stem in zip(images, result_stems(images, self.out), strict=True):
            labels, table = result_paths(self.out, stem)
            if self.overwrite or not (labels.exists() and table.exists()):
                todo.append((image, stem))
                continue
            self.n_skipped += 1
            if self.as_json:
                _print_json({"image": str(image), "labels": str(labels), "skipped": True})
            else:
                self._say(f"{image}: skipped, {labels} is there; --overwrite replaces it")
        return todo

    def _segment(self, image: Path, stem: str, segmenter: Segmenter) -> None:
        """Segment an image; a bad one is said and counted."""
        try:
            with open_source(image, self.axes) as source:
                chosen = self._choose_frames(source)
                steps = iter_segment_file(source, self.out, stem, segmenter, self.params, chosen)
                # Closed here, Ctrl-C between two steps leaves no half file either.
                with closing(steps), progress_bar(source.name, not self.quiet) as show:
                    result = _drive(steps, show)
        except (DataError, ModelError) as error:
            if self.debug:
                raise
            self._fail(error, image)
        else:
            self.n_done += 1
            self._report(result)

    def _fail(self, error: EomtError, image: Path | None = None) -> None:
        """Say and count what could not be done."""
        self.n_failed += 1
        say_error(error)
        if self.as_json and image is not None:
            _print_json({"image": str(image), "error": str(error)})

    def _say(self, text: str) -> None:
        """Write a line on stderr, unless quiet."""
        if not self.quiet:
            typer.echo(text, err=True)

    def _sum_up(self, n_images: int) -> None:
        """Say how many images are done, where it was not simply the only one."""
        if n_images > 1 or self.n_failed:
            skipped = f", {self.n_skipped} skipped" if self.n_skipped else ""
            failed = f", {self.n_failed} failed" if self.n_failed else ""
            self._say(f"{self.n_done} of {n_images} images segmented{skipped}{failed}")

    def _choose_frames(self, source: FileSource) -> list[int] | None:
        try:
            return choose_frames(self.frames, source.n_frames)
        except DataError as error:
            raise DataError(f"{source.path}: {error}") from error

    def _report(self, result: ImageResult) -> None:
        if self.as_json:
            _print_json(
                {
                    key: str(value) if isinstance(value, Path) else value
                    for key, value in asdict(result).items()
                }
            )
            return
        notes = list(result.notes)
        if result.n_full_tiles:
            notes.append(
                f"{result.n_full_tiles} of {result.n_tiles} tiles use over 80 % of the queries: "
                "a smaller object size (larger zoom) or smaller tiles would find more"
            )
        for note in notes:
            self._say(f"{result.image}: {note}")
        if not self.quiet:
            stack = f" in {result.n_frames} frames" if result.n_frames > 1 else ""
            typer.echo(
                f"{result.image} → {result.labels}: {result.n_segments} segments{stack}, "
                f"{result.seconds:.1f} s"
            )


def _drive(
    steps: Generator[Progress, None, ImageResult], show: Callable[[Progress], None]
) -> ImageResult:
    while True:
        try:
            show(next(steps))
        except StopIteration as stop:
            result: ImageResult = stop.value
            return result


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content))
