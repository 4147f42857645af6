"""A model that remembers, run over the views of the next frame of a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_eomt.inference.forward import Forward, stacked
from napari_eomt.models.query_state import QueryState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_eomt.models.segmenter import QueryOutput
    from napari_eomt.models.videomt import VideomtSegmenter
    from napari_eomt.structures.tiles import Tile


class VideoForward(Forward):
    """Runs a VidEoMT over the views of one frame; each view has a state of its own.

    It can be run again, or left in the middle: the states before stay as they are.

    Parameters
    ----------
    segmenter : VideomtSegmenter
    before : mapping of Tile to QueryState
        Of each view, after the frame before; a view without one begins a video.

    Attributes
    ----------
    after : dict of Tile to QueryState
        After this frame, of the views so far.
    class_logits : dict of Tile to (Q, K + 1) float32
        What was said of them; on the CPU.
    """

    def __init__(self, segmenter: VideomtSegmenter, before: Mapping[Tile, QueryState]) -> None:
        super().__init__(segmenter)
        self._video = segmenter
        self._before = before
        self.after: dict[Tile, QueryState] = {}
        self.class_logits: dict[Tile, torch.Tensor] = {}

    def _run(  # type: ignore[override]  # over tiles alone: models of videos look once
        self,
        tiles: Sequence[Tile],
        pixels_of: Callable[[Tile], npt.NDArray[np.float32]],
        content_of: Callable[[Tile], str] | None,
    ) -> tuple[QueryOutput, dict[str, torch.Tensor]]:
        known = [self._before.get(tile) for tile in tiles]
        # The memory of some views may have run out, and of others not: each where it was made.
        moved = [
            state.to(self._video.device, self._video.dtype) for state in known if state is not None
        ]
        joined = None
        if moved and len(moved) == len(tiles):
            queries = torch.cat([state.queries for state in moved])
            joined = QueryState(queries, moved[0].frame, moved[0].fingerprint)
        output, after = self._video.step(stacked(tiles, pixels_of), joined)
        for i, tile in enumerate(tiles):
            part = after.queries[i : i + 1]
            self.after[tile] = QueryState(part, after.frame, after.fingerprint)
            self.class_logits[tile] = output.class_logits[i].cpu()
        return output, {}
