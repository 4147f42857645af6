"""What the network says before and after each block that sees queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, eq=False)
class Prediction:
    """One prediction of every query; its masks are kept as the product that they are.

    Of the masks, a loss differentiates only those that an object was matched to, mostly a small
    part: to keep the factors saves the backward pass through all the others.

    Parameters
    ----------
    class_logits : (B, Q, K + 1) float
    queries : (B, Q, C) float
        One factor of the mask logits.
    features : (B, h · w, C) float
        The other factor: the pixels of the mask grid, row by row.
    size : (int, int)
        (h, w) of the mask grid.
    values : (B, h · w, Q) float, optional
        The mask logits without gradients, where the attention needed them already.
    """

    class_logits: torch.Tensor
    queries: torch.Tensor
    features: torch.Tensor
    size: tuple[int, int]
    values: torch.Tensor | None = None

    @property
    def mask_logits(self) -> torch.Tensor:
        """All masks, (B, Q, h, w), with their gradients."""
        logits = self.queries @ self.features.transpose(1, 2)
        return logits.view(*logits.shape[:2], *self.size)

    @torch.no_grad()
    def mask_values(self, images: slice = slice(None)) -> torch.Tensor:
        """All mask logits of some images, without gradients, (b, h · w, Q): the queries last."""
        if self.values is not None:
            return self.values[images]
        return self.features[images] @ self.queries[images].transpose(1, 2)

    def chosen_masks(self, image: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """Make the masks of some queries, with their gradients.

        Parameters
        ----------
        image, query : (M,) int64
            Which query of which image, the images in ascending order; on the CPU, where sizes
            are known without waiting for the device.

        Returns
        -------
        (M, h, w) float
        """
        device = self.queries.device
        n_images, n_channels = len(self.queries), self.queries.shape[-1]
        counts = torch.bincount(image, minlength=n_images)
        # Queries of one image share its features: a batch of one matrix for each image.
        n_slots = int(counts.max())
        slot = torch.arange(len(image)) - (counts.cumsum(0) - counts)[image]
        image, query, slot = (index.to(device) for index in (image, query, slot))
        padded = self.queries.new_zeros(n_images, n_slots, n_channels)
        padded = padded.index_put((image, slot), self.queries[image, query])
        masks: torch.Tensor = _Product.apply(padded, self.features)  # type: ignore[no-untyped-call]
        rows = image * n_slots + slot
        return masks.flatten(0, 1).index_select(0, rows).view(-1, *self.size)


class _Product(torch.autograd.Function):
    """queries @ features^T, whose gradients lie in memory as the factors do.

    torch's own leaves the features' turned round, and whoever comes next turns them back: half of
    the time of the backward pass (25,600 pixels of 384 channels: 72 ms on a CPU instead of 25).
    """

    @staticmethod
    def forward(ctx: Any, queries: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(queries, features)
        return queries @ features.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        queries, features = ctx.saved_tensors
        return masks @ features, masks.transpose(1, 2) @ queries
