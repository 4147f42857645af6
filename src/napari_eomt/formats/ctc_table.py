"""The table of tracks of the Cell Tracking Challenge: a line L B E P for each.

L is the label of the track in its images, from 1 to 65,535, B and E its first and its last frame,
from 0, and P the label of its parent, or 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

TABLES = {"man_track.txt": "man_track", "res_track.txt": "mask"}
"""What the images are called, by the name of the table."""

MAX_LABEL = 65_535
"""Images have 16 bits."""

_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True)
class CtcTrack:
    """A line of the table.

    Parameters
    ----------
    label : int
    begin, end : int
        The first and the last frame, from 0; it is in each frame between.
    parent : int
        Label of the track that it came from; 0 if none.
    line : int
        Where it stands, from 1; 0 for what is not read from a file.
    """

    label: int
    begin: int
    end: int
    parent: int = 0
    line: int = 0


def find_ctc(path: Path) -> list[Path]:
    """Return the tables of a folder and of those in it; a table is returned as it is.

    Of a folder with both, the reference's.
    """
    if not path.is_dir():
        return [path] if path.name in TABLES else []
    found: dict[Path, Path] = {}
    for name in TABLES:
        for table in path.rglob(name):
            found.setdefault(table.parent, table)
    return [found[folder] for folder in sorted(found)]


def ctc_images(table: Path, n_frames: int) -> list[str]:
    """Return what the images of a table are called, where numbers have as few digits as allowed."""
    n_digits = max(3, len(str(n_frames - 1)))
    return [f"{TABLES[table.name]}{frame:0{n_digits}d}.tif" for frame in range(n_frames)]


def read_ctc_table(path: Path, problem: Callable[[str], None]) -> dict[int, CtcTrack]:
    """Read a table.

    Parameters
    ----------
    path : Path
    problem : callable
        Called with what is wrong with a line, which is left out, or its parent is: raises, or
        takes note of it.

    Returns
    -------
    dict of int to CtcTrack
        By label, in the order of the lines.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is no text ({error.reason} at byte {error.start}). Take it from a copy."
        ) from error
    tracks: dict[int, CtcTrack] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        track = _track(line, number)
        why = track if isinstance(track, str) else _why_not(track, tracks)
        if why:
            problem(f"{path.name}, line {number}: {why}")
        elif isinstance(track, CtcTrack):
            tracks[track.label] = track
    for track in list(tracks.values()):
        why = _why_no_parent(track, tracks)
        if why:
            problem(f"{path.name}, line {track.line}: {why}")
            tracks[track.label] = CtcTrack(track.label, track.begin, track.end, 0, track.line)
    return tracks


def write_ctc_table(path: Path, tracks: Iterable[CtcTrack]) -> None:
    """Write a table, in the order of the labels.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    rows = sorted((t.label, t.begin, t.end, t.parent) for t in tracks)
    lines = [" ".join(map(str, row)) + "\n" for row in rows]
    path.write_text("".join(lines), "ascii", newline="\n")


def _track(line: str, number: int) -> CtcTrack | str:
    words = line.split()
    if len(words) != 4 or not all(_NUMBER.fullmatch(word) for word in words):
        return (
            f"{line.strip()[:60]!r} are not four whole numbers L B E P: label, first frame, last "
            "frame, parent or 0. Correct it."
        )
    label, begin, end, parent = map(int, words)
    return CtcTrack(label, begin, end, parent, number)


def _why_not(track: CtcTrack, before: Mapping[int, CtcTrack]) -> str:
    if not 1 <= track.label <= MAX_LABEL:
        return f"the label is {track.label}; labels count from 1 to {MAX_LABEL}. Correct it."
    if track.label in before:
        return (
            f"label {track.label} is in line {before[track.label].line} already; a track has one "
            "line. Remove one of them."
        )
    if track.begin > track.end:
        return (
            f"track {track.label} begins in frame {track.begin} and ends in frame {track.end}, "
            "before that. Correct it."
        )
    return ""


def _why_no_parent(track: CtcTrack, tracks: Mapping[int, CtcTrack]) -> str:
    if not track.parent:
        return ""
    what = f"track {track.label} has the parent {track.parent}"
    if track.parent == track.label:
        return f"{what}, itself. Write 0, or the track that it came from."
    parent = tracks.get(track.parent)
    if parent is None:
        return f"{what}, which has no line. Add it, or write 0."
    # Of a circle of parents one ends too late as well; but that is not what is wrong with it.
    seen = [track.label]
    while parent is not None and parent.label not in seen:
        seen.append(parent.label)
        parent = tracks.get(parent.parent)
    if parent is not None and parent.label == track.label:
        circle = " ← ".join(map(str, [*seen[:8], *(["…"] if len(seen) > 8 else []), track.label]))
        return f"{what}, which comes from it: {circle}. Write 0 for the first of them."
    parent = tracks[track.parent]
    if parent.end >= track.begin:
        return (
            f"{what}, but begins in frame {track.begin}, and the parent ends in frame "
            f"{parent.end}, line {parent.line}; a parent ends before its children begin. Correct "
            "one of them."
        )
    return ""
