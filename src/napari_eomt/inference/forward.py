"""Run a model over the views of an image, and again with less when memory runs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from napari_eomt.errors import ModelError
from napari_eomt.inference.canvas_views import tokens_key
from napari_eomt.models.segmenter import QueryOutput, Segmenter, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_eomt.inference.trunk_cache import TrunkCache

T = TypeVar("T")

_TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 32768}
"""Tokens of a batch: on a CPU more of them gain nothing, and a cancel would wait for them."""


class Forward:
    """Runs a model over views in batches, and retries with less when memory runs out.

    First the batch is halved, down to one view; then the precision, on a GPU; then the model moves
    to the CPU, where it stays. (The size of a view is the model's own and cannot shrink.) What was
    done stands in `notes`, for the user.

    Parameters
    ----------
    segmenter : Segmenter
    trunks : TrunkCache, optional
        What the first part of models has made of views, where that is kept: it is not run again.
    """

    def __init__(self, segmenter: Segmenter, trunks: TrunkCache | None = None) -> None:
        self.segmenter = segmenter
        self._trunks = trunks
        self.notes: list[str] = []
        card = segmenter.card
        n_tokens = (card.input_size // card.patch_size) ** 2 + card.n_queries
        at_once = _TOKENS_AT_ONCE.get(segmenter.device.type, _TOKENS_AT_ONCE["cpu"])
        self.batch_size = max(1, at_once // n_tokens)

    def iter_outputs(
        self,
        tiles: Sequence[T],
        pixels_of: Callable[[T], npt.NDArray[np.float32]],
        content_of: Callable[[T], str] | None = None,
    ) -> Iterator[list[tuple[T, QueryOutput]]]:
        """Yield the views with the model's output, a batch at a time, in order.

        Parameters
        ----------
        tiles : sequence
            What names a view, such as a `Tile`.
        pixels_of : callable
            Gives the (3, S, S) float32 pixels of a view; not asked for what is kept.
        content_of : callable, optional
            Names what a view shows. Without it nothing is kept.

        Raises
        ------
        ModelError
            If memory does not suffice for one view even on the CPU.
        """
        done = 0
        while done < len(tiles):
            batch = tiles[done : done + self.batch_size]
            try:
                output, made = self._run(batch, pixels_of, content_of)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                # Left alive, the traceback would hold on to the tensors that did not fit.
                error.__traceback__ = None
                self._shrink(len(batch))
                continue
            if self._overflowed(output):
                continue
            if self._trunks is not None:
                for key, tokens in made.items():
                    self._trunks.put(key, tokens)
            for note in self.segmenter.notes:
                self._note(note)
            self.segmenter.notes.clear()
            yield [
                (tile, QueryOutput(output.class_logits[i : i + 1], output.mask_logits[i : i + 1]))
                for i, tile in enumerate(batch)
            ]
            done += len(batch)

    def _run(
        self,
        tiles: Sequence[T],
        pixels_of: Callable[[T], npt.NDArray[np.float32]],
        content_of: Callable[[T], str] | None,
    ) -> tuple[QueryOutput, dict[str, torch.Tensor]]:
        """Return the model's output, and what its first part has made that was not kept."""
        segmenter, cache = self.segmenter, self._trunks
        # Another one after a retry with less: what is kept is of the same precision and device.
        fingerprint = None if cache is None or content_of is None else segmenter.trunk_fingerprint
        if cache is None or content_of is None or fingerprint is None:
            return segmenter.forward(stacked(tiles, pixels_of)), {}
        keys = [tokens_key(fingerprint, content_of(tile)) for tile in tiles]
        kept = [cache.get(key) for key in keys]
        missing = [i for i, tokens in enumerate(kept) if tokens is None]
        found = [tokens for tokens in kept if tokens is not None]
        if not missing:
            return segmenter.decode(torch.stack(found).to(segmenter.device)), {}
        made = segmenter.trunk(stacked([tiles[i] for i in missing], pixels_of))
        new = {keys[i]: tokens for i, tokens in zip(missing, made, strict=True)}
        if not found:
            return segmenter.decode(made), new
        old = iter(torch.stack(found).to(made.device))
        fresh = iter(made)
        both = [next(fresh if tokens is None else old) for tokens in kept]
        return segmenter.decode(torch.stack(both)), new

    def _overflowed(self, output: QueryOutput) -> bool:
        """Whether half precision was too narrow for the model; if so, move to a wider one."""
        if self.segmenter.dtype is not torch.float16 or bool(output.class_logits.isfinite().all()):
            return False
        device = self.segmenter.device
        wide = device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.segmenter.to(device, torch.bfloat16 if wide else torch.float32)
        self._note(
            f"{self.segmenter.card.name} overflows in fp16: continued in "
            f"{'bf16' if wide else 'fp32'}. Choose that precision for it."
        )
        return True

    def _shrink(self, n_views: int) -> None:
        device = self.segmenter.device
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if n_views > 1:
            self.batch_size = n_views // 2
            self._note(f"Memory of {device} ran out: continued with {self.batch_size} at a time.")
        elif device.type == "cuda" and self.segmenter.dtype is torch.float32:
            self.segmenter.to(device, torch.float16)
            self._note(f"Memory of {device} ran out: continued in half precision.")
        elif device.type != "cpu":
            self.segmenter.to(torch.device("cpu"), torch.float32)
            self._note(f"Memory of {device} ran out: continued on the CPU, which is slower.")
        else:
            raise ModelError(
                f"{self.segmenter.card.name}: memory does not suffice for a single view of "
                f"{self.segmenter.card.input_size} px. Close other programs, or choose a smaller "
                "model."
            )

    def _note(self, note: str) -> None:
        # Only the last step down is worth a line of the user's attention.
        self.notes = [note]


def stacked(tiles: Sequence[T], pixels_of: Callable[[T], npt.NDArray[np.float32]]) -> torch.Tensor:
    """Return the pixels of some views as one batch, (B, 3, S, S)."""
    return torch.from_numpy(np.stack([pixels_of(tile) for tile in tiles]))
