"""What there is in the images that learn: counted before, to say what is wrong. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.training.labels import listed
from napari_eomt.training.truth import truth_of
from napari_eomt.training.video_choice import n_videos

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_eomt.structures.segments import Task
    from napari_eomt.training.labels import LabelMap
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.sources import ImageEntry, ImageSource

MAX_SURVEYED = 2000
"""Of more images so many are counted, evenly spread: reading COCO's 118,287 takes minutes."""

_N_FEW = 32


@dataclass(frozen=True, eq=False)
class Survey:
    """What there is in some images.

    Parameters
    ----------
    n_images : int
        That were counted.
    n_objects : tuple of int
        Of each label: objects, or regions.
    object_sizes : dict of str to (float or None)
        By image: median √area of its things, in pixels.
    object_size : float or None
        Median of these.
    n_empty, n_with_ignored : int
        Images without an object, and images of which something is ignored.
    notes : tuple of str
        What the user should know.
    """

    n_images: int
    n_objects: tuple[int, ...]
    object_sizes: Mapping[str, float | None]
    object_size: float | None
    n_empty: int
    n_with_ignored: int
    notes: tuple[str, ...] = ()


def survey(
    source: ImageSource,
    entries: Sequence[ImageEntry],
    labels: LabelMap,
    task: Task,
    params: TrainParams,
    *,
    max_images: int | None = MAX_SURVEYED,
) -> Survey:
    """Count what there is in the images that learn.

    Parameters
    ----------
    source : ImageSource
    entries : sequence of ImageEntry
        The images that learn.
    labels : LabelMap
    task : {"instance", "semantic", "panoptic"}
    params : TrainParams
    max_images : int, optional
        Of more, so many are counted; None counts all.

    Raises
    ------
    DataError
        If none of them has an object, or annotations cannot be read.
    """
    counted = evenly(entries, max_images)
    n_objects = np.zeros(len(labels.categories), np.int64)
    sizes: dict[str, float | None] = {}
    n_empty = n_with_ignored = 0
    for entry in counted:
        annotations = source.segmentation(entry.key)
        truth = truth_of(annotations, labels, task, params.undecided, entry.name)
        n_objects += np.bincount(truth.labels, minlength=len(n_objects))
        sizes[entry.key] = truth.object_size
        n_empty += not (truth.labels != labels.background).any()
        n_with_ignored += truth.ignore is not None
    if not np.delete(n_objects, [] if labels.background is None else labels.background).any():
        raise DataError(_nothing_to_learn(len(counted), task, n_with_ignored, labels))
    known = [size for size in sizes.values() if size is not None]
    notes: list[str] = []
    what = "frames" if n_videos([entry.key for entry in counted]) else "images"
    if n_empty:
        notes.append(f"{n_empty} of {len(counted)} {what} have no objects: all is background.")
    if n_with_ignored:
        notes.append(
            f"{n_with_ignored} of {len(counted)} {what} have crowds or undecided objects, which "
            "are ignored."
        )
    # Of images that were not counted it may have some.
    if len(counted) == len(entries):
        notes += _missing(labels, n_objects.tolist(), task)
    return Survey(
        len(counted),
        tuple(n_objects.tolist()),
        sizes,
        float(np.median(known)) if known else None,
        n_empty,
        n_with_ignored,
        tuple(notes),
    )


def void_share(source: ImageSource, entries: Sequence[ImageEntry]) -> float:
    """Return the part of the pixels that nobody has annotated, 0 to 1, in a few of the images."""
    id_maps = [source.segmentation(entry.key).id_map for entry in evenly(entries, _N_FEW)]
    n_pixels = sum(id_map.size for id_map in id_maps)
    return sum(int((id_map == 0).sum()) for id_map in id_maps) / max(1, n_pixels)


def evenly(entries: Sequence[ImageEntry], n: int | None) -> list[ImageEntry]:
    """Return all images or, of more than `n`, so many that are evenly spread."""
    if n is None or len(entries) <= n:
        return list(entries)
    return [entries[k] for k in np.linspace(0, len(entries) - 1, n).astype(int)]


def _missing(labels: LabelMap, n_objects: Sequence[int], task: Task) -> list[str]:
    wanted = sorted(set(labels.label_of.values()))
    stuff = [k for k in wanted if not labels.categories[k].is_thing]
    notes = []
    if task == "instance" and stuff:
        names = listed(labels.categories[k].name for k in stuff)
        notes.append(f"Objects are learnt one by one: stuff, {names}, is background.")
        wanted = [k for k in wanted if labels.categories[k].is_thing]
    absent = [k for k in wanted if not n_objects[k]]
    if absent:
        names = listed(labels.categories[k].name for k in absent)
        notes.append(f"No image that learns has {names}: the model cannot learn what that is.")
    return notes


def _nothing_to_learn(n_images: int, task: Task, n_with_ignored: int, labels: LabelMap) -> str:
    start = f"None of the {n_images} images that learn has an object that can be learnt"
    has_things = any(labels.categories[k].is_thing for k in labels.label_of.values())
    if task == "instance" and not has_things:
        return (
            f"{start} one by one: all categories are stuff. Choose the task semantic or panoptic."
        )
    if n_with_ignored:
        return f"{start}: all are crowds or undecided. Accept or correct some first."
    return f"{start}. Annotate some objects first."
