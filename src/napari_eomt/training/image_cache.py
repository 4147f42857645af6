"""Images and their truth, ready to be cut, kept in memory within a bound. No torch."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.training.truth import Truth


@dataclass(frozen=True, eq=False)
class ReadyImage:
    """An image as the model sees it, uncut, and what there is to find in it.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
    truth : Truth
        Of the same shape.
    content : str
        Another one for other pixels.
    """

    rgb: npt.NDArray[np.uint8]
    truth: Truth
    content: str

    @classmethod
    def of(cls, rgb: npt.NDArray[np.uint8], truth: Truth) -> ReadyImage:
        """Put both together."""
        digest = hashlib.blake2b(str(rgb.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(rgb).data)
        return cls(rgb, truth, digest.hexdigest())

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.rgb.nbytes + self.truth.nbytes


class ImageCache:
    """Images by key; the least recently used make room. For several threads.

    Parameters
    ----------
    load : callable
        Reads an image by its key. Threads that want the same one wait for one reading.
    max_bytes : int
        What is kept takes no more; an image that is larger by itself is not kept.
    """

    def __init__(self, load: Callable[[str], ReadyImage], max_bytes: int) -> None:
        self._load, self._max_bytes = load, max_bytes
        self._kept: OrderedDict[str, ReadyImage] = OrderedDict()
        self._n_bytes = 0
        self._on_the_way: dict[str, Future[ReadyImage]] = {}
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory that is taken."""
        return self._n_bytes

    def get(self, key: str) -> ReadyImage:
        """Return an image, read if it is not kept.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            waiting = self._on_the_way.get(key)
            if waiting is None:
                mine: Future[ReadyImage] = Future()
                self._on_the_way[key] = mine
        if waiting is not None:
            return waiting.result()
        try:
            image = self._load(key)
        except BaseException as error:
            with self._lock:
                del self._on_the_way[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._on_the_way[key]
            self._keep(key, image)
        mine.set_result(image)
        return image

    def _keep(self, key: str, image: ReadyImage) -> None:
        if image.nbytes > self._max_bytes:
            return
        self._kept[key] = image
        self._n_bytes += image.nbytes
        while self._n_bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._n_bytes -= oldest.nbytes
