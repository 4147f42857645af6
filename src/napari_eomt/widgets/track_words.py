"""What is said of tracks, in a line: what is selected, and what is so in a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.annotation.track_lanes import DOUBTFUL
from napari_eomt.widgets.status_icons import status_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.annotation.track_live import LiveTracks
    from napari_eomt.viewer.track_doubts import IdentityDoubts


def about(live: LiveTracks, selected: Sequence[int], n_doubtful: int) -> str:
    """Say what is selected: of one track where it is, of others how many there are."""
    members = live.index.members
    if len(selected) != 1:
        text = f"{len(members):,} track{'s' if len(members) != 1 else ''}"
        if selected:
            text = f"{len(selected):,} of {text}"
        return text + (f" · {n_doubtful:,} doubtful" if n_doubtful else "")
    (number,) = selected
    frames = list(members[number])
    n_away = frames[-1] - frames[0] + 1 - len(frames)
    text = f"Track {number} · frames {frames[0]}–{frames[-1]}"
    if n_away:
        text += f", away in {n_away:,}"
    parent, children = live.parent(number), live.children(number)
    text += f" · from {parent}" if parent is not None else ""
    return text + (f" · into {', '.join(map(str, children))}" if children else "")


def tip(live: LiveTracks, doubts: IdentityDoubts | None, number: int, frame: int) -> str:
    """Say what is so of a track in a frame, and why its identity is doubtful."""
    members = live.index.members.get(number)
    if not members:
        return ""
    if frame not in members:
        is_within = next(iter(members)) < frame < next(reversed(members))
        is_rejected = any(f == frame for f, _ in live.rejected.get(number, ()))
        what = "rejected" if is_rejected else "absent" if is_within else "not there"
        return f"Track {number} · frame {frame}: {what}"
    key = frame, members[frame]
    segment = live.document.segments(frame).get(key[1])
    if segment is None:
        return ""
    name = live.document.categories[segment.category_id].name
    text = f"Track {number} {name} · frame {frame}: {status_word(segment)[0]}"
    doubt = 0.0 if doubts is None else doubts.score(key)
    if doubts is None or doubt < DOUBTFUL:
        return text
    reason = doubts.reason(key)
    return f"{text}, doubtful ({doubt:.2f})" + (f": {reason}" if reason else "")
