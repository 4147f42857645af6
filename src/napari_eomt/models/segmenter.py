"""The one face of every model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_eomt.errors import ModelError

if TYPE_CHECKING:
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

    Attributes
    ----------
    card : ModelCard
        Its `input_size` is the one that the model runs at now.
    notes : list of str
        What the user should know of how the model runs; whoever shows one takes it out.
    """

    def __init__(self, card: ModelCard, device: torch.device, dtype: torch.dtype) -> None:
        self.card = card
        self.device = device
        self.dtype = dtype
        self.notes: list[str] = []

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

    @property
    def trunk_fingerprint(self) -> str | None:
        """The name of the first part of a model that is in two; None if this one is not.

        Models of one name make the same tokens of the same pixels, as they run now.
        """
        return None

    def trunk(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the first part of the model, which knows no queries.

        Parameters
        ----------
        pixels : (B, 3, S, S) float
            As of `forward`.

        Returns
        -------
        (B, N, C)
            Tokens, on the model's device, in its precision.
        """
        raise NotImplementedError(f"{self.card.name} is not in two parts.")

    def decode(self, tokens: torch.Tensor) -> QueryOutput:
        """Run the second part of the model on what `trunk` has made: equal to `forward`.

        Parameters
        ----------
        tokens : (B, N, C)
            On the model's device, in its precision.
        """
        raise NotImplementedError(f"{self.card.name} is not in two parts.")

    @abstractmethod
    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the model to another device or precision, in place."""

    def set_input_size(self, size: int | None) -> None:
        """Run at another input size from now on.

        Parameters
        ----------
        size : int or None
            Side of the input, in pixels: a multiple of the patch. None is the size that the model
            was trained at.

        Raises
        ------
        ModelError
            If the model cannot run at this size.
        """
        if size not in (None, self.card.input_size):
            raise ModelError(
                f"{self.card.name} runs at an input size of {self.card.input_size} px alone. "
                "Leave the input size as it is, or choose another model."
            )

    def compile(self) -> None:
        """Compile the forward pass for this machine, if the model can be; `notes` says if not."""
        self.notes.append(f"{self.card.name} cannot be compiled: it runs without.")

    def warm_up(self, n_views: int) -> None:  # noqa: B027 - a model need not
        """Do now what the first forward pass with this many views would do alone: compile.

        Nothing to do for a model that is not compiled.
        """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        # torch has no class of its own for the CPU's allocator.
        "can't allocate memory" in str(error) or "out of memory" in str(error).lower()
    )
