"""Look at every view more than once, turned and from further away, and join what is said.

Known as test-time augmentation. It ends before anything is decided: what comes out is one set of
queries a view, as if the model had looked once, so that thresholds, candidates, doubts and tiles
know nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import grid_sample

from napari_eomt.inference.canvas_views import CanvasViews
from napari_eomt.inference.preprocess import resize
from napari_eomt.models.segmenter import QueryOutput
from napari_eomt.structures.tiles import Tile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_eomt.inference.forward import Forward
    from napari_eomt.inference.plan import Plan
    from napari_eomt.models.card import ModelCard

SAME_IOU = 0.5
"""Queries of two looks mean the same when their masks overlap this much."""

FLOOR = 0.05
"""A query whose classes are less probable together says nothing."""

_NOTHING = -20.0
"""Mask logit of a query that nobody needs."""


@dataclass(frozen=True)
class Look:
    """One way of looking at a view.

    Parameters
    ----------
    zoom : float
        Of the canvas, 1 at most: smaller ones show more of what is around.
    turns : int
        Quarter turns, counterclockwise.
    is_mirrored : bool
        Left to right, after the turns.
    """

    zoom: float
    turns: int
    is_mirrored: bool

    def turned(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn and mirror (H, W, 3) pixels."""
        pixels = np.rot90(pixels, self.turns)
        return pixels[:, ::-1] if self.is_mirrored else pixels

    def where(
        self, y: torch.Tensor, x: torch.Tensor, shape: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where points of an image of a shape lie once it is turned, in pixels."""
        height, width = shape
        for _ in range(self.turns % 4):
            y, x, height, width = width - x, y, width, height
        return y, (width - x if self.is_mirrored else x)


PLAIN = Look(1, 0, False)
"""As it is."""

LOOKS = (
    PLAIN,
    Look(0.8, 1, False),
    Look(2 / 3, 2, True),
    Look(1, 3, True),
    Look(0.8, 0, True),
)
"""In the order in which they are added. Chosen with the bundled model, mostly on images that it was
trained on."""


def iter_views(
    rgb: npt.NDArray[np.uint8], plan: Plan, forward: Forward, n: int
) -> Iterator[list[tuple[Tile, QueryOutput]]]:
    """Look at an image as planned; yield views with what the model says, as they are done.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
    plan : Plan
    forward : Forward
    n : int
        How often, from 1 to the number of `LOOKS`.

    Yields
    ------
    list of (Tile, QueryOutput)
        In the order of the plan; empty while a view is not looked at often enough.
    """
    card = forward.segmenter.card
    canvas = resize(rgb, plan.canvas)
    if n == 1:
        cut = CanvasViews(canvas, card)
        yield from forward.iter_outputs(plan.tiles, cut.pixels, cut.content)
        return
    canvases = {1.0: canvas}
    for zoom in {look.zoom for look in LOOKS[:n]} - {1.0}:
        height, width = (max(1, round(side * zoom)) for side in plan.canvas)
        canvases[zoom] = resize(rgb, (height, width))
    ways = [_Way(canvases[look.zoom], plan, card, look) for look in LOOKS[:n]]
    wanted = [(tile, way) for tile in plan.tiles for way in ways]
    said: list[QueryOutput] = []
    for batch in forward.iter_outputs(
        wanted,
        lambda one: one[1].pixels(one[0]),
        lambda one: one[1].content(one[0]),
    ):
        done = []
        for (tile, way), output in batch:
            said.append(way.straightened(tile, output))
            if len(said) == n:
                done.append((tile, merged(said, tile, card.input_size)))
                said = []
        yield done


def merged(outputs: Sequence[QueryOutput], tile: Tile, input_size: int) -> QueryOutput:
    """Join what was said of one view: what most looks agree on becomes more certain.

    Beginning with the surest, a query takes from each other look the one that agrees with it most
    (IoU times the probability that both mean the same class), if their masks overlap by
    `SAME_IOU`. Its class probabilities are the mean over all looks, where a look without such a
    query has seen no object, and its mask logits the mean over those that have.

    Parameters
    ----------
    outputs : sequence of QueryOutput
        Of batches of one, on one grid.
    tile : Tile
        The view; what is beyond its size is padding, and not compared.
    input_size : int
        Side of the model's input, in pixels.

    Returns
    -------
    QueryOutput
        Of a batch of one, with as many queries as each of them, the surest first.
    """
    n_queries = outputs[0].class_logits.shape[1]
    probabilities = torch.cat([o.class_logits[0].float().softmax(-1) for o in outputs])
    look = torch.arange(len(outputs)).repeat_interleave(n_queries).numpy()
    cell = input_size / outputs[0].mask_logits.shape[-1]
    rows, columns = -int(-tile.height // cell), -int(-tile.width // cell)
    logits = torch.cat([o.mask_logits[0] for o in outputs])
    is_chosen = 1 - probabilities[:, -1] >= FLOOR
    is_chosen &= (logits[:, :rows, :columns] > 0).flatten(1).any(1)
    chosen = is_chosen.nonzero()[:, 0]
    groups = _groups(
        probabilities[chosen], logits[chosen, :rows, :columns].float(), look[chosen.cpu().numpy()]
    )
    classes = probabilities.new_zeros(n_queries, probabilities.shape[1])
    masks = logits.new_full((n_queries, *logits.shape[1:]), _NOTHING)
    means = [probabilities[chosen[group], :-1].sum(0) / len(outputs) for group in groups]
    order = sorted(range(len(groups)), key=lambda k: -float(means[k].sum()))
    for i, k in enumerate(order[:n_queries]):
        classes[i, :-1] = means[k]
        masks[i] = logits[chosen[groups[k]]].float().mean(0)
    classes[:, -1] = 1 - classes[:, :-1].sum(1)
    tiny = torch.finfo(classes.dtype).tiny  # no infinite logits
    return QueryOutput(classes.clamp_min_(tiny).log_()[None], masks[None])


def _groups(
    probabilities: torch.Tensor, logits: torch.Tensor, look: npt.NDArray[np.int64]
) -> list[list[int]]:
    """Return which queries mean the same; at most one of each look is in a group."""
    masks = (logits > 0).flatten(1).float()
    areas = masks.sum(1)
    certainty = (logits.sigmoid().flatten(1) * masks).sum(1) / areas
    both = masks @ masks.T
    iou = (both / (areas[:, None] + areas - both)).cpu().numpy()
    agreement = iou * (probabilities[:, :-1] @ probabilities[:, :-1].T).cpu().numpy()
    is_same = iou >= SAME_IOU
    is_free = np.ones(len(look), np.bool_)
    groups = []
    score = (1 - probabilities[:, -1]) * certainty
    for first in torch.argsort(score, descending=True, stable=True).tolist():
        if not is_free[first]:
            continue
        group = [first]
        is_free[first] = False
        like = np.flatnonzero(is_free & is_same[first] & (look != look[first]))
        # The best of each look: sorted, the first of each is.
        like = like[np.argsort(-agreement[first, like], kind="stable")]
        _, best = np.unique(look[like], return_index=True)
        group += like[best].tolist()
        is_free[group] = False
        groups.append(group)
    return groups


class _Way:
    """One way of looking at all views of a plan.

    Parameters
    ----------
    canvas : (h, w, 3) uint8
        The plan's canvas at the look's zoom.
    plan : Plan
    card : ModelCard
    look : Look
    """

    def __init__(
        self, canvas: npt.NDArray[np.uint8], plan: Plan, card: ModelCard, look: Look
    ) -> None:
        self._canvas, self._plan, self._card, self._look = canvas, plan, card, look
        self._is_plain = look == PLAIN

    def pixels(self, tile: Tile) -> npt.NDArray[np.float32]:
        """Return what the model sees of a view, (3, S, S)."""
        views, whole = self._seen(tile)
        return views.pixels(whole)

    def content(self, tile: Tile) -> str:
        """Name what the model sees of a view."""
        views, whole = self._seen(tile)
        return views.content(whole)

    def straightened(self, tile: Tile, output: QueryOutput) -> QueryOutput:
        """Return what was said with its masks on the grid on which the plain look has them."""
        if self._is_plain:
            return output
        masks = output.mask_logits
        rows, columns = masks.shape[-2:]
        size = self._card.input_size
        window = self._window(tile)
        shape = self._canvas.shape
        y = tile.y0 + (torch.arange(rows, dtype=torch.float64) + 0.5) * size / rows
        x = tile.x0 + (torch.arange(columns, dtype=torch.float64) + 0.5) * size / columns
        y, x = torch.meshgrid(
            y * shape[0] / self._plan.canvas[0] - window.y0,
            x * shape[1] / self._plan.canvas[1] - window.x0,
            indexing="ij",
        )
        # At its edges nothing is mixed with what the model says of padding.
        y = y.clamp(max=window.height - size / rows / 2).clamp(min=size / rows / 2)
        x = x.clamp(max=window.width - size / columns / 2).clamp(min=size / columns / 2)
        y, x = self._look.where(y, x, (window.height, window.width))
        grid = torch.stack([x, y], -1)[None] * (2 / size) - 1
        straight = grid_sample(
            masks.float(), grid.to(masks.device, torch.float32),
            mode="bilinear", padding_mode="border", align_corners=False,
        )  # fmt: skip
        return QueryOutput(output.class_logits, straight)

    def _seen(self, tile: Tile) -> tuple[CanvasViews, Tile]:
        """Return what is seen of a view as a canvas of its own, and all of that."""
        window = self._window(tile)
        crop = self._look.turned(self._canvas[window.y0 : window.y1, window.x0 : window.x1])
        return CanvasViews(crop, self._card), Tile(0, 0, *crop.shape[:2])

    def _window(self, tile: Tile) -> Tile:
        """Return the part of this look's canvas that is seen for a view: around it, and larger."""
        size = self._card.input_size
        (height, width), canvas = self._canvas.shape[:2], self._plan.canvas
        if (height, width) == canvas:
            return tile
        y0, y1 = _around((tile.y0 + tile.y1) / 2 * height / canvas[0], size, height)
        x0, x1 = _around((tile.x0 + tile.x1) / 2 * width / canvas[1], size, width)
        return Tile(y0, x0, y1, x1)


def _around(middle: float, size: int, length: int) -> tuple[int, int]:
    """Return a piece of a size around a point, moved into the length, or all of it."""
    size = min(size, length)
    start = min(max(0, round(middle - size / 2)), length - size)
    return start, start + size
