"""Which input sizes a model can run at, and what each costs. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_eomt.errors import ModelError

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard

MAX_INPUT = 4096
"""Beyond it the attention of a single view takes tens of gigabytes."""

_SCALES = (0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class SizeChoice:
    """An input size, and what it means.

    Parameters
    ----------
    size : int
        Side of the square input, in pixels.
    cost : float
        Arithmetic of one view, relative to that at the size the model was trained at.
    smallest : float
        Side, in pixels of an image of `size` px, of the smallest thing that the mask logits can
        tell from its neighbours: one of their cells.
    is_trained : bool
        Whether the model was trained at this size.
    """

    size: int
    cost: float
    smallest: float
    is_trained: bool


def check_input_size(card: ModelCard, size: int) -> None:
    """Check that the model can run at a size.

    Raises
    ------
    ModelError
        If it is not a multiple of the patch between 2 patches and `MAX_INPUT`.
    """
    # transformers' modules drop the pixels beyond the last whole patch without a word.
    if not 2 * card.patch_size <= size <= MAX_INPUT or size % card.patch_size:
        below = max(2, min(size, MAX_INPUT) // card.patch_size) * card.patch_size
        raise ModelError(
            f"{card.name} cannot run at an input size of {size} px: expected a multiple of "
            f"{card.patch_size} from {2 * card.patch_size} to {MAX_INPUT}, such as {below}."
        )


def input_sizes(card: ModelCard, trained: int | None = None) -> tuple[SizeChoice, ...]:
    """Return sizes worth choosing from, the fastest first.

    Parameters
    ----------
    card : ModelCard
    trained : int, optional
        The size that the model was trained at; by default the card's.
    """
    trained = trained or card.input_size
    sizes = {round(trained * scale / card.patch_size) * card.patch_size for scale in _SCALES}
    return tuple(
        SizeChoice(size, _flops(card, size) / _flops(card, trained), 4.0, size == trained)
        for size in sorted(sizes)
        if 2 * card.patch_size <= size <= MAX_INPUT
    )


def _flops(card: ModelCard, size: int) -> float:
    """Count the multiplications of a forward pass, roughly.

    Every token passes all parameters once; attention adds 2 · N² · width a block.
    """
    n_tokens = (size / card.patch_size) ** 2 + card.n_queries
    return n_tokens * card.n_parameters + 2 * n_tokens**2 * card.width * card.depth
