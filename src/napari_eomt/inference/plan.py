"""How an image is brought to the model: resized to a canvas, and cut into the views it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_eomt.errors import DataError
from napari_eomt.inference.preprocess import padded_shape, semantic_shape, semantic_windows
from napari_eomt.structures.tiles import Tile, tile_grid

if TYPE_CHECKING:
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.segments import Task

LARGE = 4
"""An image is tiled by itself when it is this many times the model's input: shrunk further, an
object of 16 px would be one cell of the mask logits."""

MAX_CANVAS = 2**31
"""Pixels of the largest canvas: no array on it is indexed past what 32 bits hold."""


@dataclass(frozen=True)
class Plan:
    """How an image is looked at.

    Parameters
    ----------
    shape : (H, W)
        Of the image, in pixels.
    canvas : (h, w)
        The size that the image is resized to.
    tiles : tuple of Tile
        Views of the canvas, each at most the model's input in size.
    kind : {"padded", "windows", "tiles"}
        One padded view of the whole; windows along the long side, as semantic models are
        trained; or tiles at full resolution.
    """

    shape: tuple[int, int]
    canvas: tuple[int, int]
    tiles: tuple[Tile, ...]
    kind: Literal["padded", "windows", "tiles"]

    def region(self, tile: Tile) -> Tile:
        """Return the part of the image that a view of the canvas shows, in image pixels."""
        (height, width), (canvas_height, canvas_width) = self.shape, self.canvas
        y0, y1 = (round(y * height / canvas_height) for y in (tile.y0, tile.y1))
        x0, x1 = (round(x * width / canvas_width) for x in (tile.x0, tile.x1))
        # A view is never empty, however far the image is enlarged.
        return Tile(min(y0, height - 1), min(x0, width - 1), max(y1, y0 + 1), max(x1, x0 + 1))


def task_of(params: PredictParams, card: ModelCard) -> Task:
    """Return the task to do: the one asked for, else the first that the model serves.

    Raises
    ------
    DataError
        If the model does not serve it.
    """
    task = params.task or card.tasks[0]
    if task not in card.tasks:
        raise DataError(
            f"{card.name} does not serve the task {task!r}; it serves {', '.join(card.tasks)}. "
            "Choose one of these, or another model."
        )
    return task


def is_tiled(shape: tuple[int, int], card: ModelCard, params: PredictParams) -> bool:
    """Whether the image is looked at tile by tile rather than as a whole."""
    if params.tiling != "auto":
        return params.tiling == "tiles"
    return card.object_size is not None or max(shape) > LARGE * card.input_size


def make_plan(
    shape: tuple[int, int], card: ModelCard, params: PredictParams, object_size: float | None
) -> Plan:
    """Decide how an image is looked at.

    Parameters
    ----------
    shape : (H, W)
        In pixels.
    card : ModelCard
    params : PredictParams
    object_size : float or None
        Side of a typical object in the image, in pixels; None leaves the image at its size.

    Raises
    ------
    DataError
        If the overlap is not smaller than a tile, or the image enlarged too far.
    """
    size = card.input_size
    if is_tiled(shape, card, params):
        zoom = card.object_size / object_size if card.object_size and object_size else 1.0
        canvas = (max(1, round(shape[0] * zoom)), max(1, round(shape[1] * zoom)))
        if canvas[0] * canvas[1] > MAX_CANVAS:
            raise DataError(
                f"Objects of {object_size:g} px would enlarge this {shape[0]} × {shape[1]} image "
                f"to {canvas[0]} × {canvas[1]} px. Give a larger object size."
            )
        overlap = card.tile_overlap if params.tile_overlap is None else params.tile_overlap
        if overlap >= size:
            raise DataError(
                f"Tiles of {size} px cannot overlap by {overlap} px. Choose less than {size}."
            )
        return Plan(shape, canvas, tuple(tile_grid(*canvas, size, overlap)), "tiles")
    # A model that knows semantic alone was trained on windows, whatever its stored processor says.
    if task_of(params, card) == "semantic":
        canvas = semantic_shape(*shape, size)
        return Plan(shape, canvas, tuple(semantic_windows(canvas, size)), "windows")
    canvas = padded_shape(*shape, size)
    return Plan(shape, canvas, (Tile(0, 0, *canvas),), "padded")
