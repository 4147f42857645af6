"""All that a document is at one moment, as a value: written in any thread, checked when read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.label_pages import present
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_eomt.annotation.document import Document, Origin
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import IdMap, Segment


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a document: how far it has come, its segments, and its id map if not void."""

    state: FrameState
    segments: tuple[Segment, ...]
    id_map: IdMap | None


@dataclass(frozen=True, eq=False)
class Content:
    """What a document holds; frames that are as new are left out."""

    frame_shape: tuple[int, ...]
    image_shape: tuple[int, int]
    next_id: int
    dtype: np.dtype[np.integer]
    categories: tuple[Category, ...]
    frames: dict[int, Frame]
    origin: Origin | None = None

    @classmethod
    def of(cls, document: Document, *, copy: bool = True) -> Content:
        """Take the content of a document.

        Parameters
        ----------
        document : Document
        copy : bool
            Whether the id maps are copied: needed if the document goes on changing meanwhile.
            Frames without pixels cost nothing: 8 ms for each 4096² that has some.
        """
        segments: dict[int, list[Segment]] = {}
        for frame, segment in document.iter_segments():
            segments.setdefault(frame, []).append(segment)
        frames = {}
        for frame in range(document.n_frames):
            state, here = document.state(frame), segments.get(frame, [])
            if here or state is not FrameState.NEW:
                shown = any(s.status is not Status.REJECTED for s in here)
                id_map = document.id_map(frame) if shown else None
                if id_map is not None and copy:
                    id_map = id_map.copy()
                frames[frame] = Frame(state, tuple(here), id_map)
        return cls(
            document.frame_shape,
            document.image_shape,
            document.next_id,
            document.id_maps.dtype,
            tuple(document.categories.values()),
            frames,
            document.origin,
        )

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return int(np.prod(self.frame_shape, dtype=np.int64))

    def settled(self) -> Iterator[tuple[int, Frame]]:
        """Yield the frames with their numbers, in order, their pixels and segments in agreement.

        In the midst of a stroke pixels lie there that no segment owns yet, and a segment may have
        lost its last one: these are left out.
        """
        for number, frame in sorted(self.frames.items()):
            yield number, frame if frame.id_map is None else _settled(frame, frame.id_map)


def _settled(frame: Frame, id_map: IdMap) -> Frame:
    shown = {s.id for s in frame.segments if s.status is not Status.REJECTED}
    there = present(id_map)
    if there == shown:
        return frame
    segments = tuple(s for s in frame.segments if s.id in there or s.status is Status.REJECTED)
    id_map = np.where(np.isin(id_map, list(there & shown)), id_map, 0).astype(id_map.dtype)
    return Frame(frame.state, segments, id_map)
