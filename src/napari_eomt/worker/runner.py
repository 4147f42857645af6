"""Doing the jobs, inside the worker process: models, forward passes, kept proposals.

Questions about kept proposals have a thread of their own, which answers them while a model runs:
a forward pass leaves Python's lock to others most of the time. What a job makes is seen by nobody
else before it is kept, all at once; so an answer is about one run or another, never about both.
"""

from __future__ import annotations

import gc
import os
import time
import traceback
from collections import OrderedDict
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

import torch

from napari_eomt.errors import EomtError
from napari_eomt.inference.forward import Forward
from napari_eomt.inference.predict import KEEP_BYTES, Prediction, iter_predict
from napari_eomt.inference.trunk_cache import open_trunk_cache
from napari_eomt.models.load import load_segmenter
from napari_eomt.worker.answers import Answers
from napari_eomt.worker.kept import Kept, Recent
from napari_eomt.worker.protocol import (
    Begin,
    Cancel,
    End,
    Ended,
    Forget,
    Frame,
    Kind,
    Loading,
    Missing,
    Outcome,
    Release,
    Result,
    Seen,
    Step,
    Using,
)
from napari_eomt.worker.track_job import TrackJob
from napari_eomt.worker.track_states import TrackStates

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from napari_eomt.inference import progress
    from napari_eomt.inference.proposals import Proposals
    from napari_eomt.inference.track_frames import Link
    from napari_eomt.inference.video import VideoFrame
    from napari_eomt.models.hub_watch import Progress
    from napari_eomt.models.segmenter import Segmenter
    from napari_eomt.structures.candidates import QueryId
    from napari_eomt.structures.segments import Segmentation
    from napari_eomt.structures.uncertainty import Uncertainty
    from napari_eomt.worker.arrays import Slots
    from napari_eomt.worker.messages import ModelRef
    from napari_eomt.worker.process import Channel

_T = TypeVar("_T")

HOOK = "NAPARI_EOMT_WORKER_HOOK"
"""For tests: "module:function", which gets each loaded segmenter and returns one."""

_MODELS_KEPT = 2
_MEMORIES_KEPT = 2
"""Frames whose next decision is quick: the one that is looked at, and the one made ready."""
_STEP_S = 0.03


class _CancelledError(Exception):
    """The client no longer wants the job."""


@dataclass(frozen=True)
class _Loaded:
    """A model, and where it was before any lack of memory moved it."""

    segmenter: Segmenter
    device: torch.device
    dtype: torch.dtype

    @property
    def was_moved(self) -> bool:
        return (self.segmenter.device, self.segmenter.dtype) != (self.device, self.dtype)


