"""A document's segments as columns: filtered and sorted by the ten thousands in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_eomt.annotation.review_order import uncertainty_shown
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.segments import Segment
    from napari_eomt.structures.uncertainty import Uncertainty

Column: TypeAlias = Literal[
    "id", "category", "score", "uncertainty", "status", "area", "frame", "note"
]
Indices: TypeAlias = npt.NDArray[np.intp]

STATUSES = tuple(Status)
_CODES = {status: code for code, status in enumerate(STATUSES)}
_REJECTED, _PROPOSED = _CODES[Status.REJECTED], _CODES[Status.PROPOSED]

_ARRAYS = (
    "ids",
    "frames",
    "categories",
    "scores",
    "uncertainties",
    "statuses",
    "areas",
    "is_there",
    "is_locked",
)


@dataclass(frozen=True)
class RowFilter:
    """Which segments are shown.

    Parameters
    ----------
    text : str
        Words that must all be in the id, the category's name or the note.
    category_id : int or None
    status : Status or None
        None: all but what is rejected.
    frame : int or None
    min_score, max_score : float or None
        Segments without a score pass neither.
    min_area, max_area : int or None
        In pixels.
    """

    text: str = ""
    category_id: int | None = None
    status: Status | None = None
    frame: int | None = None
    min_score: float | None = None
    max_score: float | None = None
    min_area: int | None = None
    max_area: int | None = None


class SegmentRows:
    """Every segment of a document is a row, which is the same one as long as the document lives.

    Rows of segments that are gone stay, and are taken up again when an undo brings them back: an
    edit changes the rows that it names, and no others.

    Parameters
    ----------
    document : Document
    doubts : mapping of (frame, id) to Uncertainty, optional
        What a model said of its proposals; of others their score counts.
    """

    def __init__(self, document: Document, doubts: Mapping[Key, Uncertainty] | None = None) -> None:
        self.document = document
        self._doubts: Mapping[Key, Uncertainty] = doubts or {}
        self._rows: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._segments: list[Segment] = []
        self._notes: dict[int, str] = {}
        self._ids = np.zeros(0, np.int64)
        self._frames = np.zeros(0, np.int32)
        self._categories = np.zeros(0, np.int64)
        self._scores = np.zeros(0, np.float64)
        self._uncertainties = np.zeros(0, np.float64)
        self._statuses = np.zeros(0, np.int8)
        self._areas = np.zeros(0, np.int64)
        self._is_there = np.zeros(0, np.bool_)
        self._is_locked = np.zeros(0, np.bool_)
        segments = list(document.iter_segments())
        self._grow(len(segments))
        for frame, segment in segments:
            self._set((frame, segment.id), segment)

    def update(self, edit: Edit) -> Indices:
        """Take up an edit; return the rows that it has changed."""
        rows = []
        for change in edit.segments:
            key = (change.frame, change.id)
            if change.after is not None:
                rows.append(self._set(key, change.after))
            elif key in self._rows:
                rows.append(self._rows[key])
                self._is_there[rows[-1]] = False
        return np.unique(np.array(rows, np.intp))

    def set_doubts(self, doubts: Mapping[Key, Uncertainty]) -> Indices:
        """Take what a model says of its proposals; return the rows that it changes."""
        before = self._uncertainties[: len(self._keys)].copy()
        self._doubts = doubts
        for row, key in enumerate(self._keys):
            self._uncertainties[row] = self._unsure(key, self._segments[row])
        after = self._uncertainties[: len(self._keys)]
        is_other = (before != after) & ~(np.isnan(before) & np.isnan(after))
        changed: Indices = np.flatnonzero(is_other)
        return changed

    @property
    def n_rows(self) -> int:
        """How many rows there have been; those of segments that are gone as well."""
        return len(self._keys)

    @property
    def n_objects(self) -> int:
        """How many segments have pixels."""
        n = len(self._keys)
        return int((self._is_there[:n] & (self._statuses[:n] != _REJECTED)).sum())

    def n_uncertain(self, below: float) -> int:
        """Count what is still to be decided of which the model is less sure than this.

        Parameters
        ----------
        below : float
            Certainty, 1 - uncertainty.
        """
        left = self._is_left()
        return int((left & (1 - self._uncertainties[: len(left)] < below)).sum())

    @property
    def n_frames(self) -> int:
        """How many frames have objects."""
        n = len(self._keys)
        there = self._is_there[:n] & (self._statuses[:n] != _REJECTED)
        return len(np.unique(self._frames[:n][there]))

    def uncertainty(self, row: int) -> float | None:
        """Return how unsure the model was of the segment of a row; None where none had a say."""
        value = float(self._uncertainties[row])
        return None if np.isnan(value) else value

    def uncertainties_left(self) -> dict[int, float]:
        """Return how unsure the model is of what is still to be decided, by id.

        Of an id in several frames it is the most.
        """
        found: dict[int, float] = {}
        rows = np.flatnonzero(self._is_left())
        values = self._uncertainties[rows].tolist()
        for i, value in zip(self._ids[rows].tolist(), values, strict=True):
            found[i] = max(value, found.get(i, 0.0))
        return found

    def _is_left(self) -> npt.NDArray[np.bool_]:
        """Say of each row whether it is still to be decided."""
        n = len(self._keys)
        left: npt.NDArray[np.bool_] = self._is_there[:n] & (self._statuses[:n] == _PROPOSED)
        left &= ~self._is_locked[:n]
        return left

    def row(self, key: Key) -> int | None:
        """Return the row of a segment that is there."""
        row = self._rows.get(key)
        return row if row is not None and self._is_there[row] else None

    def rows(self, keys: Iterable[Key]) -> Indices:
        """Return the rows of those segments that are there."""
        found = [row for key in keys if (row := self.row(key)) is not None]
        return np.array(found, np.intp)

    def key(self, row: int) -> Key:
        """Return (frame, segment id) of a row."""
        return self._keys[row]

    def keys(self, rows: Iterable[int]) -> list[Key]:
        """Return (frame, segment id) of rows."""
        return [self._keys[row] for row in rows]

    def segment(self, row: int) -> Segment:
        """Return the segment of a row; of one that is gone, what it was."""
        return self._segments[row]

    def shown(self, row_filter: RowFilter, column: Column, *, is_up: bool = True) -> Indices:
        """Return the rows that pass a filter, sorted.

        Those without a value come last in either direction; equal ones in the order of frames and
        ids.
        """
        rows = np.flatnonzero(self._passes(row_filter))
        values = self._sortable(column)[rows].astype(np.float64)
        if not is_up:
            values = -values
        # Not-a-numbers, which have no value, are last either way.
        order = np.lexsort((self._ids[rows], self._frames[rows], values))
        sorted_rows: Indices = rows[order]
        return sorted_rows

    def counts(self, frame: int | None = None) -> dict[int, int]:
        """Count the segments that have pixels, by their category id.

        Parameters
        ----------
        frame : int, optional
            Only those of this frame.
        """
        n = len(self._keys)
        wanted = self._is_there[:n] & (self._statuses[:n] != _REJECTED)
        if frame is not None:
            wanted &= self._frames[:n] == frame
        ids, counts = np.unique(self._categories[:n][wanted], return_counts=True)
        return dict(zip(ids.tolist(), counts.tolist(), strict=True))

    def _set(self, key: Key, segment: Segment) -> int:
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._keys)
            self._keys.append(key)
            self._segments.append(segment)
            if row == len(self._ids):
                self._grow(max(64, 2 * row))
            self._frames[row], self._ids[row] = key
        self._is_there[row] = True
        self._segments[row] = segment
        self._categories[row] = segment.category_id
        self._scores[row] = np.nan if segment.score is None else segment.score
        self._uncertainties[row] = self._unsure(key, segment)
        self._is_locked[row] = segment.locked
        self._statuses[row] = _CODES[segment.status]
        self._areas[row] = segment.area
        if segment.note:
            self._notes[row] = segment.note
        else:
            self._notes.pop(row, None)
        return row

    def _unsure(self, key: Key, segment: Segment) -> float:
        value = uncertainty_shown(segment, self._doubts.get(key))
        return np.nan if value is None else value

    def _grow(self, n: int) -> None:
        for name in _ARRAYS:
            old = getattr(self, f"_{name}")
            new = np.zeros(n, old.dtype)
            new[: len(old)] = old
            setattr(self, f"_{name}", new)

    def _passes(self, wanted: RowFilter) -> npt.NDArray[np.bool_]:
        at = slice(0, len(self._keys))
        statuses = self._statuses[at]
        passing: npt.NDArray[np.bool_] = self._is_there[at] & (
            statuses != _REJECTED if wanted.status is None else statuses == _CODES[wanted.status]
        )
        if wanted.category_id is not None:
            passing &= self._categories[at] == wanted.category_id
        if wanted.frame is not None:
            passing &= self._frames[at] == wanted.frame
        if wanted.min_score is not None:
            passing &= self._scores[at] >= wanted.min_score
        if wanted.max_score is not None:
            passing &= self._scores[at] <= wanted.max_score
        if wanted.min_area is not None:
            passing &= self._areas[at] >= wanted.min_area
        if wanted.max_area is not None:
            passing &= self._areas[at] <= wanted.max_area
        for word in wanted.text.lower().split():
            passing &= self._has_word(word)
        return passing

    def _has_word(self, word: str) -> npt.NDArray[np.bool_]:
        n = len(self._keys)
        named = [i for i, c in self.document.categories.items() if word in c.name.lower()]
        found: npt.NDArray[np.bool_] = np.isin(self._categories[:n], named)
        number = word.removeprefix("#")
        if number.isdecimal():
            found |= np.char.find(self._ids[:n].astype(np.str_), number) >= 0
        for row, note in self._notes.items():
            if word in note.lower():
                found[row] = True
        return found

    def _sortable(self, column: Column) -> npt.NDArray[Any]:
        """Return numbers that are in the order of what a column shows."""
        if column == "category":
            return self._ranks(self._categories, self._names())
        if column == "note":
            notes = [self._notes.get(row, "") for row in range(len(self._keys))]
            places = {note: k for k, note in enumerate(sorted(set(notes)))}
            return np.array([places[note] if note else np.nan for note in notes])
        arrays: Mapping[Column, npt.NDArray[Any]] = {
            "id": self._ids,
            "score": self._scores,
            "uncertainty": self._uncertainties,
            "status": self._statuses,
            "area": self._areas,
            "frame": self._frames,
        }
        return arrays[column]

    def _names(self) -> dict[int, str]:
        return {i: category.name.lower() for i, category in self.document.categories.items()}

    @staticmethod
    def _ranks(values: npt.NDArray[np.int64], names: Mapping[int, str]) -> npt.NDArray[Any]:
        present, inverse = np.unique(values, return_inverse=True)
        texts = [names.get(i, "") for i in present.tolist()]
        places = {text: k for k, text in enumerate(sorted(set(texts)))}
        return np.array([places[text] for text in texts])[inverse]
