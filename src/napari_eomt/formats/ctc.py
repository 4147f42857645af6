"""Cell Tracking Challenge: a folder of a label image for each frame, and a table of tracks.

References are man_track.txt with man_track000.tif …, results res_track.txt with mask000.tif …. A
pixel is the label of its track. A track is in each frame from its first to its last: what is gone
for a while is written as several, each the only child of the one before, and read back as one.
Categories, scores, decisions and notes cannot be said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.label_pages import measured
from napari_eomt.errors import DataError
from napari_eomt.formats.changes import opened, renumbered
from napari_eomt.formats.ctc_table import TABLES, CtcTrack, find_ctc, read_ctc_table
from napari_eomt.formats.id_pixels import read_id_pixels
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import TypeAlias

    from napari_eomt.structures.segments import IdMap

    _Problem: TypeAlias = Callable[[str], None]

_MAX_FRAMES = 100_000


def read_ctc(
    path: Path, *, skip_invalid: bool = False, problems: list[str] | None = None
) -> Document:
    """Read tracks: the segments of a track have its label as id and as `track_id`.

    Parameters
    ----------
    path : Path
        A table, or the folder of one.
    skip_invalid : bool
        Whether what makes no sense is left out.
    problems : list of str, optional
        Filled with what was left out.

    Returns
    -------
    Document
        One category, all accepted: the format knows no other.

    Raises
    ------
    DataError
        If a file cannot be read, an image is missing, or images and table do not fit each other.
    """

    def problem(message: str) -> None:
        if not skip_invalid:
            raise DataError(message)
        if problems is not None:
            problems.append(message)

    tables = find_ctc(path)
    if len(tables) != 1:
        raise DataError(
            f"{path} has {len(tables)} tables of tracks ({', '.join(TABLES)}); choose the folder "
            "of one, with its images."
        )
    (table,) = tables
    tracks = read_ctc_table(table, problem)
    images = _images(table, tracks, problem)
    size = _size(next(image for image in images if image is not None))
    try:
        document = Document((len(images),), size, [Category(1, "cell")])
    except (MemoryError, ValueError) as error:
        raise DataError(
            f"{table.parent}: {len(images)} frames of {size[0]} × {size[1]} pixels do not fit into "
            "memory. Split them."
        ) from error
    whole = _whole(tracks)
    parents = {whole[t.label]: t.parent for t in tracks.values() if whole[t.label] == t.label}
    document.hold(max(tracks, default=0))
    for frame, image in enumerate(images):
        expected = {t.label for t in tracks.values() if t.begin <= frame <= t.end}
        if image is None:
            continue
        raw = _pixels(image, size)
        there = measured(raw)
        _agree(table, image, frame, set(there), expected, tracks, problem)
        kept = [i for i in there if i in expected]
        segments = [
            Segment(
                whole[i],
                1,
                status=Status.ACCEPTED,
                track_id=whole[i],
                area=there[i][0],
                bbox=there[i][1],
                parent_track_id=whole.get(parents[whole[i]]),
            )
            for i in kept
        ]
        changes = tuple(SegmentChange(frame, None, segment) for segment in segments)
        document.apply(Edit("Open", segments=changes, states=opened(frame, segments)), pixels=False)
        document.id_map(frame)[...] = renumbered(raw, {i: whole[i] for i in kept})
    return document


def _images(table: Path, tracks: Mapping[int, CtcTrack], problem: _Problem) -> list[Path | None]:
    """Return the image of each frame; None for those that are missing and left out."""
    name = re.compile(rf"{TABLES[table.name]}(\d{{3,6}})\.tiff?", re.ASCII | re.IGNORECASE)
    found: dict[int, Path] = {}
    for path in sorted(table.parent.iterdir()):
        match = name.fullmatch(path.name)
        if match is None:
            continue
        frame = int(match[1])
        if frame in found:
            raise DataError(
                f"{table.parent} has two images of frame {frame}: {found[frame].name} and "
                f"{path.name}. Remove one of them."
            )
        found[frame] = path
    if not found:
        raise DataError(
            f"{table.parent} has no images {TABLES[table.name]}000.tif …; {table.name} needs them "
            "beside it. Take both from one copy."
        )
    last = max(found)
    if last >= _MAX_FRAMES:
        raise DataError(f"{found[last]}: up to {_MAX_FRAMES} frames are read. Correct its name.")
    for track in tracks.values():
        if track.end > last:
            problem(
                f"{table.name}, line {track.line}: track {track.label} ends in frame {track.end}; "
                f"the last image is {found[last].name}. Add the images, or correct the line."
            )
    for frame in range(last):
        if frame not in found:
            problem(
                f"{table.parent}: the image of frame {frame}, {TABLES[table.name]}{frame:03d}.tif, "
                f"is missing; there are frames up to {last}. Take it from a copy."
            )
    return [found.get(frame) for frame in range(last + 1)]


def _pixels(path: Path, size: tuple[int, int] | None) -> IdMap:
    pixels = read_id_pixels(path)
    if pixels.ndim != 2:
        raise DataError(
            f"{path.name} is {pixels.shape}: a volume. Images of two axes, (H, W), are read; "
            "choose a 2-D sequence, or one plane of this."
        )
    if size is not None and pixels.shape != size:
        raise DataError(
            f"{path.name} is {pixels.shape}, the image before {size}. All frames of a sequence are "
            "of one size; take them from one copy."
        )
    return pixels


def _size(path: Path) -> tuple[int, int]:
    height, width = _pixels(path, None).shape
    return height, width


def _agree(
    table: Path,
    image: Path,
    frame: int,
    there: set[int],
    expected: set[int],
    tracks: Mapping[int, CtcTrack],
    problem: _Problem,
) -> None:
    for label in sorted(there - expected):
        track = tracks.get(label)
        if track is None:
            problem(
                f"{image.name} has the label {label}, which has no line in {table.name}. Add "
                f"'{label} {frame} {frame} 0', or remove its pixels."
            )
        else:
            problem(
                f"{image.name} has the label {label} in frame {frame}; {table.name}, line "
                f"{track.line}, says frames {track.begin} to {track.end}. Correct one of them."
            )
    for label in sorted(expected - there):
        track = tracks[label]
        problem(
            f"{table.name}, line {track.line}: track {label} is in frames {track.begin} to "
            f"{track.end}, but {image.name} has no pixel of it. Split the track where it is gone: "
            "the later one has the earlier as its parent."
        )


def _whole(tracks: Mapping[int, CtcTrack]) -> dict[int, int]:
    """Return the label of the first piece by that of each piece of a track with gaps."""
    n_children: dict[int, int] = {}
    for track in tracks.values():
        n_children[track.parent] = n_children.get(track.parent, 0) + 1
    found: dict[int, int] = {}
    # A parent begins before its children do.
    for track in sorted(tracks.values(), key=lambda t: t.begin):
        parent = tracks.get(track.parent)
        # A cell that divides has two children; what comes after a pause, alone, is the same cell.
        is_same = (
            parent is not None and n_children[parent.label] == 1 and track.begin > parent.end + 1
        )
        found[track.label] = found[track.parent] if is_same else track.label
    return found
