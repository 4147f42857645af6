"""What `napari-eomt track` does with its video, and says about it."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_eomt.atomic import replacing
from napari_eomt.cli.model_run import open_segmenter, quiet_tifffile
from napari_eomt.cli.progress import progress_bar
from napari_eomt.cli.track_results import result_path, write_results
from napari_eomt.errors import DataError, OutputError
from napari_eomt.inference.batch import check_writable, choose_frames, result_stems, write_error
from napari_eomt.inference.progress import Progress
from napari_eomt.inference.video import VideoTracker
from napari_eomt.inference.video_files import VideoFile
from napari_eomt.inference.video_frames import ListedFrames, iter_ahead, iter_frames, open_frames
from napari_eomt.inference.video_spool import FrameSpool

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.track_params import TrackParams
    from napari_eomt.inference.video import VideoFrame
    from napari_eomt.models.card import DTypeName
    from napari_eomt.models.segmenter import Segmenter
    from napari_eomt.structures.frames import Frame

LOOK_AHEAD = 2
"""Frames that are read while the model works."""


@dataclass
class TrackJob:
    """What is done with the video."""

    params: PredictParams
    track: TrackParams
    source: str
    out: Path
    formats: tuple[str, ...]
    frames: str
    axes: str | None
    resume: bool
    overwrite: bool
    save_every: int
    as_json: bool
    quiet: bool

    def run(
        self,
        model: str | None,
        device: str | None,
        dtype: DTypeName | None,
        *,
        input_size: int | None = None,
        compiled: bool = False,
    ) -> None:
        """Track the video; the settings say what is None.

        Raises
        ------
        EomtError
            If it cannot be done.
        """
        quiet_tifffile()
        started = time.monotonic()
        opened: Any = open_frames(self.source, self.axes, out=self.out)
        try:
            check_writable(self.out)
            stem = result_stems([_named(self.source)], self.out)[0]
            if self._is_done(stem):
                return
            segmenter = open_segmenter(
                model,
                device,
                dtype,
                self.params,
                quiet=self.quiet,
                input_size=input_size,
                compiled=compiled,
            )
            self._track(opened, stem, segmenter, started)
        finally:
            if callable(close := getattr(opened, "close", None)):
                close()

    def _is_done(self, stem: str) -> bool:
        """Whether all results are there and to be left; say so."""
        paths = {name: result_path(self.out, stem, name) for name in self.formats}
        if self.overwrite or not all(path.exists() for path in paths.values()):
            folder = paths.get("ctc")
            if folder is not None and folder.exists() and not self.overwrite:
                raise OutputError(
                    f"{folder} is there already. Replace it with --overwrite, or choose another "
                    "folder with --out."
                )
            return False
        there = {name: str(path) for name, path in paths.items()}
        if self.as_json:
            typer.echo(json.dumps({"input": self.source, "results": there, "skipped": True}))
        else:
            self._say(
                f"{self.source}: skipped, {next(iter(there.values()))} is there; --overwrite "
                "replaces it"
            )
        return True

    def _track(self, opened: Any, stem: str, segmenter: Segmenter, started: float) -> None:
        chosen = None if self.frames == "all" else choose_frames(self.frames, opened.n_frames)
        total = len(chosen) if chosen is not None else _n_told(opened)
        part = self.out / f".{stem}.tracking"
        tracker = self._begin(part, segmenter)
        notes = dict.fromkeys(getattr(opened, "notes", ()))
        try:
            with FrameSpool(part / "frames.bin") as spool:
                spool.truncate(tracker.n_frames)
                if tracker.n_frames:
                    self._say(f"{self.source}: goes on from frame {tracker.n_frames}")
                n_full = self._run(opened, chosen, total, tracker, spool, part, notes)
                if not spool.n_frames:
                    raise DataError(f"{self.source}: has no frame.")
                said = list(notes)
                paths, n_tracks = write_results(
                    spool,
                    self.out,
                    stem,
                    self.formats,
                    segmenter.card.categories,
                    file_names=_file_names(opened, chosen),
                    overwrite=self.overwrite,
                    notes=said,
                )
                n_frames = spool.n_frames
        except OSError as error:
            raise write_error(self.out, error) from error
        shutil.rmtree(part, ignore_errors=True)
        seconds = time.monotonic() - started
        self._report(paths, n_frames, n_tracks, n_full, seconds, said)

    def _begin(self, part: Path, segmenter: Segmenter) -> VideoTracker:
        """Return a tracker: a new one, or the one that was stopped."""
        about = {
            "input": str(Path(self.source).resolve()),
            "frames": self.frames,
            "axes": self.axes,
        }
        state, said = part / "state.safetensors", part / "run.json"
        if part.exists() and not self.resume:
            if state.exists() and not self.overwrite:
                raise OutputError(
                    f"{self.source}: a run was stopped here before its end. Go on with --resume, "
                    "or begin again with --overwrite."
                )
            shutil.rmtree(part)
        if state.exists():
            try:
                then = json.loads(said.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{said}: is damaged ({error}). Begin again with --overwrite, without --resume."
                ) from error
            if then != about:
                differ = [key for key in about if then.get(key) != about[key]]
                raise DataError(
                    f"{self.source}: the run that was stopped had another {', '.join(differ)}: "
                    f"{', '.join(str(then.get(key)) for key in differ)}. Give the same, or begin "
                    "again with --overwrite, without --resume."
                )
            return VideoTracker.load(state, segmenter, self.params, self.track)
        part.mkdir(exist_ok=True)
        with replacing(said) as temporary:
            temporary.write_text(json.dumps(about), encoding="utf-8")
        return VideoTracker(segmenter, self.params, self.track)

    def _run(
        self,
        opened: Any,
        chosen: list[int] | None,
        total: int | None,
        tracker: VideoTracker,
        spool: FrameSpool,
        part: Path,
        notes: dict[str, None],
    ) -> int:
        """Track the frames that are left; return how many tiles were full."""
        n_full, saved = 0, tracker.n_frames
        left = None if chosen is None else chosen[saved:]
        numbered = iter_ahead(iter_frames(opened, left, start=saved), LOOK_AHEAD)

        def save() -> None:
            spool.flush()
            tracker.save(part / "state.safetensors")

        name = Path(self.source).name
        with closing(numbered), progress_bar(name, not self.quiet) as show:  # type: ignore[type-var]
            try:
                for i, frame in numbered:
                    found = _frame(tracker, i, frame, self.source, total, show)
                    spool.append(found.segmentation)
                    n_full += found.n_full_tiles
                    notes.update(dict.fromkeys(found.notes))
                    if tracker.n_frames - saved >= self.save_every:
                        save()
                        saved = tracker.n_frames
            except BaseException:
                # Ctrl-C, and errors too: what was done so far need not be done again.
                if spool.n_frames > tracker.n_frames:
                    spool.truncate(tracker.n_frames)
                if spool.n_frames == tracker.n_frames > saved:
                    save()
                raise
        if tracker.n_frames > saved:
            # Whatever becomes of the results, the video need not be tracked again.
            save()
        return n_full

    def _report(
        self,
        paths: dict[str, Path],
        n_frames: int,
        n_tracks: int,
        n_full: int,
        seconds: float,
        notes: list[str],
    ) -> None:
        if n_full:
            notes.append(
                f"{n_full} views use over 80 % of the queries: a smaller object size (larger "
                "zoom) or smaller tiles would find more"
            )
        if self.as_json:
            typer.echo(
                json.dumps(
                    {
                        "input": self.source,
                        "results": {name: str(path) for name, path in paths.items()},
                        "n_frames": n_frames,
                        "n_tracks": n_tracks,
                        "n_full_tiles": n_full,
                        "seconds": seconds,
                        "notes": notes,
                    }
                )
            )
            return
        for note in notes:
            self._say(f"{self.source}: {note}")
        if not self.quiet:
            where = ", ".join(str(path) for path in paths.values())
            typer.echo(
                f"{self.source} → {where}: {n_tracks} tracks in {n_frames} frames, {seconds:.1f} s"
            )

    def _say(self, text: str) -> None:
        """Write a line on stderr, unless quiet."""
        if not self.quiet:
            typer.echo(text, err=True)


def _frame(
    tracker: VideoTracker,
    i: int,
    frame: Frame,
    name: str,
    total: int | None,
    show: Callable[[Progress], None],
) -> VideoFrame:
    steps = tracker.iter_frame(frame)
    with closing(steps):
        try:
            while True:
                show(Progress(tracker.n_frames, total or tracker.n_frames + 1, "frame"))
                next(steps)
        except StopIteration as stop:
            found: VideoFrame = stop.value
            return found
        except DataError as error:
            raise DataError(f"{name}: frame {i}: {error}") from error


def _n_told(opened: Any) -> int | None:
    """Return how many frames there are, if that is known without decoding a film."""
    return opened.n_told if isinstance(opened, VideoFile) else int(opened.n_frames)


def _named(source: str) -> Path:
    """Return a path to name results by: of a pattern, the folder."""
    path = Path(source).expanduser()
    while any(sign in path.name for sign in "*?["):
        path = path.parent
    return path if path.name else path.resolve()


def _file_names(opened: Any, chosen: list[int] | None) -> list[str] | None:
    if not isinstance(opened, ListedFrames):
        return None
    names = opened.file_names
    return names if names is None or chosen is None else [names[i] for i in chosen]
