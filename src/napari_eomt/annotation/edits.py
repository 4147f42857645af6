"""Edits: changes of a document as values, each of which knows its inverse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.structures.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.annotation.document import FrameState
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Box, IdMap, Segment


@dataclass(frozen=True)
class PixelChange:
    """Pixels of a frame's id map that change.

    What is kept is the exclusive or of the ids before and after: it turns the one into the other
    and back, and is 0, so nearly nothing as runs, wherever nothing changes.

    Parameters
    ----------
    frame : int
    difference : Runs
    """

    frame: int
    difference: Runs

    @classmethod
    def between(
        cls, frame: int, before: IdMap, after: IdMap, origin: tuple[int, int] = (0, 0)
    ) -> PixelChange | None:
        """Return the change from one id map, or part of one, to another; None if they are equal.

        Parameters
        ----------
        frame : int
        before, after : (h, w) int
        origin : (y, x)
            Where the first pixel lies in the frame.
        """
        wide = np.uint32 if max(before.itemsize, after.itemsize) > 2 else np.uint16
        difference = before.astype(wide, copy=False) ^ after.astype(wide, copy=False)
        rows = np.flatnonzero(difference.any(1))
        if not len(rows):
            return None
        columns = np.flatnonzero(difference[rows[0] : rows[-1] + 1].any(0))
        part = difference[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        y, x = origin[0] + int(rows[0]), origin[1] + int(columns[0])
        return cls(frame, Runs.of(part, (y, x)))

    @property
    def box(self) -> Box:
        """The smallest box around what changes."""
        return self.difference.box

    def apply(self, id_map: IdMap) -> None:
        """Change the pixels of the frame's id map, in place; applied twice, nothing is changed."""
        part = id_map[self.difference.slices]
        part ^= self.difference.array().astype(id_map.dtype)


@dataclass(frozen=True)
class SegmentChange:
    """A segment of a frame that comes (`before` is None), goes (`after` is None) or changes."""

    frame: int
    before: Segment | None
    after: Segment | None

    @property
    def id(self) -> int:
        """Of the segment."""
        segment = self.after or self.before
        if segment is None:
            raise ValueError("A change of nothing into nothing.")
        return segment.id


@dataclass(frozen=True)
class CategoryChange:
    """A category that comes (`before` is None), goes (`after` is None) or changes.

    `position` is its place in the list, which keys and palettes count by; None is the end.
    """

    before: Category | None
    after: Category | None
    position: int | None = None


@dataclass(frozen=True)
class StateChange:
    """How far a frame has come, before and after."""

    frame: int
    before: FrameState
    after: FrameState


@dataclass(frozen=True)
class Edit:
    """One step that a person can undo: all that changes together.

    Parameters
    ----------
    name : str
        What was done, in the words of a menu: "Merge 2 objects".
    pixels, segments, categories, states : tuple
        In the order in which they are applied.
    """

    name: str
    pixels: tuple[PixelChange, ...] = ()
    segments: tuple[SegmentChange, ...] = ()
    categories: tuple[CategoryChange, ...] = ()
    states: tuple[StateChange, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return bool(self.pixels or self.segments or self.categories or self.states)

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that change, in order."""
        changes: list[PixelChange | SegmentChange | StateChange] = [
            *self.pixels,
            *self.segments,
            *self.states,
        ]
        return tuple(sorted({change.frame for change in changes}))

    @property
    def nbytes(self) -> int:
        """Memory of the edit, in bytes, roughly."""
        pixels = sum(change.difference.nbytes + 200 for change in self.pixels)
        return 200 + pixels + 400 * len(self.segments) + 200 * len(self.categories)

    def inverse(self) -> Edit:
        """Return the edit that takes this one back."""
        return Edit(
            self.name,
            self.pixels[::-1],
            tuple(SegmentChange(c.frame, c.after, c.before) for c in reversed(self.segments)),
            tuple(replace(c, before=c.after, after=c.before) for c in reversed(self.categories)),
            tuple(StateChange(c.frame, c.after, c.before) for c in reversed(self.states)),
        )

    def then(self, other: Edit) -> Edit:
        """Return this edit followed by another, as one step under this one's name."""
        return Edit(
            self.name,
            self.pixels + other.pixels,
            self.segments + other.segments,
            self.categories + other.categories,
            self.states + other.states,
        )

    def condensed(self) -> Edit:
        """Return an equal edit without what it does and undoes itself.

        Of a slider that is dragged only the first state and the last matter.
        """
        by_frame: dict[int, list[PixelChange]] = {}
        for pixel_change in self.pixels:
            by_frame.setdefault(pixel_change.frame, []).append(pixel_change)
        pixels = [_sum(changes) for changes in by_frame.values()]
        segments: dict[tuple[int, int], SegmentChange] = {}
        for change in self.segments:
            first = segments.get((change.frame, change.id), change)
            segments[change.frame, change.id] = replace(change, before=first.before)
        categories: dict[int, CategoryChange] = {}
        for category in self.categories:
            key = (category.after or category.before).id  # type: ignore[union-attr]
            categories[key] = replace(category, before=categories.get(key, category).before)
        states: dict[int, StateChange] = {}
        for state in self.states:
            states[state.frame] = replace(state, before=states.get(state.frame, state).before)
        return Edit(
            self.name,
            tuple(change for change in pixels if change is not None),
            tuple(c for c in segments.values() if c.before != c.after),
            tuple(c for c in categories.values() if c.before != c.after),
            tuple(c for c in states.values() if c.before != c.after),
        )


def joined(name: str, edits: Iterable[Edit]) -> Edit:
    """Return several edits as one step."""
    parts = list(edits)
    return Edit(
        name,
        tuple(change for edit in parts for change in edit.pixels),
        tuple(change for edit in parts for change in edit.segments),
        tuple(change for edit in parts for change in edit.categories),
        tuple(change for edit in parts for change in edit.states),
    )


def _sum(changes: list[PixelChange]) -> PixelChange | None:
    """Return several changes of a frame as one; None if they cancel out."""
    if len(changes) == 1:
        return changes[0]
    y0, x0, y1, x1 = (
        choose(change.box[i] for change in changes) for i, choose in enumerate((min, min, max, max))
    )
    total = np.zeros((y1 - y0, x1 - x0), np.uint32)
    for change in changes:
        rows, columns = change.difference.slices
        part = total[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]
        part ^= change.difference.array()
    return PixelChange.between(changes[0].frame, np.zeros_like(total), total, (y0, x0))
