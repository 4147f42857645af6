"""The one face of every model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from napari_eomt.models.card import ModelCard


@dataclass(frozen=True)
class QueryOutput:
    """What a forward pass says, of every query.

    Parameters
    ----------
    class_logits : (B, Q, K + 1) float
        The last class is "no object".
    mask_logits : (B, Q, h, w) float
        Before the sigmoid, on a grid coarser than the input.
    """

    class_logits: torch.Tensor
    mask_logits: torch.Tensor


class Segmenter(ABC):
    """A model, on a device, ready to run. Nothing downstream asks which architecture it is.

    Parameters
    ----------
    card : ModelCard
        What the model is.
    device : torch.device
    dtype : torch.dtype
        Of the weights and of the computation.
    """

    def __init__(self, card: ModelCard, device: torch.device, dtype: torch.dtype) -> None:
        self.card = card
        self.device = device
        self.dtype = dtype

    @abstractmethod
    def forward(self, pixels: torch.Tensor) -> QueryOutput:
        """Run the model.

        Parameters
        ----------
        pixels : (B, 3, S, S) float32
            Normalised; S is the card's `input_size`.

        Returns
        -------
        QueryOutput
            On the model's device, float32.

        Raises
        ------
        ValueError
            If the pixels have another shape.
        """

    @abstractmethod
    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the model to another device or precision, in place."""
