"""EoMT and EoMT-DINOv3 behind the one face, on transformers' own modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import EomtDinov3ForUniversalSegmentation, EomtForUniversalSegmentation

from napari_eomt.models.segmenter import QueryOutput, Segmenter

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard

EomtModel = EomtForUniversalSegmentation | EomtDinov3ForUniversalSegmentation


class EomtSegmenter(Segmenter):
    """EoMT with a DINOv2 or a DINOv3 backbone, for inference.

    The forward pass is transformers', less its masked attention: at inference the published
    models have annealed it away, and without it no block needs the masks of the one before
    (1.5 to 2 times faster on a CPU). It is in two steps, because the first, `trunk`, knows no
    queries and so can be kept for an image while the queries change.

    References
    ----------
    Kerssies et al., "Your ViT is Secretly an Image Segmentation Model", CVPR 2025;
    https://github.com/tue-mps/eomt.
    """

    def __init__(
        self, card: ModelCard, model: EomtModel, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__(card, device, dtype)
        self.model = model.requires_grad_(False)
        model.train(False)
        # transformers' forward looks at these: a stored probability above 0 would bring masked
        # attention back for whoever calls the module itself.
        model.attn_mask_probs.zero_()
        self._first_query_block = model.config.num_hidden_layers - model.config.num_blocks
        self.to(device, dtype)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the model to another device or precision, in place."""
        torch.nn.Module.to(self.model, device=device, dtype=dtype)
        self.device, self.dtype = device, dtype

    @torch.inference_mode()
    def forward(self, pixels: torch.Tensor) -> QueryOutput:
        """Run the model; see `Segmenter.forward`."""
        size = self.card.input_size
        # transformers accepts another shape of as many patches and scrambles the mask grid.
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, size, size):
            raise ValueError(
                f"The model takes (B, 3, {size}, {size}) pixels; these are {tuple(pixels.shape)}."
            )
        return self.decode(self.trunk(pixels))

    def trunk(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the blocks that see no queries.

        Parameters
        ----------
        pixels : (B, 3, S, S) float

        Returns
        -------
        (B, P + G², C)
            P prefix tokens (CLS and registers), then G² patches, row by row.
        """
        pixels = pixels.to(device=self.device, dtype=self.dtype)
        tokens: torch.Tensor = self.model.embeddings(pixels)
        rope = self._rope(pixels.shape[-1])
        for block in self.model.layers[: self._first_query_block]:
            tokens = block(tokens, **rope)
        return tokens

    def decode(self, tokens: torch.Tensor) -> QueryOutput:
        """Let the queries join the tokens of `trunk`, and read classes and masks from them."""
        query = self.model.query.weight[None].expand(tokens.shape[0], -1, -1)
        tokens = torch.cat((query, tokens), dim=1)
        rope = self._rope(self.card.input_size)
        for block in self.model.layers[self._first_query_block :]:
            tokens = block(tokens, **rope)
        mask_logits, class_logits = self.model.predict(self.model.layernorm(tokens))
        return QueryOutput(class_logits.float(), mask_logits.float())

    def _rope(self, size: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return the rotary positions that DINOv3's blocks take; DINOv2 has learned ones."""
        if not isinstance(self.model, EomtDinov3ForUniversalSegmentation):
            return {}
        # The module reads only the shape and the dtype of the pixels.
        pixels = torch.empty(1, 3, size, size, device=self.device, dtype=self.dtype)
        return {"position_embeddings": self.model.rope_embeddings(pixels)}
