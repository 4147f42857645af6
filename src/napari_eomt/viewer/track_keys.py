"""The rows of the table of actions that are about tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from napari_eomt.viewer import track_actions as tracks

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.viewer.place import Place

Row: TypeAlias = "tuple[str, str, str, str, Callable[[Place], str] | None]"
"""Name, key, title, tooltip, and what it does; None: the dock has a handler of this name."""

GROUP = "Tracks"

JUMPS: tuple[Row, ...] = (
    (
        "track_next", "Alt+Right", "Next frame of the track",
        "Go to the next frame that the selected track is in.", tracks.next_in_track,
    ),
    (
        "track_previous", "Alt+Left", "Previous frame of the track",
        "Go to the frame before in which the selected track is.", tracks.previous_in_track,
    ),
    (
        "track_start", "Alt+Home", "Start of the track",
        "Go to the first frame of the selected track.", tracks.track_start,
    ),
    (
        "track_end", "Alt+End", "End of the track",
        "Go to the last frame of the selected track.", tracks.track_end,
    ),
    (
        "track_gap", "Alt+G", "Next gap of the track",
        "Go to the next frames in which the selected track is absent.", tracks.next_gap,
    ),
    (
        "next_doubt", "Alt+N", "Next doubtful identity",
        (
            "Go to where it is most doubtful that an object is the one of the frame before; then "
            "to the next, whether it is decided or not."
        ), None,
    ),
)  # fmt: skip

CORRECTIONS: tuple[Row, ...] = (
    (
        "track_identity", "Shift+I", "Be another from here on…",
        (
            "From this frame on, let the track be the other one that is selected, or one of those "
            "that are offered (its identity)."
        ), None,
    ),
    (
        "track_swap", "Shift+X", "Swap from here on…",
        "From this frame on, let two tracks change places: an identity switch.", None,
    ),
    (
        "track_cut", "Shift+T", "Cut here",
        "Make the track a new one from this frame on.", tracks.cut,
    ),
    (
        "track_join", "Shift+J", "Join…",
        "Make two tracks one that are never in the same frame.", None,
    ),
    (
        "track_parent", "Alt+O", "Came from…",
        "Say which track this one came from, by division (its parent).", None,
    ),
    (
        "track_delete_from", "Shift+D", "Delete from here on",
        "Remove the objects of the track from this frame on.", tracks.delete_from,
    ),
    (
        "track_delete", "Alt+D", "Delete the track",
        "Remove the objects of the track in all frames.", tracks.delete_track,
    ),
    (
        "track_accept", "Alt+A", "Accept the track",
        "Accept the objects of the track in all frames.", tracks.accept_track,
    ),
    (
        "track_category", "Alt+T", "Category of the track…",
        "Give the objects of the track another category in all frames.", None,
    ),
)  # fmt: skip

ROWS = JUMPS + CORRECTIONS
