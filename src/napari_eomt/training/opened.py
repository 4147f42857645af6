"""Annotated images on disk as a training reads them: COCO instances, or COCO panoptic. No torch."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from napari_eomt.errors import DataError
from napari_eomt.evaluation.truth import PanopticTruth, load_annotated
from napari_eomt.formats.coco_panoptic import PanopticFile
from napari_eomt.formats.dataset import Dataset
from napari_eomt.formats.dataset_images import find_image, image_files, roots_of
from napari_eomt.formats.slices import check_record
from napari_eomt.training.image_files import check_files
from napari_eomt.training.sources import DatasetSource, ImageEntry, entry_of
from napari_eomt.training.survey import MAX_SURVEYED, evenly
from napari_eomt.training.video_opened import OpenedVideos, Videos, videos_at, videos_of

if TYPE_CHECKING:
    from napari_eomt.formats.slices import ImagePlace
    from napari_eomt.structures.frames import Frame
    from napari_eomt.structures.segments import Segmentation
    from napari_eomt.training.sources import ImageSource

Annotated: TypeAlias = Dataset | PanopticFile | Videos
"""What is read from: instances, segments in PNGs, or videos with tracks."""

_N_NAMED = 8


class PanopticSource:
    """The images of a COCO panoptic dataset that have a PNG: the others were not annotated.

    What is void in a PNG is background, as in the published recipe.

    Parameters
    ----------
    panoptic : PanopticFile

    Raises
    ------
    DataError
        If no image was annotated, or images or PNGs are not there.
    """

    def __init__(self, panoptic: PanopticFile) -> None:
        self._truth = PanopticTruth(panoptic)
        # A decoder's limits are set for the whole process while it reads, so one reads at a time.
        self._lock = threading.Lock()
        if not self._truth.image_ids:
            raise DataError(
                f"{panoptic.path} has no annotated image: there is nothing to learn from. Add "
                "images with their segments."
            )
        self.categories = self._truth.categories
        records = [panoptic.file.image_by_id[image_id] for image_id in self._truth.image_ids]
        self.entries: tuple[ImageEntry, ...] = tuple(entry_of(r, panoptic.file) for r in records)
        check_files(panoptic.path, records, panoptic.png_of)

    def frame(self, key: str) -> Frame:
        """Read the pixels of an image.

        Raises
        ------
        DataError
            If it cannot be read, or is of another size than the dataset says.
        """
        with self._lock:
            return self._truth.image(int(key))

    def segmentation(self, key: str) -> Segmentation:
        """Read the segments of an image.

        Raises
        ------
        DataError
            If its PNG cannot be read, or does not fit the JSON.
        """
        with self._lock:
            return self._truth.segmentation(int(key))


@dataclass(frozen=True, eq=False)
class Opened:
    """A dataset that is open to be learnt from.

    Parameters
    ----------
    data : Dataset or PanopticFile
    source : ImageSource
        Its images.
    """

    data: Dataset | PanopticFile
    source: ImageSource

    @property
    def path(self) -> Path:
        """Of its JSON."""
        return self.data.path

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of it."""
        if isinstance(self.data, Dataset):
            return self.data.notes
        return tuple(map(str, self.data.file.problems))

    @property
    def files(self) -> dict[str, ImagePlace]:
        """Where its images are, by their keys."""
        file = self.data.file
        records = [file.image_by_id[int(entry.key)] for entry in self.source.entries]
        return image_files(self.path, records, file)

    @property
    def val_fraction(self) -> float | None:
        """The fraction of images that check, if the dataset is split."""
        return self.data.val_fraction if isinstance(self.data, Dataset) else None


def open_dataset(dataset: Annotated | Path | str) -> Opened | OpenedVideos:
    """Open annotated images, or videos with tracks, to learn from.

    Parameters
    ----------
    dataset : Dataset, PanopticFile, Videos, Path or str
        Or a path: of a folder with a COCO file, of a COCO file of instances or panoptic, of one of
        YouTube-VIS, of a folder of the Cell Tracking Challenge, or of documents or one of them.

    Raises
    ------
    DataError
        If it cannot be read, has no images, files of some are not there, are no images or of
        another size than it says, or several images are of one file and not different frames of
        it.
    """
    if isinstance(dataset, Path | str):
        dataset = videos_at(Path(dataset)) or load_annotated(dataset)
    if isinstance(dataset, Dataset):
        dataset = videos_of(dataset) or dataset
    if isinstance(dataset, Videos):
        return OpenedVideos(dataset)
    source: ImageSource
    if isinstance(dataset, PanopticFile):
        source = PanopticSource(dataset)
    else:
        source = DatasetSource(dataset)
    opened = Opened(dataset, source)
    _check_names(opened)
    _check_headers(opened)
    return opened


def _check_names(opened: Opened) -> None:
    """Refuse pixels that are there twice: to each the objects of the other would be background."""
    entries = opened.source.entries
    names = Counter(entry.name for entry in entries)
    twice = [name for name, n in names.items() if n > 1]
    if twice:
        same = [entry.key for entry in entries if entry.name == twice[0]]
        ids = ", ".join(same[:_N_NAMED]) + (", …" if len(same) > _N_NAMED else "")
        first = opened.data.file.image_by_id[int(same[0])]
        what = "files" if first.get("frame") is None else "frames"
        raise DataError(
            f"{opened.path}: {len(twice)} of {len(names)} {what} are there as several images; the "
            f"first is {twice[0]}, as the images {ids}. What is annotated in one would be "
            "background in the other. Put their annotations together; or, if they are slices of a "
            "stack, say which by 'frame', counted from 0."
        )


def _check_headers(opened: Opened) -> None:
    """Refuse what is no image, or of another size, before hours of work are spent."""
    roots, file = roots_of(opened.path), opened.data.file
    entries = evenly(opened.source.entries, MAX_SURVEYED)
    wrong: list[DataError] = []
    for entry in entries:
        record = file.image_by_id[int(entry.key)]
        path = find_image(roots, record)
        try:
            if path is not None:
                check_record(path, record, is_shared=file.is_shared(record))
        except DataError as error:
            wrong.append(error)
    if wrong:
        raise DataError(f"{len(wrong)} of {len(entries)} images cannot be used. {wrong[0]}")
