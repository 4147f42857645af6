"""transformers' EoMT as it is trained: a prediction before each block that sees queries."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import EomtDinov3ForUniversalSegmentation, EomtForUniversalSegmentation

from napari_eomt.errors import ModelError
from napari_eomt.training import masked_attention
from napari_eomt.training.predictions import Prediction
from napari_eomt.training.upscale import upscale

if TYPE_CHECKING:
    from collections.abc import Sequence

EomtNetwork = EomtForUniversalSegmentation | EomtDinov3ForUniversalSegmentation


class TrainingNetwork(nn.Module):
    """EoMT or EoMT-DINOv3 in training, on transformers' own module and weights.

    Equal to the module's forward pass in training mode, but in that masks reach the attention of
    the queries alone, and where nothing is masked none are made; that all predictions come back,
    with their masks as products not yet made; and that the probabilities of masking are plain
    numbers, which a device need not be asked for.

    The network is in two parts. `trunk` sees no queries: while it is frozen its result depends
    on the pixels alone, and can be kept. `head` is the rest.

    Parameters
    ----------
    model : EomtForUniversalSegmentation or EomtDinov3ForUniversalSegmentation
        Changed in place: its attention function, its training mode and what requires gradients.
    is_trunk_frozen : bool
        Whether the embeddings and the blocks that see no queries keep their weights. They then
        run in evaluation mode: DINOv3 rescales its rotary positions at random in training, and
        the head must read the tokens with the positions that the trunk has made them with.
    has_auxiliary_losses : bool
        Whether the predictions before the blocks are wanted for the loss, as published. Without,
        they are made only where the attention needs their masks.
    is_checkpointed : bool
        Whether blocks forget their activations and run again in the backward pass: about a third
        more time for a fraction of the memory.

    Raises
    ------
    ModelError
        If the model is of another architecture.
    """

    MODELS: ClassVar[tuple[type[nn.Module], ...]] = (
        EomtForUniversalSegmentation,
        EomtDinov3ForUniversalSegmentation,
    )

    def __init__(
        self,
        model: nn.Module,
        *,
        is_trunk_frozen: bool = False,
        has_auxiliary_losses: bool = True,
        is_checkpointed: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model, self.MODELS):
            raise ModelError(
                f"{type(model).__name__} cannot be trained here: choose a model of EoMT or of "
                "EoMT-DINOv3."
            )
        narrowed: Any = model
        config: Any = narrowed.config
        self.model: EomtNetwork = narrowed
        self.has_auxiliary_losses = has_auxiliary_losses
        self.n_blocks = int(config.num_blocks)
        self.n_queries = int(config.num_queries)
        self._n_prefix = 1 + int(config.num_register_tokens)
        self._first_query_block = int(config.num_hidden_layers) - self.n_blocks
        self._mask_probabilities = (0.0,) * self.n_blocks
        self.set_mask_probabilities(self.model.attn_mask_probs.clamp(0, 1).tolist())
        config._attn_implementation = masked_attention.NAME
        self.is_trunk_frozen = is_trunk_frozen
        for part in self.trunk_modules():
            part.requires_grad_(not is_trunk_frozen)
        block: Any
        for block in self.model.layers:
            block.gradient_checkpointing = is_checkpointed
            block._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        self.train()

    @property
    def mask_probabilities(self) -> tuple[float, ...]:
        """With which each block's queries are held to their masks, from 0 to 1."""
        return self._mask_probabilities

    def set_mask_probabilities(self, probabilities: Sequence[float]) -> None:
        """Set how likely the queries of each block are held to their masks; see `schedule`.

        The module's own buffer follows, so that a saved state holds them.

        Raises
        ------
        ValueError
            If there is not one for each block, from 0 to 1.
        """
        values = masked_attention.checked_probabilities(probabilities, self.n_blocks)
        self._mask_probabilities = values
        buffer = self.model.attn_mask_probs
        buffer.copy_(torch.tensor(values, dtype=buffer.dtype))

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input, in pixels."""
        patch: Any = self.model.config.patch_size
        height, width = self.model.grid_size
        return height * patch, width * patch

    def train(self, mode: bool = True) -> TrainingNetwork:
        """Set the training mode; a frozen trunk stays in evaluation mode."""
        super().train(mode)
        if self.is_trunk_frozen:
            for part in self.trunk_modules():
                part.train(False)
            if isinstance(self.model, EomtDinov3ForUniversalSegmentation):
                self.model.rope_embeddings.train(False)
                self.model.dropout.train(False)
        return self

    def trunk_modules(self) -> list[nn.Module]:
        """Return the embeddings and the blocks that see no queries."""
        return [self.model.embeddings, *self.model.layers[: self._first_query_block]]

    def forward(
        self,
        pixels: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        *,
        tokens: torch.Tensor | None = None,
    ) -> list[Prediction]:
        """Run the whole network, or what comes after a frozen trunk.

        Parameters
        ----------
        pixels : (B, 3, S, S) float, optional
            Normalised; S is the size that the model was made for. Not looked at with `tokens`.
        generator : torch.Generator, optional
            Of the queries that are freed.
        tokens : (B, P + G², C) float, optional
            What `trunk` has made of the pixels, if that is known.

        Returns
        -------
        list of Prediction
            Before each block that sees queries, then after the last, which is the answer.
            Without auxiliary losses only the answer.

        Raises
        ------
        ValueError
            If there are neither pixels nor tokens, or the pixels have another shape.
        """
        positions = self.positions()
        if tokens is None:
            if pixels is None:
                raise ValueError("The network wants pixels, or the tokens of its trunk.")
            tokens = self.trunk(pixels, positions)
        return self.head(tokens, positions, generator)

    def positions(self) -> dict[str, Any]:
        """Return what the blocks need to know beside the tokens: DINOv3's rotary positions.

        In training a DINOv3 network whose trunk is not frozen rescales them at random, as it was
        trained.
        """
        if not isinstance(self.model, EomtDinov3ForUniversalSegmentation):
            return {}
        weight = self.model.class_predictor.weight
        # The module reads only the shape, the device and the precision of the pixels.
        pixels = weight.new_empty(1).expand(1, 3, *self.input_size)
        return {"position_embeddings": self.model.rope_embeddings(pixels)}

    def trunk(self, pixels: torch.Tensor, positions: dict[str, Any] | None = None) -> torch.Tensor:
        """Run the embeddings and the blocks that see no queries.

        Returns
        -------
        (B, P + G², C) float
            P prefix tokens, CLS and registers, then the patches, row by row. Without gradients
            where the trunk is frozen; on a CPU then always in the precision of the weights, as
            prediction makes them.
        """
        height, width = self.input_size
        if pixels.shape[1:] != (3, height, width):
            # transformers takes another shape of as many patches and scrambles the mask grid.
            raise ValueError(
                f"The model takes (B, 3, {height}, {width}) pixels; these are "
                f"{tuple(pixels.shape)}."
            )
        positions = self.positions() if positions is None else positions
        with contextlib.ExitStack() as stack:
            if self.is_trunk_frozen:
                stack.enter_context(torch.no_grad())
                stack.enter_context(torch.autocast("cpu", enabled=False))
            tokens: torch.Tensor = self.model.embeddings(pixels)
            if isinstance(self.model, EomtDinov3ForUniversalSegmentation):
                tokens = self.model.dropout(tokens)
            for block in self.model.layers[: self._first_query_block]:
                tokens = block(tokens, **positions)
        return tokens

    def head(
        self,
        tokens: torch.Tensor,
        positions: dict[str, Any],
        generator: torch.Generator | None = None,
    ) -> list[Prediction]:
        """Let the queries join the tokens of `trunk`, and predict; see `forward`."""
        query = self.model.query.weight[None].expand(len(tokens), -1, -1)
        tokens = torch.cat((query, tokens), dim=1)
        predictions: list[Prediction] = []
        blocks = self.model.layers[self._first_query_block :]
        for block, probability in zip(blocks, self._mask_probabilities, strict=True):
            is_masked = probability > 0
            mask = None
            if self.has_auxiliary_losses:
                predictions.append(self._predict(tokens, is_masked))
                mask = self._query_mask(predictions[-1], probability, generator)
            elif is_masked:
                with torch.no_grad():
                    hidden = self._predict(tokens, is_masked)
                mask = self._query_mask(hidden, probability, generator)
            tokens = block(tokens, attention_mask=mask, **positions)
        predictions.append(self._predict(tokens))
        return predictions

    def _predict(self, tokens: torch.Tensor, has_values: bool = False) -> Prediction:
        tokens = self.model.layernorm(tokens)
        query, patches = tokens[:, : self.n_queries], tokens[:, self.n_queries + self._n_prefix :]
        grid = patches.reshape(len(patches), *self.model.grid_size, -1)
        features = upscale(self.model.upscale_block.block, grid)
        prediction = Prediction(
            class_logits=self.model.class_predictor(query),
            queries=self.model.mask_head(query),
            features=features.flatten(1, 2),
            size=(features.shape[1], features.shape[2]),
        )
        return replace(prediction, values=prediction.mask_values()) if has_values else prediction

    def _query_mask(
        self, prediction: Prediction, probability: float, generator: torch.Generator | None
    ) -> torch.Tensor | None:
        if probability <= 0:
            return None
        return masked_attention.query_mask(
            prediction.mask_values(),
            prediction.size,
            self.model.grid_size,
            self._n_prefix,
            probability,
            generator,
        )
