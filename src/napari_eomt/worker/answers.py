"""Answering questions about kept proposals, inside the worker process, in a thread of its own."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_eomt.errors import EomtError
from napari_eomt.inference.candidates import (
    candidate_mask,
    candidate_probability,
    candidates_at,
    candidates_in,
)
from napari_eomt.inference.hidden import hidden, outlines
from napari_eomt.inference.split import best_split
from napari_eomt.worker.messages import (
    CandidatesFound,
    Event,
    Failed,
    MaskFound,
    NoneKept,
    SplitFound,
)
from napari_eomt.worker.protocol import Answer, Ask, Question

if TYPE_CHECKING:
    from napari_eomt.inference.proposals import Proposals
    from napari_eomt.structures.candidates import Candidate
    from napari_eomt.worker.kept import Kept
    from napari_eomt.worker.process import Channel

_SWITCH_S = 0.001
"""After which the thread of the jobs leaves Python's lock to the one that answers, at the latest;
Python's own 5 ms would be most of the time of an answer."""


class Answers:
    """The thread that answers questions.

    Parameters
    ----------
    channel : Channel
    kept : Kept
        What the questions are about.
    """

    def __init__(self, channel: Channel, kept: Kept[Proposals]) -> None:
        self.pause = threading.Lock()
        """Held while proposals are looked at; whoever holds it has them alone."""
        self._channel, self._kept = channel, kept

    def start(self) -> None:
        """Answer from now on."""
        sys.setswitchinterval(_SWITCH_S)
        threading.Thread(target=self._run, name="answer", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                question = self._channel.next_question()
                with self.pause:
                    event = answer(question, self._kept.find(question.key, question.frame))
                self._channel.send(Answer(question.job, event))
        except BaseException:  # noqa: BLE001 - without this thread the window waits for ever
            traceback.print_exc()
            os._exit(1)


def answer(ask: Ask, kept: tuple[Proposals, int] | None) -> Event:
    """Return the event that answers a question, whatever comes of it.

    Parameters
    ----------
    ask : Ask
    kept : (Proposals, int) or None
        Of its key and frame, if they are kept, and which run of the model they are of.
    """
    if kept is None or ask.run not in (0, kept[1]):
        return NoneKept(ask.job, ask.key, ask.frame)
    try:
        return _answer(ask, *kept)
    except EomtError as error:
        return Failed(ask.job, str(error), traceback.format_exc())
    except Exception as error:  # noqa: BLE001 - a question may fail, the process goes on
        message = f"Unexpected {type(error).__name__}: {error}".splitlines()[0]
        return Failed(ask.job, message, traceback.format_exc())


def _answer(ask: Ask, proposals: Proposals, run: int) -> Event:
    started, params = time.perf_counter(), ask.params

    def seconds() -> float:
        return time.perf_counter() - started

    if ask.kind in (Question.MASK, Question.PROBABILITY):
        find = candidate_mask if ask.kind is Question.MASK else candidate_probability
        patch = find(proposals, ask.parts, params)
        return MaskFound(ask.job, ask.key, ask.frame, patch, seconds())
    if ask.kind is Question.SPLIT and ask.patch is not None:
        mask, origin = ask.patch.pixels.astype(bool), ask.patch.origin
        split = best_split(proposals, mask, origin, params)
        return SplitFound(ask.job, ask.key, ask.frame, split, seconds())
    if ask.kind is Question.HIDDEN:
        found = hidden(proposals, params, limit=ask.limit)
    elif ask.point is not None:
        found = _outlined(proposals, ask, candidates_at(proposals, *ask.point, params, ask.limit))
    elif ask.area is not None:
        found = _outlined(proposals, ask, candidates_in(proposals, ask.area, params, ask.limit))
    else:
        raise ValueError(f"A question of the kind {ask.kind.value} without what it is about.")
    candidates = tuple(replace(candidate, run=run) for candidate in found)
    return CandidatesFound(ask.job, ask.key, ask.frame, candidates, seconds())


def _outlined(proposals: Proposals, ask: Ask, found: list[Candidate]) -> list[Candidate]:
    """Add outlines: whoever steps through the candidates then need not ask for each."""
    finder = proposals.finder(ask.params)
    return [
        replace(
            candidate,
            outlines=tuple(
                line for part in candidate.parts for line in outlines(finder, finder.look(part))
            ),
        )
        for candidate in found
    ]
