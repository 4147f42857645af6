"""VidEoMT, one frame at a time: objects keep their query from frame to frame."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from napari_eomt.errors import ModelError
from napari_eomt.models.eomt import EomtSegmenter
from napari_eomt.models.query_state import QueryState
from napari_eomt.models.segmenter import QueryOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from transformers import VideomtForUniversalSegmentation

    from napari_eomt.models.card import ModelCard

_SAMPLED = 2**16
_STRIDE = 17


def model_fingerprint(model: torch.nn.Module) -> str:
    """Name a model by its weights, as they are stored: 64 hexadecimal digits.

    Of tensors with more than 65,536 numbers every 17th counts, as training changes them all: 0.1 s
    of ViT-L instead of 0.8.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        # The probabilities of masked attention, and the weights of the loss, do not act here.
        if name in ("attn_mask_probs", "criterion.empty_weight"):
            continue
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        numbers = tensor.detach().cpu().flatten()
        sample = numbers[::_STRIDE] if numbers.numel() > _SAMPLED else numbers
        digest.update(sample.float().contiguous().numpy().data)
    return digest.hexdigest()


class VideomtSegmenter(EomtSegmenter):
    """VidEoMT with a DINOv2 backbone, for inference on videos as they come.

    `forward` takes each frame by itself, as every `Segmenter` does. `step` goes from a frame to
    the next, and `iter_clip` through all of them; both give what transformers' module gives of
    the whole clip, in the memory of a few frames. Between frames there is the `QueryState` alone,
    and it belongs to the caller: None begins a new video.

    A state fits the model that made it on any device, in any precision, at any input size.

    References
    ----------
    https://github.com/tue-mps/videomt
    """

    model: VideomtForUniversalSegmentation

    def __init__(
        self,
        card: ModelCard,
        model: VideomtForUniversalSegmentation,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        # Before the weights are rounded to the precision of this run.
        self.fingerprint = model_fingerprint(model)
        super().__init__(card, model, device, dtype)

    def compile(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile the forward pass, and both parts of a step; see `EomtSegmenter.compile`."""
        super().compile(backend)
        self._compiled_trunk = torch.compile(self._trunk, fullgraph=True, backend=backend)
        self._compiled_blocks = torch.compile(self._query_blocks, fullgraph=True, backend=backend)

    @torch.inference_mode()
    def step(
        self, frame: torch.Tensor, state: QueryState | None = None
    ) -> tuple[QueryOutput, QueryState]:
        """Run the model on the next frame of a video, or of B videos side by side.

        Parameters
        ----------
        frame : (B, 3, S, S) or (B, N, C) float
            Pixels, as of `forward`; or the tokens that `trunk` has made of them.
        state : QueryState, optional
            What the step before has returned; None for the first frame of a video.

        Returns
        -------
        (QueryOutput, QueryState)
            As of `forward`; and the state for the next frame, on the model's device.

        Raises
        ------
        ModelError
            If another model has made the state.
        ValueError
            If the pixels have another shape, or the state is of another number of videos.
        """
        tokens = self._ahead(frame) if frame.ndim != 3 else self._checked_tokens(frame)
        queries = self._queries(state, tokens.shape[0])
        if self._compiled is None:
            class_logits, mask_logits, after = self._query_blocks(queries, tokens)
        else:
            class_logits, mask_logits, after = self._run_compiled(
                self._compiled_blocks, self._query_blocks, queries, tokens
            )
        kept = after[:, : queries.shape[1]]
        n_seen = 0 if state is None else state.frame
        output = QueryOutput(class_logits.float(), mask_logits.float())
        return output, QueryState(kept, n_seen + 1, self.fingerprint)

    def iter_clip(
        self,
        frames: Iterable[torch.Tensor],
        state: QueryState | None = None,
        look_ahead: int = 1,
    ) -> Iterator[tuple[QueryOutput, QueryState]]:
        """Run the model on frames as they are asked for, in constant memory.

        Parameters
        ----------
        frames : iterable of (B, 3, S, S) float
            Taken `look_ahead` at a time, and not before they are needed.
        state : QueryState, optional
            Of the frame before the first; None begins a video.
        look_ahead : int
            How many frames pass the blocks that know no queries in one batch: faster where a frame
            does not fill the device. So many frames' tokens are held at most.

        Yields
        ------
        (QueryOutput, QueryState)
            Of each frame, as of `step`.

        Raises
        ------
        ModelError, ValueError
            As of `step`; also if `look_ahead` is less than 1.
        """
        if look_ahead < 1:
            raise ValueError(f"look_ahead is {look_ahead}, expected at least 1: the frame itself.")
        return self._iter_clip(iter(frames), state, look_ahead)

    def _iter_clip(
        self, frames: Iterator[torch.Tensor], state: QueryState | None, look_ahead: int
    ) -> Iterator[tuple[QueryOutput, QueryState]]:
        while batch := list(islice(frames, look_ahead)):
            sizes = [len(frame) for frame in batch]
            ahead = self._ahead(torch.cat(batch))
            del batch
            for tokens in torch.split(ahead, sizes):
                output, state = self.step(tokens, state)
                yield output, state
                del output
            # The next batch is made before these names are bound again.
            del ahead, tokens

    @torch.inference_mode()
    def _ahead(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the blocks that know no queries; (B, N, C)."""
        pixels = self._checked(pixels)
        if self._compiled is None:
            return self._trunk(pixels)
        return self._run_compiled(self._compiled_trunk, self._trunk, pixels)

    def _checked_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        config = self.model.config
        n_patches = (self.card.input_size // self.card.patch_size) ** 2
        expected = (1 + config.num_register_tokens + n_patches, config.hidden_size)
        if tuple(tokens.shape[1:]) != expected:
            raise ValueError(
                f"The model's trunk makes (B, {expected[0]}, {expected[1]}) tokens at an input "
                f"size of {self.card.input_size} px; these are {tuple(tokens.shape)}."
            )
        return tokens.to(device=self.device, dtype=self.dtype)

    def _queries(self, state: QueryState | None, n_videos: int) -> torch.Tensor:
        """Return the query tokens of the next frame; (B, Q, C)."""
        learnt = self.model.query.weight[None]
        if state is None:
            # Copied: a compiled step would be compiled once more for a view of the weights.
            return learnt.repeat(n_videos, 1, 1)
        if state.fingerprint != self.fingerprint:
            raise ModelError(
                f"{self.card.name}: the state of the video, after {state.frame} frames, was made "
                "by another model, or by this one before it learnt. Go on with that model, or "
                "start the video again from its first frame."
            )
        if state.queries.shape[0] != n_videos:
            raise ValueError(
                f"The state is of {state.queries.shape[0]} videos, the frame of {n_videos}. Give "
                "each video its own state."
            )
        queries = state.queries.to(device=self.device, dtype=self.dtype)
        updated: torch.Tensor = self.model.query_updater(queries)
        return updated + learnt
