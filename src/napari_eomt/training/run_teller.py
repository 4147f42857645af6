"""What a run says while it learns: to its log, to trackers, and to whoever drives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_eomt.training.result import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_eomt.training.run_log import RunLog
    from napari_eomt.training.train_progress import Tracker


class RunTeller:
    """Tells what happens.

    Parameters
    ----------
    log : RunLog
    trackers : sequence of Tracker
    is_first : bool
        Whether this is the first process, which alone writes to the log.
    """

    def __init__(self, log: RunLog, trackers: Sequence[Tracker], *, is_first: bool) -> None:
        self._log, self._trackers, self._is_first = log, list(trackers), is_first
        self._notes: list[str] = []

    def tell(self, kind: str, step: int, **values: Any) -> None:
        """Write a row to the log.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        if self._is_first:
            self._log.write(kind, step, **values)

    def track(self, step: int, values: dict[str, Any]) -> None:
        """Give numbers to the trackers; one that fails is left out from then on."""
        for tracker in list(self._trackers):
            try:
                tracker.log(values, step=step)
            except Exception as error:  # noqa: BLE001 - of another program, which no run needs
                self._trackers.remove(tracker)
                self._notes.append(
                    f"{type(tracker).__name__} is told no more of the run: {reason_of(error)}."
                )

    def note(self, texts: Iterable[str]) -> None:
        """Keep what the user should know until it is asked for."""
        self._notes += texts

    def take_notes(self, step: int, *others: list[str]) -> tuple[str, ...]:
        """Return what the user should know since the last time, and write it to the log.

        Parameters
        ----------
        step : int
        *others : list of str
            Notes of others, which are taken out there.
        """
        sources = (self._notes, *others)
        notes = tuple(note for source in sources for note in source)
        for source in sources:
            source.clear()
        for note in notes:
            self.tell("note", step, text=note)
        return notes
