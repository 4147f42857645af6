"""Samples as a step takes them: normalised pixels and targets on the model's device."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_eomt.inference.preprocess import normalised_levels
from napari_eomt.training.clip_samples import ClipSample
from napari_eomt.training.step import Batch
from napari_eomt.training.targets import ImageTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.models.card import ModelCard
    from napari_eomt.training.samples import Sample


def to_batch(
    samples: Sequence[Sample] | Sequence[ClipSample], card: ModelCard, device: torch.device
) -> Batch:
    """Put samples together.

    Parameters
    ----------
    samples : sequence of B Sample or ClipSample
        Clips of one length.
    card : ModelCard
    device : torch.device
    """
    frames, clips = frames_of(samples)
    targets = [to_targets(sample).to(device, non_blocking=True) for sample in frames]
    return as_clips(Batch(targets, to_pixels(frames, card, device)), clips)


def frames_of(
    samples: Sequence[Sample] | Sequence[ClipSample],
) -> tuple[list[Sample], list[ClipSample]]:
    """Return the frames of clips, clip by clip, and the clips; samples of images have none."""
    clips = [sample for sample in samples if isinstance(sample, ClipSample)]
    images = [sample for sample in samples if not isinstance(sample, ClipSample)]
    return [*images, *chain.from_iterable(clip.frames for clip in clips)], clips


def as_clips(batch: Batch, clips: Sequence[ClipSample]) -> Batch:
    """Return a batch of frames as one of the clips that they are of; without clips as it is."""
    if not clips:
        return batch
    n_clips = len(clips)

    def folded(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor.reshape(n_clips, -1, *tensor.shape[1:])

    visible = [torch.from_numpy(clip.visible) for clip in clips]
    return Batch(batch.targets, folded(batch.pixels), folded(batch.tokens), visible)


def to_pixels(samples: Sequence[Sample], card: ModelCard, device: torch.device) -> torch.Tensor:
    """Return the pixels of samples, (B, 3, S, S) float32, normalised as in prediction."""
    stacked = torch.from_numpy(np.stack([sample.pixels for sample in samples]))
    # As 8 bits they take a quarter of the way to the device.
    levels = stacked.to(device, non_blocking=True).int()
    # Looked up, to be equal to the last bit: what a trunk makes of them serves prediction, too.
    table = torch.tensor(normalised_levels(card.image_mean, card.image_std), device=device)
    return torch.stack([table[c][levels[..., c]] for c in range(3)], dim=1)


def to_targets(sample: Sample) -> ImageTargets:
    """Return what the model should find in a sample."""
    rows = torch.from_numpy(sample.id_map.astype(np.int32)) - 1
    ignore = None if sample.ignore is None else torch.from_numpy(sample.ignore)
    return ImageTargets(torch.from_numpy(sample.labels), rows=rows, ignore=ignore)