class Runner:
    """Does one job after the other.

    Parameters
    ----------
    channel : Channel
    slots : Slots
    proposals_bytes : int
        Most that the kept proposals may take.
    n_threads : int
        That torch may use.
    trunk_bytes : int
        Most that the files may take with what the first blocks of models have made; see
        `open_trunk_cache`.
    """

    def __init__(
        self,
        channel: Channel,
        slots: Slots,
        proposals_bytes: int,
        n_threads: int,
        trunk_bytes: int = 0,
    ) -> None:
        torch.set_num_threads(n_threads)
        self.kept: Kept[Proposals] = Kept(proposals_bytes)
        self._channel = channel
        self._slots = slots
        self._models: OrderedDict[ModelRef, _Loaded] = OrderedDict()
        self._remembering: Recent[Proposals] = Recent(_MEMORIES_KEPT)
        self._states = TrackStates()
        self._trunks = open_trunk_cache(trunk_bytes)
        self._is_release_due = False
        self._answers = Answers(channel, self.kept)
        # The libraries' 380,000 objects live as long as the process: no later collection needs
        # to look at them, for 0.5 s each time.
        gc.collect()
        gc.freeze()
        self._answers.start()

    def run(self, begin: Begin) -> None:
        """Do a job, whatever comes of it, and tell the client."""
        started = time.perf_counter()
        outcome, message, details = Outcome.FINISHED, "", ""
        try:
            self._work(begin)
        except _CancelledError:
            outcome = Outcome.CANCELLED
        except EomtError as error:
            if self._channel.is_cancelled(begin.job):  # a download says so by an error of its own
                outcome = Outcome.CANCELLED
            else:
                outcome, message, details = Outcome.FAILED, str(error), traceback.format_exc()
        except (MemoryError, torch.OutOfMemoryError) as error:
            outcome, details = Outcome.FAILED, traceback.format_exc()
            message = (
                f"Memory ran out ({_first_line(error)}). Close other programs, choose a smaller "
                "model, or the device 'cpu'."
            )
        except Exception as error:  # noqa: BLE001 - a job may fail, the process goes on
            outcome, details = Outcome.FAILED, traceback.format_exc()
            message = f"Unexpected {type(error).__name__}: {_first_line(error)}"
        if outcome is Outcome.FAILED:
            self._release()
        # A model that lack of memory has moved would stay slow for ever without a word.
        for ref in [ref for ref, loaded in self._models.items() if loaded.was_moved]:
            del self._models[ref]
            self._release()
        if self._is_release_due:
            self.release_models()
        seconds = time.perf_counter() - started
        self._channel.send(Ended(begin.job, outcome, seconds, message, details))

    def release_models(self) -> None:
        """Let go of all models, and give their memory back.

        Proposals lie where their model ran: those on the CPU stay. What the models' first blocks
        have made stays in files.
        """
        self._is_release_due = False
        if any(loaded.segmenter.device.type != "cpu" for loaded in self._models.values()):
            self.kept.clear()
        self._models.clear()
        if self._trunks is not None:
            self._trunks.release_memory()
        self._release()

    def forget(self, key: str) -> None:
        """Drop what is kept under a key."""
        self.kept.forget(key)
        self._states.forget(key)

    def _work(self, begin: Begin) -> None:
        segmenter = None if begin.model is None else self._segmenter(begin.job, begin.model)
        object_size: float | None = None
        if self._trunks is not None:
            self._trunks.begin_job()
        if begin.kind is Kind.TRACK and segmenter is not None:
            self._track(begin, segmenter)
            return
        for frame in self._frames(begin.job):
            started = time.perf_counter()
            if begin.kind is Kind.SEGMENT and segmenter is not None:
                # Measured in the job's first frame: all are seen at one zoom, in half the time.
                object_size = self._segment(begin, frame, segmenter, started, object_size)
            elif begin.kind is Kind.DECIDE:
                self._decide(begin, frame, started)

    def _frames(self, job: int) -> Iterator[Frame]:
        """Yield the job's frames as they come."""
        while True:
            self._stop_if_cancelled(job)
            message = self._channel.inbox.get()
            if isinstance(message, Forget):
                self.forget(message.key)
            elif isinstance(message, Release):
                self._is_release_due = True  # the job's own model is in use
            elif isinstance(message, Frame) and message.job == job:
                self._stop_if_cancelled(job)
                yield message
            elif isinstance(message, End) and message.job == job:
                return
            elif isinstance(message, Cancel) and message.job == job:
                raise _CancelledError

    def _segment(
        self,
        begin: Begin,
        frame: Frame,
        segmenter: Segmenter,
        started: float,
        object_size: float | None,
    ) -> float | None:
        if frame.stored is None or begin.params is None:
            raise ValueError("A frame to segment comes with its pixels and parameters.")
        steps = iter_predict(
            self._slots.read(frame.stored),
            segmenter,
            begin.params,
            keep_bytes=min(KEEP_BYTES, self.kept.max_bytes),
            object_size=object_size,
            trunks=self._trunks,
        )
        prediction: Prediction = self._finish(frame, steps)
        if prediction.proposals is not None:
            self._remember(prediction.proposals)
        self.kept.put(begin.key, frame.frame, prediction.proposals)
        self._answer(
            frame,
            prediction.segmentation,
            prediction.n_tiles,
            prediction.n_full_tiles,
            prediction.object_size,
            started,
            prediction.notes,
            prediction.queries,
            prediction.uncertainty,
        )
        return prediction.object_size

    def _track(self, begin: Begin, segmenter: Segmenter) -> None:
        if begin.params is None or begin.tracking is None:
            raise ValueError("Frames to track come with parameters.")
        job = TrackJob(segmenter, begin.params, begin.tracking, begin.key, self._states)
        keep_bytes = min(KEEP_BYTES, self.kept.max_bytes)
        try:
            for frame in self._frames(begin.job):
                started = time.perf_counter()
                if frame.stored is None:
                    raise ValueError("A frame to track comes with its pixels.")
                pixels = self._slots.read(frame.stored)
                steps = job.iter_frame(frame.frame, pixels, frame.given, keep_bytes=keep_bytes)
                found: VideoFrame | None = self._finish(frame, steps)
                if found is None:
                    self._channel.send(Seen(begin.job, frame.frame, frame.slot))
                    continue
                self.kept.put(begin.key, frame.frame, found.proposals)
                self._answer(
                    frame,
                    found.segmentation,
                    found.n_tiles,
                    found.n_full_tiles,
                    found.object_size,
                    started,
                    found.notes,
                    (),
                    found.uncertainty,
                    found.links,
                )
        finally:
            job.close()

    def _finish(self, frame: Frame, steps: Generator[progress.Progress, None, _T]) -> _T:
        """Work on a frame to its end, or until the client no longer wants it."""
        last = 0.0
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                result: _T = stop.value
                return result
            if self._channel.is_cancelled(frame.job):
                steps.close()
                raise _CancelledError
            now = time.perf_counter()
            # More often than this nobody sees; small tiles take a few milliseconds.
            if now - last > _STEP_S:
                last = now
                self._channel.send(Step(frame.job, frame.frame, step.done, step.total, step.what))

    def _decide(self, begin: Begin, frame: Frame, started: float) -> None:
        proposals = self.kept.get(begin.key, frame.frame)
        if proposals is None or begin.params is None or not proposals.fits(begin.params):
            self._channel.send(Missing(frame.job, frame.frame, frame.slot))
            return
        # What proposals remember of themselves is not made for two threads at once.
        with self._answers.pause:
            decision = proposals.decide(begin.params)
        self._remember(proposals)
        self._answer(
            frame,
            decision.segmentation,
            len(proposals.plan.tiles),
            decision.n_full_tiles,
            proposals.object_size,
            started,
            (),
            decision.queries,
            decision.uncertainty,
        )

    def _remember(self, proposals: Proposals) -> None:
        """Let these proposals remember their last decision, in place of those of long ago."""
        for other in self._remembering.use(proposals):
            with self._answers.pause:
                other.memory.clear()

    def _answer(
        self,
        frame: Frame,
        segmentation: Segmentation,
        n_tiles: int,
        n_full_tiles: int,
        object_size: float | None,
        started: float,
        notes: tuple[str, ...],
        queries: tuple[QueryId, ...],
        uncertainty: tuple[Uncertainty | None, ...],
        links: tuple[Link, ...] = (),
    ) -> None:
        id_map = self._slots.write(frame.slot, segmentation.id_map)
        seconds = time.perf_counter() - started
        self._channel.send(
            Result(
                frame.job,
                frame.frame,
                id_map,
                segmentation.segments,
                n_tiles,
                n_full_tiles,
                object_size,
                seconds,
                notes,
                queries,
                uncertainty,
                links,
            )
        )

    def _segmenter(self, job: int, ref: ModelRef) -> Segmenter:
        """Return a model, loaded at most once, at the input size that is asked for."""
        key = replace(ref, input_size=None)
        if key in self._models:
            self._models.move_to_end(key)
        else:
            self._channel.send(Loading(job, ref.model))
            # Before the new one comes: both may not fit.
            while len(self._models) >= _MODELS_KEPT:
                self._models.popitem(last=False)
                self._release()
            segmenter = _hooked(self._load(job, ref))
            self._models[key] = _Loaded(segmenter, segmenter.device, segmenter.dtype)
            self._stop_if_cancelled(job)
        segmenter = self._models[key].segmenter
        segmenter.set_input_size(ref.input_size)
        if ref.compiled:
            self._channel.send(Loading(job, ref.model, what="compiling"))
            for n_views in {1, min(2, Forward(segmenter).batch_size)}:
                segmenter.warm_up(n_views)
                self._stop_if_cancelled(job)
        self._channel.send(Using(job, segmenter.card.name, str(segmenter.device)))
        return segmenter

    def _load(self, job: int, ref: ModelRef) -> Segmenter:
        def on_progress(step: Progress) -> None:
            self._channel.send(Loading(job, ref.model, step.done, step.total, step.what))

        return load_segmenter(
            ref.model,
            ref.device,
            ref.dtype,  # type: ignore[arg-type]
            compiled=ref.compiled,
            on_progress=on_progress,
            is_cancelled=lambda: self._channel.is_cancelled(job),
        )

    def _stop_if_cancelled(self, job: int) -> None:
        if self._channel.is_cancelled(job):
            raise _CancelledError

    @staticmethod
    def _release() -> None:
        """Give unused memory back: to the GPU's other users, and to the next try."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _hooked(segmenter: Segmenter) -> Segmenter:
    hook = os.environ.get(HOOK)
    if not hook:
        return segmenter
    module, _, function = hook.partition(":")
    hooked: Segmenter = getattr(import_module(module), function)(segmenter)
    return hooked
