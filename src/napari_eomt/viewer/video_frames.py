"""The frames of exported videos as images, where YouTube-VIS has them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.formats.coco_file import load_coco, save_coco
from napari_eomt.formats.dataset_images import PendingImages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_eomt.structures.frames import FrameSource

JPEG_IMAGES = "JPEGImages"


class VideoFrames:
    """Writes ``JPEGImages/NAME/00000.png`` and so on, all of them or none; without loss.

    Parameters
    ----------
    folder : Path
        Of the dataset.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder / JPEG_IMAGES
        self._videos: list[tuple[PendingImages, list[str]]] = []

    def put(self, stem: str, source: FrameSource, tell: Callable[[int, int], None]) -> None:
        """Write the frames of the next video aside.

        Parameters
        ----------
        stem : str
            Name of its folder.
        source : FrameSource
        tell : callable
            Given the frame, before it is read, and how many there are; what it raises ends it.

        Raises
        ------
        DataError
            If a frame cannot be read.
        OutputError
            If an image cannot be written.
        """
        images = PendingImages(self._root / stem)
        names: list[str] = []
        self._videos.append((images, names))
        for frame in range(source.n_frames):
            tell(frame, source.n_frames)
            pixels = np.asarray(source.frame(frame))
            names.append(f"{stem}/{images.put(pixels, f'{frame:05d}', lambda _: False)}")

    def save(self, made: Path, out: Path) -> None:
        """Give the images their names, and write a file of these videos that says so.

        Parameters
        ----------
        made : Path
            The file as it was made from the documents; its videos are in the order of `put`.
        out : Path
            Where it goes.

        Raises
        ------
        OutputError
            If something cannot be written.
        """
        file = load_coco(made)
        pairs = zip(file.videos, self._videos, strict=True)
        videos = [video | {"file_names": names} for video, (_, names) in pairs]
        for images, _ in self._videos:
            images.place()
        save_coco(replace(file, videos=videos), out)
        for images, _ in self._videos:
            images.settle()

    def close(self) -> None:
        """Remove what has become no part of a dataset."""
        for images, _ in self._videos:
            images.discard()


def in_order(k: int, stem: str) -> str:
    """Return a name that sorts as the k-th."""
    return f"{k:06d}_{stem}"
