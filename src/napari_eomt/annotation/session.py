"""The person's work on a document: edits, one undo over all of them, and what is selected."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from psygnal import Signal

from napari_eomt.annotation.edits import Edit, joined

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from napari_eomt.annotation.document import Document
    from napari_eomt.structures.segments import Segment

Key: TypeAlias = tuple[int, int]
"""(frame, segment id)."""

MIN_STEPS = 500
"""Steps that can always be undone, whatever memory they take."""

MAX_BYTES = 2**28
"""Memory of all steps from which on, beyond `MIN_STEPS`, the oldest are forgotten."""


class _Step:
    """What is undone at once: an edit, or many that are put together when they are asked for.

    A run through ten thousand frames is as many edits; each of them costs what is in it.
    """

    def __init__(self, edit: Edit, key: Hashable) -> None:
        self.key = key
        self.name = edit.name
        self.n_bytes = edit.nbytes
        self._parts = [edit]
        self._frames = set(edit.frames)

    def add(self, edit: Edit) -> None:
        """Take up a later edit; what the two do and undo goes, where they share a frame."""
        self.name = edit.name
        frames = set(edit.frames)
        self._parts.append(edit)
        self.n_bytes += edit.nbytes
        if frames & self._frames:
            whole = self.edit.condensed()
            self._parts, self.n_bytes, self._frames = [whole], whole.nbytes, set(whole.frames)
        else:
            self._frames |= frames

    @property
    def edit(self) -> Edit:
        """All of it as one."""
        return joined(self.name, self._parts)


class Session:
    """Applies edits to a document and takes them back, in the true order.

    Parameters
    ----------
    document : Document
    max_bytes : int
        See `MAX_BYTES`.
    """

    changed = Signal(Edit)
    """The document has changed, by this edit: done, undone (its inverse) or done again."""
    selection_changed = Signal(frozenset)
    """Other segments are selected: keys."""

    def __init__(self, document: Document, max_bytes: int = MAX_BYTES) -> None:
        self.document = document
        self._max_bytes = max_bytes
        self._done: deque[_Step] = deque()
        self._undone: list[Edit] = []
        self._n_bytes = 0
        self._group: list[Edit] | None = None
        self._selection: frozenset[Key] = frozenset()

    def do(self, edit: Edit, *, merge_with: Hashable = None) -> bool:
        """Make an edit.

        Parameters
        ----------
        edit : Edit
        merge_with : hashable, optional
            If the step before was made with an equal one, both become one step: the drag of a
            slider, or the frames of a run.

        Returns
        -------
        bool
            Whether anything changed.
        """
        return self._take(edit, merge_with, pixels=True)

    def record(self, edit: Edit) -> bool:
        """Take up an edit whose pixels are in the id maps already: a viewer has painted them."""
        return self._take(edit, None, pixels=False)

    def undo(self) -> Edit | None:
        """Take the last step back; return what was applied, None if there is none."""
        if not self._done or self._group is not None:
            return None
        step = self._done.pop()
        self._n_bytes -= step.n_bytes
        edit = step.edit
        self._undone.append(edit)
        return self._apply(edit.inverse())

    def redo(self) -> Edit | None:
        """Make the step again that was taken back last; return it, None if there is none."""
        if not self._undone or self._group is not None:
            return None
        edit = self._undone.pop()
        self._push(edit, None)
        return self._apply(edit)

    @property
    def undo_name(self) -> str:
        """What `undo` would take back; empty if nothing."""
        return self._done[-1].name if self._done else ""

    @property
    def undo_key(self) -> Hashable:
        """What the last step was told to merge with; None if nothing."""
        return self._done[-1].key if self._done else None

    @property
    def redo_name(self) -> str:
        """What `redo` would do again; empty if nothing."""
        return self._undone[-1].name if self._undone else ""

    @property
    def n_steps(self) -> int:
        """How many steps can be undone."""
        return len(self._done)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Make all edits within the block one step; an error takes all of them back."""
        if self._group is not None:
            yield  # within another step
            return
        self._group = []
        try:
            yield
        except BaseException:
            edits, self._group = self._group, None
            for edit in reversed(edits):
                self._apply(edit.inverse())
            raise
        edits, self._group = self._group, None
        whole = joined(name, edits)
        if whole:
            self._undone.clear()
            self._push(whole, None)

    @property
    def selection(self) -> frozenset[Key]:
        """The selected segments."""
        return self._selection

    @property
    def selected(self) -> list[tuple[int, Segment]]:
        """The selected segments that there are, with their frames, in order."""
        return [
            (frame, self.document.segments(frame)[i])
            for frame, i in sorted(self._selection)
            if i in self.document.segments(frame)
        ]

    def select(self, keys: Iterable[Key]) -> None:
        """Select segments, and no others."""
        selection = frozenset(keys)
        if selection != self._selection:
            self._selection = selection
            self.selection_changed.emit(selection)

    def _take(self, edit: Edit, merge_with: Hashable, *, pixels: bool) -> bool:
        if not edit:
            return False
        if self._group is not None:
            self._group.append(edit)
            self._apply(edit, pixels=pixels)
            return True
        self._undone.clear()
        if merge_with is not None and self._done and self._done[-1].key == merge_with:
            step = self._done[-1]
            before = step.n_bytes
            step.add(edit)
            self._n_bytes += step.n_bytes - before
            self._trim()
        else:
            self._push(edit, merge_with)
        self._apply(edit, pixels=pixels)
        return True

    def _push(self, edit: Edit, merge_with: Hashable) -> None:
        self._done.append(_Step(edit, merge_with))
        self._n_bytes += edit.nbytes
        self._trim()

    def _trim(self) -> None:
        while self._n_bytes > self._max_bytes and len(self._done) > MIN_STEPS:
            self._n_bytes -= self._done.popleft().n_bytes

    def _apply(self, edit: Edit, *, pixels: bool = True) -> Edit:
        self.document.apply(edit, pixels=pixels)
        gone = {(c.frame, c.id) for c in edit.segments if c.after is None}
        self.select(self._selection - gone)
        self.changed.emit(edit)
        return edit
