"""The tracks of a document written as the Cell Tracking Challenge has them; see `ctc`."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_eomt.annotation.label_pages import write_pages
from napari_eomt.annotation.tracks import TrackIndex, track_table
from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_swap import swapping
from napari_eomt.formats.changes import renumbered
from napari_eomt.formats.ctc_table import MAX_LABEL, TABLES, CtcTrack, ctc_images, write_ctc_table
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.annotation.document import Document
    from napari_eomt.structures.tracks import Track

CtcKind = Literal["man_track", "mask"]


def save_ctc(
    document: Document,
    folder: Path,
    *,
    kind: CtcKind = "man_track",
    overwrite: bool = False,
    notes: list[str] | None = None,
) -> tuple[CtcTrack, ...]:
    """Write the tracks of a document, whole or not at all.

    The label of a track is its number, if that is from 1 to 65,535; what is gone for a while is
    written as several tracks, of which each is the parent of the next.

    Parameters
    ----------
    document : Document
        With one axis of frames.
    folder : Path
        The files lie in it side by side: in the challenge, 01_GT/TRA or 01_RES.
    kind : {"man_track", "mask"}
        A reference, man_track.txt with man_track000.tif …, or a result, res_track.txt with
        mask000.tif …; four digits from 1,001 frames on.
    overwrite : bool
        Whether tracks of this format that are there are replaced.
    notes : list of str, optional
        Filled with what the format cannot hold, for people.

    Returns
    -------
    tuple of CtcTrack
        The lines of the table.

    Raises
    ------
    DataError
        If the document is not a stack of frames, or has too many tracks.
    OutputError
        If it cannot be written, or something else is there.
    """
    if len(document.frame_shape) != 1:
        what = "an image" if not document.frame_shape else f"a stack of {document.frame_shape}"
        raise DataError(
            f"{folder}: the document is {what}; tracks have one axis of frames. Give a stack with "
            "one axis beside height and width."
        )
    _check_out(folder, overwrite)
    said: list[str] = []
    index, tracks = TrackIndex.of(document), track_table(document).tracks()
    pieces, labels = _labels(tracks, said)
    rows = _rows(tracks, pieces, said)
    said += _losses(document)
    table = next(name for name, images in TABLES.items() if images == kind)
    names = ctc_images(folder / table, document.n_frames)
    try:
        with swapping(folder) as temporary:
            for frame in range(document.n_frames):
                numbers = {
                    i: labels[index.numbers[frame, i], frame]
                    for i in document.segments(frame)
                    if (index.numbers.get((frame, i)), frame) in labels
                }
                page = renumbered(document.id_map(frame), numbers) if numbers else None
                write_pages(
                    temporary / names[frame], [page], document.image_shape, np.dtype(np.uint16), 1
                )
            write_ctc_table(temporary / table, rows)
    except OSError as error:
        raise OutputError(
            f"{folder}: the tracks cannot be written ({error.strerror or error}). Free the disk, "
            "or choose another folder."
        ) from error
    if notes is not None:
        notes += said
    return rows


def _labels(
    tracks: tuple[Track, ...], notes: list[str]
) -> tuple[dict[int, list[CtcTrack]], dict[tuple[int, int], int]]:
    """Return the pieces of each track, and the label of each track in each frame."""
    numbers = [t.track_id for t in tracks]
    names = {i: i for i in numbers}
    if numbers and not 1 <= min(numbers) <= max(numbers) <= MAX_LABEL:
        names = {i: k for k, i in enumerate(numbers, 1)}
        notes.append(
            f"ids of tracks from {min(numbers)} to {max(numbers)} were numbered anew, from 1: "
            f"labels go from 1 to {MAX_LABEL}"
        )
    n_pieces = sum(1 + len(t.gaps) for t in tracks)
    if n_pieces > MAX_LABEL:
        raise DataError(
            f"There are {n_pieces} tracks, those with gaps counted in pieces; labels go from 1 to "
            f"{MAX_LABEL}. Write a part of the frames, or another format."
        )
    taken = set(names.values())
    # After the largest, so that labels of other tracks stay; if that is not enough, in between.
    last = max(taken, default=0)
    free = (i for i in chain(range(last + 1, MAX_LABEL + 1), range(1, last)) if i not in taken)
    pieces: dict[int, list[CtcTrack]] = {}
    labels: dict[tuple[int, int], int] = {}
    for track in tracks:
        begins = [track.begin, *(stop for _, stop in track.gaps)]
        ends = [*(first - 1 for first, _ in track.gaps), track.end]
        here: list[CtcTrack] = []
        for begin, end in zip(begins, ends, strict=True):
            label = next(free) if here else names[track.track_id]
            here.append(CtcTrack(label, begin, end, here[-1].label if here else 0))
            labels |= {(track.track_id, frame): label for frame in range(begin, end + 1)}
        pieces[track.track_id] = here
    n_gaps = sum(len(t.gaps) > 0 for t in tracks)
    if n_gaps:
        notes.append(
            f"{n_gaps} tracks with gaps were written in pieces, each the parent of the next"
        )
    return pieces, labels


def _rows(
    tracks: tuple[Track, ...],
    pieces: dict[int, list[CtcTrack]],
    notes: list[str],
) -> tuple[CtcTrack, ...]:
    rows: list[CtcTrack] = []
    n_lost = n_alone = 0
    siblings = Counter(track.parent for track in tracks)
    for track in tracks:
        first, *others = pieces[track.track_id]
        parent = pieces.get(track.parent, []) if track.parent is not None else []
        if parent and parent[-1].end < first.begin:
            n_alone += siblings[track.parent] == 1 and first.begin > parent[-1].end + 1
            first = CtcTrack(first.label, first.begin, first.end, parent[-1].label)
        elif track.parent is not None:
            n_lost += 1
        rows += [first, *others]
    if n_lost:
        notes.append(
            f"{n_lost} tracks were written without their parent, which is not there, or does not "
            "end before they begin"
        )
    if n_alone:
        notes.append(
            f"{n_alone} tracks that begin some frames after their parent has ended, without a "
            "sibling, will be read as the same track, with a gap"
        )
    return tuple(sorted(rows, key=lambda row: row.label))


def _losses(document: Document) -> list[str]:
    """Return what the tracks of a document say that the format cannot."""
    shown = [s for _, s in document.iter_segments() if s.status is not Status.REJECTED]
    things = [s for s in shown if s.is_thing]
    found = {
        "areas of stuff were left out: only things have tracks": len(shown) - len(things),
        "crowds were written as one track each": sum(s.is_crowd for s in things),
    }
    notes = [f"{n} {what}" for what, n in found.items() if n]
    said = {
        f"categories ({len({s.category_id for s in things})})": len({s.category_id for s in things})
        > 1,
        "scores": any(s.score is not None for s in things),
        "decisions": any(s.status is not Status.ACCEPTED or s.locked for s in things),
        "notes": any(s.note for s in things),
    }
    lost = [what for what, is_there in said.items() if is_there]
    if lost:
        notes.append(f"the format holds no {', '.join(lost)}: they are not written")
    return notes


def _check_out(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file. Choose another name for the folder of tracks.")
    there = [path.name for path in folder.iterdir()]
    if there and not overwrite:
        raise OutputError(f"{folder} is there already. Choose another name, or overwrite it.")
    ours = (*TABLES, *TABLES.values())
    other = [name for name in there if not name.startswith(ours)]
    if other:
        raise OutputError(
            f"{folder} has other files in it, such as {other[0]}: it is not replaced. Choose "
            "another folder."
        )
