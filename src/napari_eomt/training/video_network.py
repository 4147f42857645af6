"""transformers' VidEoMT as it is trained: clips, through whose frames the queries go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from transformers import VideomtForUniversalSegmentation

from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.predictions import Prediction
from napari_eomt.training.upscale import upscale

if TYPE_CHECKING:
    from torch import nn


class VideoTrainingNetwork(TrainingNetwork):
    """VidEoMT in training, on transformers' own module and weights, which refuses labels.

    The answer is that of the module's forward pass for the whole clip. Gradients go back through
    all of its frames: the queries of a frame are made of those of the one before, not detached.
    Nothing is masked: VidEoMT has no masked attention.

    As published, a prediction before a block is made of tokens that were not normalised, and there
    is none before the last block: `num_blocks` predictions in all, not one more as of images.

    Parameters
    ----------
    model, is_trunk_frozen, has_auxiliary_losses, is_checkpointed
        As of `TrainingNetwork`; the model is a VideomtForUniversalSegmentation.

    Raises
    ------
    ModelError
        If the model is of another architecture.
    """

    MODELS: ClassVar[tuple[type[nn.Module], ...]] = (VideomtForUniversalSegmentation,)

    model: Any

    def __init__(self, model: nn.Module, **options: bool) -> None:
        super().__init__(model, **options)
        # A new module says 1, which would mask a model that is trained no further.
        self.set_mask_probabilities((0.0,) * self.n_blocks)

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
        pixels : (B, T, 3, S, S) float, optional
            Normalised clips of one length. Not looked at with `tokens`.
        generator : torch.Generator, optional
            Not needed: nothing is drawn at random.
        tokens : (B, T, P + G², C) float, optional
            What `trunk` has made of the frames, if that is known.

        Returns
        -------
        list of Prediction
            Of B · T frames, clip by clip. Before each block that sees queries but the last, then
            after the last, which is the answer. Without auxiliary losses only the answer.

        Raises
        ------
        ValueError
            If there are neither pixels nor tokens, or the pixels have another shape.
        """
        if tokens is None:
            if pixels is None:
                raise ValueError("The network wants pixels, or the tokens of its trunk.")
            if pixels.ndim != 5:
                raise ValueError(
                    f"The network takes clips, (B, T, 3, S, S) pixels; these are "
                    f"{tuple(pixels.shape)}."
                )
            # Blocks that see no queries know nothing of time: all frames at once.
            made = self.trunk(pixels.flatten(0, 1))
            tokens = made.reshape(*pixels.shape[:2], *made.shape[1:])
        return self._through(tokens)

    def _through(self, tokens: torch.Tensor) -> list[Prediction]:
        """Take the queries from frame to frame, then predict for all frames at once."""
        learnt = self.model.query.weight[None].expand(len(tokens), -1, -1)
        blocks = self.model.layers[self._first_query_block :]
        queries = learnt
        before: list[list[torch.Tensor]] = [[] for _ in blocks[:-1]]
        after: list[torch.Tensor] = []
        for frame in tokens.unbind(1):
            hidden = torch.cat((queries, frame), dim=1)
            for k, block in enumerate(blocks):
                if self.has_auxiliary_losses and k < len(before):
                    before[k].append(hidden)
                hidden = block(hidden)
            after.append(hidden)
            queries = self.model.query_updater(hidden[:, : self.n_queries]) + learnt
        predictions = [self._predicted(_clips(hidden)) for hidden in before if hidden]
        return [*predictions, self._predicted(self.model.layernorm(_clips(after)))]

    def _predicted(self, tokens: torch.Tensor) -> Prediction:
        """Predict from tokens as they are, (B · T, Q + P + G², C)."""
        query, patches = tokens[:, : self.n_queries], tokens[:, self.n_queries + self._n_prefix :]
        grid = patches.reshape(len(patches), *self.model.grid_size, -1)
        features = upscale(self.model.upscale_block.block, grid)
        return Prediction(
            class_logits=self.model.class_predictor(query),
            queries=self.model.mask_head(query),
            features=features.flatten(1, 2),
            size=(features.shape[1], features.shape[2]),
        )


def _clips(frames: list[torch.Tensor]) -> torch.Tensor:
    """Put what was made frame after frame together clip by clip."""
    return torch.stack(frames, dim=1).flatten(0, 1)
