"""The results of a tracked video: labels, a table, and the formats of the challenges."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.atomic import replacing
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_categories import write_categories
from napari_eomt.formats.coco_file import CocoFile
from napari_eomt.formats.ctc_write import save_ctc
from napari_eomt.formats.tracks_csv import save_tracks_csv
from napari_eomt.formats.ytvis import save_ytvis
from napari_eomt.inference.results import ResultWriter
from napari_eomt.structures.segments import Segmentation
from napari_eomt.structures.tracks import TrackTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.inference.video_spool import FrameSpool
    from napari_eomt.structures.categories import Category

FORMATS = ("tiff", "csv", "ctc", "ytvis")
"""What can be written; in memory of one frame: the first two."""


def result_path(out: Path, stem: str, name: str) -> Path:
    """Return where a format's result lies."""
    if name == "ctc":
        return out / f"{stem}_RES"
    return out / f"{stem}{ {'tiff': '.tif', 'csv': '.csv', 'ytvis': '.json'}[name] }"


def write_results(
    spool: FrameSpool,
    out: Path,
    stem: str,
    formats: Sequence[str],
    categories: Sequence[Category],
    *,
    file_names: Sequence[str] | None = None,
    overwrite: bool = False,
    notes: list[str],
) -> tuple[dict[str, Path], int]:
    """Write what a run has found, each result whole or not at all.

    Parameters
    ----------
    spool : FrameSpool
        With at least one frame.
    out : Path
        Folder.
    stem : str
        Name of the results.
    formats : sequence of str
        Of `FORMATS`.
    categories : sequence of Category
        The model's.
    file_names : sequence of str, optional
        Of the frames, if they are files.
    overwrite : bool
    notes : list of str
        Filled with what a format cannot hold.

    Returns
    -------
    (dict of str to Path, int)
        Where each result lies, and how many tracks of things there are.

    Raises
    ------
    OutputError
        If something cannot be written.
    DataError
        If a format cannot hold the tracks, or needs more memory than there is.
    """
    paths = {name: result_path(out, stem, name) for name in formats}
    table = TrackTable()
    n_frames, first = spool.n_frames, next(iter(spool))
    with ExitStack() as stack:
        labels = None
        if "tiff" in paths:
            part = stack.enter_context(replacing(paths["tiff"]))
            labels = stack.enter_context(
                ResultWriter(part, None, first.shape, (n_frames,), "T", categories)
            )
        for frame, found in enumerate(spool):
            if labels is not None:
                labels.add(frame, found)
            things = tuple(s for s in found.segments if s.is_thing)
            table.add(frame, Segmentation(found.id_map, things))
    tracks = table.tracks()
    if "csv" in paths:
        known = {category.id: category for category in categories}
        save_tracks_csv(table, paths["csv"], categories=known, overwrite=True)
    if "ctc" in paths or "ytvis" in paths:
        document = _document(spool, first.shape, categories)
        if "ctc" in paths:
            save_ctc(document, paths["ctc"], kind="mask", overwrite=overwrite, notes=notes)
        if "ytvis" in paths:
            height, width = first.shape
            video: dict[str, Any] = {"id": 1, "height": height, "width": width, "length": n_frames}
            if file_names is not None:
                video["file_names"] = list(file_names)
            file = CocoFile(write_categories(categories, []), videos=[video])
            save_ytvis(file, paths["ytvis"], [(1, document)], notes=notes)
    return paths, len(tracks)


def _document(
    spool: FrameSpool, shape: tuple[int, int], categories: Sequence[Category]
) -> Document:
    """Return all frames as a document, which is what these formats are written from."""
    try:
        document = Document((spool.n_frames,), shape, categories)
        for frame, found in enumerate(spool):
            document.hold(max((s.id for s in found.segments), default=0))
            document.id_map(frame)[...] = found.id_map
            changes = tuple(SegmentChange(frame, None, s) for s in found.segments)
            document.apply(Edit("Track", segments=changes), pixels=False)
    except (MemoryError, ValueError) as error:
        raise DataError(
            f"{spool.n_frames} frames of {shape[0]} × {shape[1]} px do not fit into memory, as "
            "the formats ctc and ytvis need. Choose tiff and csv, or fewer frames."
        ) from error
    return document
