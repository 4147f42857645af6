"""Asks the worker for candidates, and hands its answers on by the number of the question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.structures.candidates import Patch
from napari_eomt.widgets.candidate_source import CandidateSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QObject

    from napari_eomt.annotation.canvas import Mask
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.structures.candidates import Candidate
    from napari_eomt.widgets.jobs import Jobs
    from napari_eomt.worker.messages import (
        Cancelled,
        CandidatesFound,
        Failed,
        MaskFound,
        NoneKept,
        SplitFound,
    )


class WorkerCandidates(CandidateSource):
    """A source that is the worker.

    Parameters
    ----------
    jobs : Jobs
    params : callable
        Gives those that decided what is shown: task, mask threshold, and for hidden proposals the
        score threshold.
    """

    def __init__(
        self, jobs: Jobs, params: Callable[[], PredictParams], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._client, self._params = jobs.client, params
        self._asked: set[int] = set()
        jobs.candidates_found.connect(self._on_candidates)
        jobs.mask_found.connect(self._on_mask)
        jobs.split_found.connect(self._on_split)
        jobs.none_kept.connect(self._on_none_kept)
        jobs.cancelled.connect(self._on_dropped)
        jobs.failed.connect(self._on_dropped)

    def at(self, key: str, frame: int, point: tuple[float, float]) -> int:
        """Ask for the candidates that cover a point."""
        return self._note(self._client.candidates(key, frame, self._params(), point=point))

    def inside(self, key: str, frame: int, polygon: list[tuple[float, float]]) -> int:
        """Ask for the candidates that fit a polygon."""
        return self._note(self._client.candidates(key, frame, self._params(), area=polygon))

    def hidden(self, key: str, frame: int) -> int:
        """Ask for what scores less than the threshold."""
        return self._note(self._client.hidden(key, frame, self._params()))

    def mask(self, key: str, frame: int, candidate: Candidate) -> int:
        """Ask for the mask of a candidate."""
        return self._note(
            self._client.mask(key, frame, candidate.parts, self._params(), run=candidate.run)
        )

    def split(self, key: str, frame: int, mask: Mask, origin: tuple[int, int]) -> int:
        """Ask for the queries that see several objects in a mask."""
        return self._note(self._client.split(key, frame, Patch(origin, mask), self._params()))

    def _note(self, number: int) -> int:
        self._asked.add(number)
        return number

    def _on_candidates(self, event: CandidatesFound) -> None:
        self._answer(event.job, event.candidates)

    def _on_mask(self, event: MaskFound) -> None:
        self._answer(event.job, event.patch)

    def _on_split(self, event: SplitFound) -> None:
        self._answer(event.job, event.split)

    def _on_none_kept(self, event: NoneKept) -> None:
        if event.job in self._asked:
            self._asked.discard(event.job)
            self.missing.emit(event.job)

    def _on_dropped(self, event: Cancelled | Failed) -> None:
        if event.job in self._asked:
            self._asked.discard(event.job)
            self.dropped.emit(event.job)

    def _answer(self, number: int, answer: object) -> None:
        if number in self._asked:
            self._asked.discard(number)
            self.answered.emit(number, answer)
