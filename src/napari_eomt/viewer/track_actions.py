"""What a person can do to tracks: go along them, and put identities right from a frame on.

Each is one edit, as in `actions`, and says what it did. A track is meant by any of its objects
that is selected, in whatever frame; with none selected, by the object under the cursor.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_eomt.annotation import operations, track_edits
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key
    from napari_eomt.viewer.place import Place


def meant_tracks(place: Place, index: TrackIndex) -> list[int]:
    """Return the tracks that are meant; those of the frame that is shown come first.

    Raises
    ------
    DataError
        If none is.
    """
    frame, selection = place.frame, place.result.session.selection
    keys = sorted(selection, key=lambda key: (key[0] != frame, key))
    found = [index.numbers[key] for key in keys if key in index.numbers]
    if not found:
        i = place.under(place.pixel()) if len(place.viewer.cursor.position) >= 2 else 0
        found = [index.numbers[frame, i]] if (frame, i) in index.numbers else []
    if not found:
        raise DataError(
            "No track is meant. Select one of its objects (click it, its row or its strip), or "
            "point at one with the mouse."
        )
    return list(dict.fromkeys(found))


def next_in_track(place: Place) -> str:
    """Go to the next frame that the track is in."""
    return _jump(place, 1)


def previous_in_track(place: Place) -> str:
    """Go to the frame before in which the track is."""
    return _jump(place, -1)


def track_start(place: Place) -> str:
    """Go to the first frame of the track."""
    index, number = _one(place)
    return _show(place, index, number, next(iter(index.members[number])), "begins")


def track_end(place: Place) -> str:
    """Go to the last frame of the track."""
    index, number = _one(place)
    return _show(place, index, number, next(reversed(index.members[number])), "ends")


def next_gap(place: Place) -> str:
    """Go to the first frame of the next gap of the track, around its end."""
    index, number = _one(place)
    frames = list(index.members[number])
    gaps = [(a + 1, b) for a, b in pairwise(frames) if b - a > 1]
    if not gaps:
        return f"{number} has no gap: it is in each frame from {frames[0]} to {frames[-1]}."
    start, stop = next((gap for gap in gaps if gap[0] > place.frame), gaps[0])
    # What is selected is the last of it that was seen: where it has to go on from.
    place.result.session.select([(start - 1, index.members[number][start - 1])])
    place.show_frame(start)
    n = stop - start
    return f"{number} is away for {n} frame{'s' if n != 1 else ''}, from frame {start} on"


def cut(place: Place) -> str:
    """Make the track a new one from the frame that is shown on."""
    index, number = _one(place)
    edit = track_edits.cut_track(place.result.document, place.frame, number)
    message = place.do(edit)
    after = TrackIndex.of(place.result.document)
    fresh = sorted(set(after.members) - set(index.members))
    select_tracks(place, after, fresh)
    return f"{message}: from there it is {fresh[0]}" if fresh else message


def swap(place: Place, other: int | None = None) -> str:
    """Let two tracks change places from the frame that is shown on."""
    first, second = _pair(place, other, "Swapping")
    edit = track_edits.swap_identities(place.result.document, place.frame, first, second)
    return _do(place, edit, (first, second))


def change_identity(place: Place, other: int | None = None) -> str:
    """Let the track of the frame that is shown be the other one from there on."""
    first, second = _pair(place, other, "Another identity")
    edit = track_edits.change_identity(place.result.document, place.frame, first, second)
    return _do(place, edit, (second,))


def join(place: Place, other: int | None = None) -> str:
    """Make two tracks one."""
    first, second = _pair(place, other, "Joining")
    edit = track_edits.join_tracks(place.result.document, first, second)
    return _do(place, edit, (first, second))


def came_from(place: Place, other: int | None = None) -> str:
    """Say that the later of two tracks came from the earlier one, by division."""
    index, pair = TrackIndex.of(place.result.document), _pair(place, other, "A division")
    parent, child = sorted(pair, key=lambda i: (min(index.members[i]), i))
    edit = track_edits.set_parent(place.result.document, child, parent)
    return _do(place, edit, (parent, child))


def delete_from(place: Place) -> str:
    """Remove the tracks from the frame that is shown on."""
    return _delete(place, place.frame)


def delete_track(place: Place) -> str:
    """Remove the whole tracks."""
    return _delete(place, None)


def accept_track(place: Place) -> str:
    """Accept the tracks in all their frames."""
    numbers, keys = _whole(place)
    document = place.result.document
    open_ = [k for k in keys if document.segments(k[0])[k[1]].status is Status.PROPOSED]
    if not open_:
        return f"{_names(numbers)}: everything is decided already."
    place.do(_named(operations.set_status(document, open_, Status.ACCEPTED), "Accept", numbers))
    return f"Accepted {_names(numbers)} in {_frames(open_)}"


def recategorise_track(place: Place, category_id: int) -> str:
    """Give the tracks another category in all their frames."""
    numbers, keys = _whole(place)
    document = place.result.document
    name = document.categories[category_id].name
    edit = operations.recategorise(document, keys, category_id)
    if not edit:
        return f"{_names(numbers)}: it is {name} already."
    place.do(_named(edit, f"Make {name}:", numbers))
    return f"{_names(numbers)} is {name} now, in {_frames(keys)}"


def select_tracks(place: Place, index: TrackIndex, numbers: Iterable[int]) -> None:
    """Select tracks: their objects of the frame that is shown, else the nearest."""
    frame = place.frame
    keys: list[Key] = []
    for number in numbers:
        members = index.members.get(number)
        if members:
            nearest = frame if frame in members else min(members, key=lambda f: abs(f - frame))
            keys.append((nearest, members[nearest]))
    place.result.session.select(keys)


def _one(place: Place) -> tuple[TrackIndex, int]:
    index = TrackIndex.of(place.result.document)
    numbers = meant_tracks(place, index)
    if len(numbers) > 1:
        raise DataError(f"This takes one track at a time; {_names(numbers)} are selected.")
    return index, numbers[0]


def _pair(place: Place, other: int | None, what: str) -> tuple[int, int]:
    index = TrackIndex.of(place.result.document)
    numbers = meant_tracks(place, index)
    if other is not None:
        numbers = [numbers[0], other]
    if len(numbers) != 2:
        raise DataError(
            f"{what} takes two tracks; {len(numbers)} {'is' if len(numbers) == 1 else 'are'} "
            "selected. Click one, and the other with Shift: in this frame or in another."
        )
    return numbers[0], numbers[1]


def _whole(place: Place) -> tuple[list[int], list[Key]]:
    index = TrackIndex.of(place.result.document)
    numbers = meant_tracks(place, index)
    return numbers, [key for number in numbers for key in index.keys(number)]


def _do(place: Place, edit: Edit, numbers: tuple[int, ...]) -> str:
    message = place.do(edit)
    select_tracks(place, TrackIndex.of(place.result.document), numbers)
    return message


def _delete(place: Place, frame: int | None) -> str:
    document, session = place.result.document, place.result.session
    numbers = meant_tracks(place, TrackIndex.of(document))
    place.result.view.flush()
    what = f"Delete {_names(numbers)}" + ("" if frame is None else f" from frame {frame}")
    with session.step(what):
        for number in numbers:
            session.do(track_edits.delete_from(document, frame or 0, number))
    left = TrackIndex.of(document)
    select_tracks(place, left, numbers)
    return what


def _jump(place: Place, step: int) -> str:
    index, number = _one(place)
    frames, here = list(index.members[number]), place.frame
    found = [frame for frame in frames if (frame - here) * step > 0]
    if not found:
        end, word = (frames[-1], "ends") if step > 0 else (frames[0], "begins")
        return f"{number} {word} in frame {end}."
    return _show(place, index, number, found[0] if step > 0 else found[-1], "")


def _show(place: Place, index: TrackIndex, number: int, frame: int, word: str) -> str:
    place.centre_on((frame, index.members[number][frame]))
    return f"{number} {word} in frame {frame}" if word else f"{number} in frame {frame}"


def _named(edit: Edit, word: str, numbers: list[int]) -> Edit:
    return replace(edit, name=f"{word} {_names(numbers)}")


def _names(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"track {numbers[0]}"
    shown = ", ".join(str(n) for n in numbers[:3])
    return f"tracks {shown}" + (f" and {len(numbers) - 3} more" if len(numbers) > 3 else "")


def _frames(keys: list[Key]) -> str:
    n = len({frame for frame, _ in keys})
    return f"{n:,} frame{'s' if n != 1 else ''}"
