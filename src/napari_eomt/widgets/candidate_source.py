"""What candidates are asked of: the worker, or whatever answers in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.annotation.canvas import Mask
    from napari_eomt.structures.candidates import Candidate


class CandidateSource(QObject):
    """Takes questions about the kept proposals of a frame, and answers each of them later.

    Every question gets a number, and one `answered`, `missing` or `dropped` of that number. The
    key is that of the result. Points are (y, x), in pixels of the frame.
    """

    answered = Signal(int, object)
    """A tuple of Candidate, best first; a Patch; a Split; or None where there is nothing."""
    missing = Signal(int)
    """The frame's proposals are not kept any more."""
    dropped = Signal(int)
    """There will be no answer: a later question took its place."""

    def at(self, key: str, frame: int, point: tuple[float, float]) -> int:
        """Ask for the candidates that cover a point, with outlines."""
        raise NotImplementedError

    def inside(self, key: str, frame: int, polygon: list[tuple[float, float]]) -> int:
        """Ask for the candidates that fit a polygon."""
        raise NotImplementedError

    def hidden(self, key: str, frame: int) -> int:
        """Ask for what scores less than the threshold, with outlines."""
        raise NotImplementedError

    def mask(self, key: str, frame: int, candidate: Candidate) -> int:
        """Ask for the mask of a candidate."""
        raise NotImplementedError

    def split(self, key: str, frame: int, mask: Mask, origin: tuple[int, int]) -> int:
        """Ask for the queries that see several objects in a mask."""
        raise NotImplementedError


class Questions(QObject):
    """Asks a source one question of a kind at a time; of those that wait only the newest is asked.

    So a mouse that moves faster than the answers come never builds up a queue.

    Parameters
    ----------
    source : CandidateSource
    """

    missing = Signal()

    def __init__(self, source: CandidateSource, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._running: dict[str, tuple[int, Callable[[Any], object]]] = {}
        self._waiting: dict[str, tuple[Callable[[], int], Callable[[Any], object]]] = {}
        source.answered.connect(self._on_answered)
        source.missing.connect(self._on_missing)
        source.dropped.connect(self._ended)

    def ask(self, kind: str, question: Callable[[], int], then: Callable[[Any], object]) -> None:
        """Ask a question, now or when the one of this kind is answered.

        Parameters
        ----------
        kind : str
        question : callable
            Asks the source, and returns the number.
        then : callable
            Given the answer.
        """
        if kind in self._running:
            self._waiting[kind] = question, then
        else:
            self._running[kind] = question(), then

    def forget(self) -> None:
        """Let no answer come that was asked for before."""
        self._running.clear()
        self._waiting.clear()

    def _on_answered(self, number: int, answer: object) -> None:
        then = self._ended(number)
        if then is not None:
            then(answer)

    def _on_missing(self, number: int) -> None:
        if self._ended(number) is not None:
            self.missing.emit()

    def _ended(self, number: int) -> Callable[[Any], object] | None:
        for kind, (asked, then) in self._running.items():
            if asked == number:
                del self._running[kind]
                if kind in self._waiting:
                    question, next_then = self._waiting.pop(kind)
                    self._running[kind] = question(), next_then
                return then
        return None
