"""The actions of the table as commands of napari: for its menus and its command palette."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import napari

from napari_eomt.viewer.keymap import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.widgets.dock import EomtDock

PACKAGE, WIDGET = "napari-eomt", "EoMT"


def _do(name: str) -> None:
    """Do an action in the dock of the viewer in front; the dock is opened if it is not there."""
    viewer = napari.current_viewer()
    if viewer is not None:
        dock: EomtDock
        _, dock = viewer.window.add_plugin_dock_widget(PACKAGE, WIDGET)
        dock.runner.run(name)


def _command(name: str) -> Callable[[], None]:
    return partial(_do, BY_NAME[name].name)


# By these names napari.yaml calls them.
segment = _command("segment")
next_image = _command("next_image")
learn = _command("learn")
export = _command("export")
undo = _command("undo")
redo = _command("redo")
accept = _command("accept")
reject = _command("reject")
next_ = _command("next")
previous = _command("previous")
reopen = _command("reopen")
delete = _command("delete")
merge = _command("merge")
split = _command("split")
split_by_model = _command("split_by_model")
lock = _command("lock")
likely_categories = _command("likely_categories")
fill_holes = _command("fill_holes")
smooth = _command("smooth")
keep_largest = _command("keep_largest")
copy_to_next = _command("copy_to_next")
interpolate = _command("interpolate")
next_frame = _command("next_frame")
previous_frame = _command("previous_frame")
track_next = _command("track_next")
track_previous = _command("track_previous")
track_start = _command("track_start")
track_end = _command("track_end")
track_gap = _command("track_gap")
next_doubt = _command("next_doubt")
track_identity = _command("track_identity")
track_swap = _command("track_swap")
track_cut = _command("track_cut")
track_join = _command("track_join")
track_parent = _command("track_parent")
track_delete_from = _command("track_delete_from")
track_delete = _command("track_delete")
track_accept = _command("track_accept")
track_category = _command("track_category")
next_candidate = _command("next_candidate")
previous_candidate = _command("previous_candidate")
take = _command("take")
hidden = _command("hidden")
keys = _command("keys")
