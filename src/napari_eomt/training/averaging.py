"""A running average of the weights that learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn


class RunningAverage:
    """The exponential moving average of a model's weights that require gradients.

    The first steps count for more than the decay says, so that the average is not of the weights
    before the training.

    Parameters
    ----------
    model : nn.Module
    decay : float
        Share of the average that a step keeps, 0 to below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_steps = 0
        self.tensors = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the weights of now into the average."""
        self.n_steps += 1
        decay = min(self.decay, (1 + self.n_steps) / (10 + self.n_steps))
        own = dict(model.named_parameters())
        for name, tensor in self.tensors.items():
            tensor.lerp_(own[name].detach(), 1 - decay)

    @torch.no_grad()
    def restore(self, tensors: dict[str, torch.Tensor], n_steps: int) -> None:
        """Go on from an average that was saved."""
        self.n_steps = n_steps
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
