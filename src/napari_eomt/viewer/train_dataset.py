"""What a model is to learn from, image by image, and the work that is open; without a window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from napari_eomt.formats.coco_file import CocoFile, save_coco
from napari_eomt.formats.copies import left_out_text
from napari_eomt.formats.dataset import Dataset
from napari_eomt.formats.dataset_split import KEY
from napari_eomt.training.sources import decided_frames
from napari_eomt.training.split import Choice, split_images
from napari_eomt.training.video_split import split_in_time, why_no_time_split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.structures.categories import Category
    from napari_eomt.viewer.dataset_export import ExportItem

LEARN, CHECK = "learn.json", "check.json"
"""COCO files of the images that learn and that check, beside each other in a run's own dataset."""

FOLDERS: dict[Choice, str] = {"train": "learn", "val": "check"}
"""Of videos that have a folder each, beside each other likewise."""

_ALL_LEARN = "All videos learn: none is left to check whether learning helped."
_UNKNOWN_LENGTH = (
    "One video: its first frames learn and its last ones check, if it has enough of them. Another "
    "video would tell better whether learning helps."
)


@dataclass(frozen=True)
class LearnRow:
    """An image or a stack to learn from, or to check on.

    Parameters
    ----------
    key : str
    name : str
        What people call it.
    n_images : int
        Frames count as images. Of a video that was not opened yet it may be 0: not known.
    n_objects : int
        Countable things that somebody has decided about; of a video its tracks.
    shape : (H, W), optional
        Of each image, in pixels, where that is known.
    object_size : float, optional
        Median √area of the objects, in pixels, where that is known.
    n_regions : int
        Of stuff.
    found : dict of Category to int, optional
        How many objects and regions there are of each category, where that is known.
    is_video : bool
        Whether the frames are learnt from as a video, with the tracks in it.
    group : str
        The key of the first of the rows that this one is a copy of, where that is known: these
        learn together, or check.
    """

    key: str
    name: str
    n_images: int
    n_objects: int
    shape: tuple[int, int] | None = None
    object_size: float | None = None
    n_regions: int = 0
    found: Mapping[Category, int] | None = field(default=None, compare=False, repr=False)
    is_video: bool = False
    group: str = ""


@dataclass(frozen=True)
class Parts:
    """What each row is for, and what people should know about that.

    Parameters
    ----------
    of : dict of str to {"train", "val", "none"}
        By the rows' keys.
    notes : tuple of str
    in_time : bool
        Whether the only video is split in time, by the training itself.
    """

    of: dict[str, Choice]
    notes: tuple[str, ...] = ()
    in_time: bool = False

    def rows(self, rows: Sequence[LearnRow], part: Choice) -> list[LearnRow]:
        """Return the rows of a part."""
        return [row for row in rows if self.of.get(row.key) == part]

    def count(self, rows: Sequence[LearnRow], part: Choice) -> int:
        """Count the images of a part."""
        return sum(row.n_images for row in rows if self.of.get(row.key) == part)


