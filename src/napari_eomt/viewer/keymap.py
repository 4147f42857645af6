"""The one table of actions: keys, buttons, tooltips, menus and the cheat-sheet are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.key_bindings import coerce_keybinding

from napari_eomt.viewer import actions, track_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_eomt.viewer.place import Place

N_CATEGORY_KEYS = 9

TAKEN_BY_NAPARI = frozenset("1234567EPFLZMXBV-=[]") | {
    "Space",
    "Escape",
    "Enter",
    "Up",
    "Down",
    "Left",
    "Right",
}
"""Keys of napari that no action of the table has."""


class Needs(str, Enum):
    """What must be there for an action."""

    IMAGE = "image"
    RESULT = "result"
    SELECTION = "selection"
    """An object that is selected, or under the cursor."""
    CANDIDATE = "candidate"
    TRACK = "track"
    """An object that is selected in whatever frame, or under the cursor; of several frames."""


@dataclass(frozen=True)
class Action:
    """Something that a key, a button and a menu do.

    Parameters
    ----------
    name : str
        Unique; the command is "napari-eomt.<name>".
    keys : tuple of str
        As people read them, "Shift+N"; the first one is shown on buttons.
    title : str
        For a button or a menu.
    tooltip : str
        One sentence or two, with the field's term.
    needs : Needs
    group : str
        Heading in the cheat-sheet.
    run : callable, optional
        What it does, given the place; returns what people read. None: the dock has a handler
        of this name.
    """

    name: str
    keys: tuple[str, ...]
    title: str
    tooltip: str
    needs: Needs
    group: str
    run: Callable[[Place], str] | None = None

    @property
    def hint(self) -> str:
        """The tooltip with the keys."""
        return f"{self.tooltip} ({' or '.join(self.keys)})" if self.keys else self.tooltip


def _actions() -> tuple[Action, ...]:
    image, result, some, candidate, track = Needs
    review, objects, shape = "Review", "Objects", "Shape"
    time, propose, any_ = "Frames", "Candidates", "Everywhere"
    table = [
        Action(
            "segment", ("W",), "Segment", "Segment the frame that is shown with the model.",
            image, any_,
        ),
        Action(
            "next_image", ("O",), "Next image",
            "Keep the work on this image, and open the next one of the folder.",
            image, any_,
        ),
        Action(
            "learn", ("Y",), "Learn…",
            "Teach the model what is annotated (training), and see how that goes.",
            image, any_,
        ),
        Action(
            "export", ("Shift+O",), "Export…",
            "Write the objects for other programs: COCO and its relatives.",
            image, any_,
        ),
        Action(
            "undo", ("U", "Ctrl+Z"), "Undo",
            "Take the last step back, whatever it was: a stroke, a decision or a run.",
            result, any_, actions.undo,
        ),
        Action(
            "redo", ("Shift+U", "Ctrl+Shift+Z"), "Redo", "Do again what was taken back last.",
            result, any_, actions.redo,
        ),
        Action(
            "accept", ("A",), "Accept",
            "Accept the object and go to the next one. No model changes it any more.",
            some, review, actions.accept,
        ),
        Action(
            "reject", ("R",), "Reject",
            "Remove the object and go to the next one. It is a false positive, and is not "
            "proposed again.",
            some, review, actions.reject,
        ),
        Action(
            "next", ("N",), "Next", "Go to the next object to review.",
            result, review, actions.go_next,
        ),
        Action(
            "previous", ("Shift+N",), "Previous", "Go to the previous object to review.",
            result, review, actions.go_previous,
        ),
        Action(
            "reopen", ("Shift+A",), "Reopen",
            "Make the object a proposal again, which a model may change.",
            some, review, actions.reopen,
        ),
        Action("delete", ("D",), "Delete", "Remove the objects.", some, objects, actions.delete),
        Action(
            "merge", ("G",), "Merge",
            "Make the selected objects one segment. The largest keeps its id and category.",
            some, objects, actions.merge,
        ),
        Action(
            "split", ("S",), "Split",
            "Split an object: draw a line across it, or click once in each of two parts "
            "(watershed). Enter or a double click ends a line of clicks, Escape gives up.",
            result, objects,
        ),
        Action(
            "split_by_model", ("Shift+G",), "Split by model",
            "Split the object between the two queries of the model that fit its halves best.",
            some, objects,
        ),
        Action(
            "lock", ("K",), "Lock",
            "Lock the objects, so that no model changes them, or unlock them.",
            some, objects, actions.lock,
        ),
        Action(
            "likely_categories", ("Alt+0",), "Likely categories…",
            "Choose among the categories that the model finds likely for the object (top-k).",
            some, objects,
        ),
        *(
            Action(
                f"category_{n}", (f"Alt+{n}",), f"Category {n}",
                f"Give the objects category {n}; with none, draw in it from now on.",
                result, objects, partial(actions.recategorise, number=n),
            )
            for n in range(1, N_CATEGORY_KEYS + 1)
        ),
        Action(
            "fill_holes", ("Shift+F",), "Fill holes", "Fill the holes of the objects.",
            some, shape, actions.fill_holes,
        ),
        Action(
            "smooth", ("Shift+S",), "Smooth",
            "Smooth the outlines of the objects (majority within 2 pixels).",
            some, shape, actions.smooth,
        ),
        Action(
            "keep_largest", ("Shift+K",), "Largest part",
            "Keep the largest connected component of each object.",
            some, shape, actions.keep_largest,
        ),
        Action(
            "copy_to_next", ("J",), "Copy to next frame",
            "Copy the objects into the next frame, with their ids, and go there.",
            some, time, actions.copy_to_next,
        ),
        Action(
            "interpolate", ("I",), "Interpolate",
            "Draw the selected object in the frames between two that have it (shape-based "
            "interpolation).",
            result, time, actions.interpolate,
        ),
        Action(
            "next_frame", (".",), "Next frame with objects",
            "Go to the next frame that has objects.", result, time, actions.next_frame,
        ),
        Action(
            "previous_frame", (",",), "Previous frame with objects",
            "Go to the previous frame that has objects.", result, time, actions.previous_frame,
        ),
        *(
            Action(name, (key,), title, tooltip, track, track_keys.GROUP, run)
            for name, key, title, tooltip, run in track_keys.ROWS
        ),
        Action(
            "next_candidate", ("C",), "Next candidate",
            "Show what else the model proposes at the cursor (its queries), best first. "
            "Shift+wheel does the same; Escape ends it.",
            result, propose,
        ),
        Action(
            "previous_candidate", ("Shift+C",), "Previous candidate",
            "Show the better candidate before this one.", result, propose,
        ),
        Action(
            "take", ("T",), "Take",
            "Make the candidate an object, or the outline of the object that it is nearly the "
            "same as. Enter or a click does the same while candidates are shown.",
            candidate, propose,
        ),
        Action(
            "hidden", ("H",), "Hidden proposals",
            "Show faintly what the model proposes below the score threshold; a click takes one.",
            result, propose,
        ),
        Action(
            "keys", ("F1",), "Keys", "Show all keys, to search and to print.", image, any_,
        ),
    ]  # fmt: skip
    return tuple(table)


ACTIONS = _actions()
BY_NAME = {action.name: action for action in ACTIONS}


class KeyBindings:
    """Binds the keys of the table to a viewer, and lets go of them.

    A layer's own keys go before those of the viewer. Where a layer of ours has one of these keys
    (napari's images stretch their contrast with C), it is bound on that layer as well, and on no
    other. Nothing that is bound already on the viewer is taken away: it is put back.

    Parameters
    ----------
    viewer : ViewerModel
    run : callable
        Given the name of the action.
    is_typing : callable, optional
        Whether the keyboard is in a text field just now: the key is not meant for us then.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        run: Callable[[str], object],
        is_typing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._viewer, self._run, self._is_typing = viewer, run, is_typing
        self._layers: tuple[Layer, ...] = ()
        self._bound: list[tuple[Any, Any, Any]] = []
        self._extra: dict[str, Callable[[], object]] = {}
        self._rebind()

    def close(self) -> None:
        """Give every key back."""
        for owner, key, before in reversed(self._bound):
            owner.bind_key(key, None)
            if before is not None:
                owner.bind_key(key, before)
        self._bound = []

    def follow(self, layers: Iterable[Layer]) -> None:
        """Work with these layers too: an image and its objects; undo keys come with them."""
        layers = tuple(layers)
        if layers != self._layers:
            self._layers = layers
            self._rebind()

    def add(self, keys: dict[str, Callable[[], object]]) -> None:
        """Bind more keys for as long as a tool is on, such as Escape."""
        self._extra.update(keys)
        self._rebind()

    def remove(self, keys: Iterable[str]) -> None:
        """Give keys of a tool back."""
        for key in keys:
            self._extra.pop(key, None)
        self._rebind()

    def _rebind(self) -> None:
        self.close()
        for action in ACTIONS:
            for key in action.keys:
                # Of pixels that are not ours, napari's own undo knows more.
                if "Ctrl" in key and not self._layers:
                    continue
                self._bind(key, partial(self._run, action.name), force=False)
        for key, function in self._extra.items():
            self._bind(key, function, force=True)

    def _bind(self, key: str, function: Callable[[], object], *, force: bool) -> None:
        """Bind a key on the viewer, and on our layers where they would keep it for themselves."""
        binding = coerce_keybinding(key)

        def pressed(_: Any) -> None:
            if not self._is_typing():
                function()

        owners: list[Any] = [self._viewer]
        for layer in self._layers:
            classes = type(layer).__mro__
            own = any(binding in getattr(c, "class_keymap", {}) for c in classes)
            # Labels undo by the same session already, and within a stroke better.
            if own and (force or "Ctrl" not in key):
                owners.append(layer)
        for owner in owners:
            before = owner.keymap.get(binding)
            owner.bind_key(binding, pressed, overwrite=True)
            self._bound.append((owner, binding, before))
