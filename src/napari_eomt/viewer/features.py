"""The table of a layer's objects, kept in step with the document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from napari_eomt.annotation.document import Document
    from napari_eomt.structures.segments import Segment

COLUMNS = ("index", "category", "score", "status", "area", "frame")


class FeatureTable:
    """A row for each object that has pixels, in the order of the ids.

    An object that lies in several frames has the row of the first one where it is locked, else of
    the first. Only rows that an edit touches are made anew: napari wants a new table for each
    change, and one of 5,000 rows takes 20 ms to make and 3 ms to copy.

    Parameters
    ----------
    document : Document
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._rows: dict[int, tuple[Any, ...]] = {}
        self.rebuild()

    def rebuild(self) -> None:
        """Make all rows anew."""
        best: dict[int, tuple[int, Segment]] = {}
        for frame, segment in self._document.iter_segments():
            if segment.status is Status.REJECTED:
                continue
            known = best.get(segment.id)
            if known is None or (segment.is_locked and not known[1].is_locked):
                best[segment.id] = frame, segment
        self._rows = {i: self._row(*best[i]) for i in sorted(best)}

    def update(self, ids: Iterable[int]) -> None:
        """Make the rows of some ids anew."""
        document = self._document
        is_sorted = True
        for i in ids:
            found = [(frame, document.segments(frame)[i]) for frame in document.frames_of(i)]
            found = [(f, s) for f, s in found if s.status is not Status.REJECTED]
            if not found:
                self._rows.pop(i, None)
                continue
            if i not in self._rows and self._rows:
                is_sorted = is_sorted and i > next(reversed(self._rows))
            locked = [pair for pair in found if pair[1].is_locked]
            self._rows[i] = self._row(*(locked or found)[0])
        if not is_sorted:
            self._rows = dict(sorted(self._rows.items()))

    def frame(self) -> pd.DataFrame:
        """Return the table as napari takes it."""
        # Here, not above: it takes a fifth of a second, and napari itself waits for a layer.
        import pandas as pd

        columns = zip(*self._rows.values(), strict=True) if self._rows else ((),) * len(COLUMNS)
        values: dict[str, Any] = dict(zip(COLUMNS, map(list, columns), strict=True))
        values["score"] = np.array(values["score"], np.float64)
        if not self._document.frame_shape:
            del values["frame"]
        table: pd.DataFrame = pd.DataFrame(values)
        return table

    def _row(self, frame: int, segment: Segment) -> tuple[Any, ...]:
        category = self._document.categories[segment.category_id]
        score = np.nan if segment.score is None else round(segment.score, 3)
        return (segment.id, category.name, score, segment.status.value, segment.area, frame)