@dataclass(frozen=True)
class Prepared:
    """What `napari-eomt train` is given.

    Parameters
    ----------
    dataset : Path
    val : Path or None
        COCO file of the images that check, if not some of the dataset's own do.
    val_fraction : float
        Of the dataset's own.
    notes : tuple of str
    """

    dataset: Path
    val: Path | None
    val_fraction: float
    notes: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return it as the command takes it."""
        if self.val is not None:
            # The page has made both parts, and nobody could take an image out of one.
            return [str(self.dataset), "--val", str(self.val), "--leave-out-copies"]
        return [str(self.dataset), "--val-fraction", f"{self.val_fraction:g}"]


Tell = Callable[[int, int, str], None]
"""Told how many pieces of how many are written, and what the next one is called."""


def quiet(n_written: int, n: int, name: str) -> None:
    """Tell nobody."""


class LearnSource(Protocol):
    """Where there is something to learn from: open work, or a dataset on disk."""

    rows: tuple[LearnRow, ...]

    def write(
        self, parts: Parts, is_chosen: bool, val_fraction: float, folder: Path, tell: Tell = quiet
    ) -> Prepared:
        """Make ready what a training reads.

        Parameters
        ----------
        parts : Parts
            What each row is for.
        is_chosen : bool
            Whether somebody chose among the rows: else a dataset on disk is read where it is.
        val_fraction : float
            Of the images that check, where the training itself parts them.
        folder : Path
            The run's own, in which a dataset may be written.
        tell : callable

        Raises
        ------
        EomtError
            If a file is not there or cannot be read, or the dataset cannot be written.
        """


def parts_of(
    rows: Sequence[LearnRow], val_fraction: float, choices: Mapping[str, Choice], gap: int = 5
) -> Parts:
    """Decide what each row is for: as a person chose, else by its name.

    What is chosen to learn and is a copy of what is chosen to check is left out.

    Parameters
    ----------
    rows : sequence of LearnRow
    val_fraction : float
        Of the images; 0: none checks but what is chosen to.
    choices : dict of str to {"train", "val", "none"}
        By the rows' keys.
    gap : int
        Frames that are left out where a single video is split in time; see `split_in_time`.

    Raises
    ------
    DataError
        If there is nothing to learn from.
    """
    sizes = {row.key: max(1, row.n_images) for row in rows}
    groups = {row.key: row.group or row.key for row in rows}
    checking = {groups[key] for key, part in choices.items() if part == "val" and key in groups}
    copies = [k for k, part in choices.items() if part == "train" and groups.get(k) in checking]
    wanted: dict[str, Choice] = {**choices, **dict.fromkeys(copies, "none")}
    found = split_images({key: key for key in groups}, val_fraction, wanted, sizes, groups)
    told: tuple[str, ...] = ()
    if copies:
        names = [row.name for row in rows if row.key in copies]
        told = (left_out_text(names, len(found.train) + len(copies)),)
    of: dict[str, Choice] = {row.key: "none" for row in rows}
    for key in found.train:
        of[key] = "train"
    for key in found.val:
        of[key] = "val"
    if not any(row.is_video for row in rows):
        return Parts(of, (*told, *found.notes))
    if found.val or val_fraction <= 0:
        return Parts(of, told)
    left = [row for row in rows if of[row.key] == "train"]
    if len({groups[row.key] for row in left}) > 1 or any(row.key in choices for row in left):
        return Parts(of, (_ALL_LEARN,))
    n = max(row.n_images for row in left)
    if not n:
        return Parts(of, (_UNKNOWN_LENGTH,), in_time=True)
    parts = split_in_time(n, val_fraction, gap)
    note = why_no_time_split(n, gap) if parts is None else str(parts)
    return Parts(of, (note,), in_time=True)


class WorkSource:
    """The open image, or the images of the open folder, of which something was decided.

    Parameters
    ----------
    items : sequence of (LearnRow, ExportItem)
    """

    def __init__(self, items: Sequence[tuple[LearnRow, ExportItem]]) -> None:
        self.rows = tuple(row for row, _ in items)
        self._items = tuple(items)

    def write(
        self, parts: Parts, is_chosen: bool, val_fraction: float, folder: Path, tell: Tell = quiet
    ) -> Prepared:
        """Write the images and what was decided about them as a dataset of the run's own.

        The documents stay as they are: learning from an image exports nothing. See
        `LearnSource.write`.
        """
        ids: dict[int, Choice] = {}
        notes: dict[str, None] = {}
        chosen = [(r, item) for r, item in self._items if parts.of.get(r.key) in ("train", "val")]
        with Dataset.create(folder) as dataset:
            for k, (row, item) in enumerate(chosen):
                tell(k, len(chosen), item.name)
                document = item.read()
                frames = decided_frames(document)
                if not frames:
                    continue
                added = dataset.add(
                    item.pixels(), document, name=item.name, source_path=item.path, frames=frames
                )
                ids |= dict.fromkeys(added.image_ids, parts.of[row.key])
                notes |= dict.fromkeys(added.notes)
            tell(len(chosen), len(chosen), "writing the dataset")
            dataset.save()
            return with_parts(dataset.file, folder, ids, tuple(notes))


def typical_size(areas: Iterable[float]) -> float | None:
    """Return the median √area; None if no area is known.

    Parameters
    ----------
    areas : iterable of float
        In pixels; those that are not known are 0.
    """
    known = sorted(area for area in areas if area > 0)
    return float(known[len(known) // 2]) ** 0.5 if known else None


def with_parts(
    file: CocoFile, folder: Path, ids: Mapping[int, Choice], notes: tuple[str, ...] = ()
) -> Prepared:
    """Write the COCO files of both parts, of instances or panoptic.

    Parameters
    ----------
    file : CocoFile
        Of the whole.
    folder : Path
        In which the images lie already.
    ids : dict of int to {"train", "val"}
        The part of each image.
    notes : tuple of str
        What the user should know.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    learn = _write_part(file, folder / LEARN, {i for i, part in ids.items() if part == "train"})
    check = {i for i, part in ids.items() if part == "val"}
    val = _write_part(file, folder / CHECK, check) if check else None
    return Prepared(learn, val, 0.0, notes)


def _write_part(file: CocoFile, path: Path, ids: set[int]) -> Path:
    images: list[Record] = [record for record in file.images if record["id"] in ids]
    # How the whole was split says nothing about a part.
    extra = {name: value for name, value in file.extra.items() if name != KEY}
    part = replace(file, images=images, videos=[], extra=extra)
    save_coco(part, path, (r for r in file.annotations if r.get("image_id") in ids))
    return path
