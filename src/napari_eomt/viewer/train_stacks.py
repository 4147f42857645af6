"""Learning from open stacks as videos, with the tracks in them; without a window, no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_eomt.annotation.files import SUFFIX, save_document
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.errors import DataError
from napari_eomt.formats.image_files import storable, suffix_for, write_image
from napari_eomt.formats.safe_paths import folded, free_stem, safe_stem
from napari_eomt.structures.segments import Status
from napari_eomt.training.sources import decided_frames
from napari_eomt.viewer.train_dataset import FOLDERS, Prepared, WorkSource, quiet

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.annotation.document import Document
    from napari_eomt.training.split import Choice
    from napari_eomt.viewer.train_dataset import LearnRow, Parts, Tell


def as_video(row: LearnRow, document: Document | None) -> LearnRow:
    """Return the row of a stack as one of a video: its objects are its tracks.

    Parameters
    ----------
    row : LearnRow
        Of its frames as images.
    document : Document or None
        None if it is not open: nobody knows yet how long it is.
    """
    if document is None:
        return replace(row, n_images=0, is_video=True)
    index = TrackIndex.of(document)
    found: dict[int, int] = {}
    for frame in decided_frames(document):
        for segment in document.segments(frame).values():
            if segment.is_locked and segment.status is not Status.REJECTED:
                found.setdefault(index.numbers[frame, segment.id], segment.category_id)
    kinds = [document.categories[i] for i in found.values()]
    n_things = sum(category.is_thing for category in kinds)
    return replace(
        row,
        n_objects=n_things,
        n_regions=len(kinds) - n_things,
        found=Counter(kinds),
        is_video=True,
    )


class StackSource(WorkSource):
    """The same stacks as videos: each is learnt from with the tracks in it."""

    def write(
        self, parts: Parts, is_chosen: bool, val_fraction: float, folder: Path, tell: Tell = quiet
    ) -> Prepared:
        """Write the documents, and the frames that are learnt, as a dataset of the run's own.

        The documents stay as they are: learning from a stack exports nothing. See
        `LearnSource.write`.
        """
        chosen = [(r, item) for r, item in self._items if parts.of.get(r.key) in FOLDERS]
        notes: list[str] = []
        written: dict[Choice, int] = {"train": 0, "val": 0}
        taken: set[str] = set()
        for row, item in chosen:
            document = item.read()
            frames = decided_frames(document)
            if document.n_frames < 2 or not frames:
                notes.append(f"{item.name} is no stack, or nothing was decided: it is left out.")
                continue
            part = parts.of[row.key]
            stem = free_stem(safe_stem(item.name), lambda name: name in taken)
            taken.add(folded(stem))
            target = folder / FOLDERS[part] / stem
            target.mkdir(parents=True)
            pixels = item.pixels()
            for k, frame in enumerate(frames):
                tell(k, len(frames), item.name)
                image = storable(pixels.frame(frame))
                write_image(target / f"{frame:06d}{suffix_for(image)}", image)
            save_document(document, target.with_name(stem + SUFFIX))
            written[part] += 1
        if not written["train"]:
            raise DataError(
                "No stack is left to learn from: what was chosen are single images, or nothing "
                "was decided. Learn from them as images; or accept, correct or draw objects."
            )
        tell(len(chosen), len(chosen), "the documents are written")
        check = folder / FOLDERS["val"] if written["val"] else None
        fraction = val_fraction if parts.in_time else 0.0
        return Prepared(folder / FOLDERS["train"], check, fraction, tuple(notes))
