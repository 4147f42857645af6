"""What each step learns from: samples made ahead, as batches, with random numbers of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import torch

from napari_eomt.inference.canvas_views import content_of, tokens_key
from napari_eomt.training.batches import (
    as_clips,
    frames_of,
    to_batch,
    to_pixels,
    to_targets,
)
from napari_eomt.training.feed import iter_ahead, loader_count, step_numbers
from napari_eomt.training.step import Batch
from napari_eomt.training.trunk import Shared, trunk_fingerprint, trunk_tokens, view_key

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_eomt.inference.trunk_cache import TrunkCache
    from napari_eomt.models.card import ModelCard
    from napari_eomt.training.network import TrainingNetwork
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.samples import Sample, SampleSet

_STEPS_AHEAD = 2


class Parts(Sequence[Batch]):
    """The batches of a step; whoever walks through them finds the generators set for each.

    The points at which masks are compared and the queries that are freed of them are drawn at
    random: here from a seed of each part, so that a step is the same in one process or in several,
    and after a stop.

    Parameters
    ----------
    batches : sequence of Batch
    seeds : sequence of int
        One for each.
    generator : torch.Generator
        Of the step; torch's own follows, which DINOv3 draws its positions' scale from.
    """

    def __init__(
        self, batches: Sequence[Batch], seeds: Sequence[int], generator: torch.Generator
    ) -> None:
        self._batches, self._seeds, self._generator = batches, seeds, generator

    def __len__(self) -> int:
        return len(self._batches)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        return self._batches[index]

    def __iter__(self) -> Iterator[Batch]:
        for batch, seed in zip(self._batches, self._seeds, strict=True):
            self._generator.manual_seed(seed)
            torch.manual_seed(seed)
            yield batch


class Supply:
    """Samples of the steps of a rank, and batches of them.

    Parameters
    ----------
    samples : SampleSet
    params : TrainParams
        Resolved.
    card : ModelCard
    rank, n_ranks : int
    """

    def __init__(
        self,
        samples: SampleSet,
        params: TrainParams,
        card: ModelCard,
        *,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        self._samples, self._params, self._card = samples, params, card
        self._rank, self._n_ranks = rank, n_ranks
        self.share = len(step_numbers(0, params.batch_size, rank, n_ranks))

    def iter_steps(self, first: int, n_steps: int) -> Generator[list[Sample], None, None]:
        """Yield the samples of each step, made ahead by threads.

        Parameters
        ----------
        first : int
            Step to begin with, from 0.
        n_steps : int
            Step to end before.
        """
        size = self._params.batch_size
        numbers = (
            number
            for step in range(first, n_steps)
            for number in step_numbers(step, size, self._rank, self._n_ranks)
        )
        made = iter_ahead(
            self._samples.at,
            numbers,
            n_threads=loader_count(self._params.loaders),
            n_ahead=_STEPS_AHEAD * self.share,
        )
        try:
            for _ in range(first, n_steps):
                yield [next(made) for _ in range(self.share)]
        finally:
            made.close()

    def parts(
        self,
        samples: Sequence[Sample],
        step: int,
        micro_batch: int,
        network: TrainingNetwork,
        generator: torch.Generator,
        cache: Kept | None = None,
    ) -> Parts:
        """Put the samples of a step together, so many at a time as fit into memory.

        Parameters
        ----------
        samples : sequence of Sample
            That `iter_steps` gave for the step.
        step : int
        micro_batch : int
        network : TrainingNetwork
        generator : torch.Generator
            On the network's device.
        cache : Kept, optional
            What a frozen trunk has made of views that come again.
        """
        numbers = step_numbers(step, self._params.batch_size, self._rank, self._n_ranks)
        device = network.model.query.weight.device
        batches, seeds = [], []
        for start in range(0, len(samples), micro_batch):
            part = samples[start : start + micro_batch]
            frames, clips = frames_of(part)
            if cache is not None and all(frame.geometry is not None for frame in frames):
                batches.append(as_clips(cache.batch(frames, network, device), clips))
            else:
                batches.append(to_batch(part, self._card, device))
            seeds.append(seed_of(self._params.seed, numbers[start]))
        return Parts(batches, seeds, generator)


class Kept:
    """What a frozen trunk makes of views, kept as long as there is room.

    Parameters
    ----------
    network : TrainingNetwork
        With a frozen trunk.
    card : ModelCard
    cache : TrunkCache
    precision : torch.dtype
        That the trunk runs in.
    predicted : TrunkCache, optional
        What prediction keeps: views that it has seen are taken from there.
    """

    def __init__(
        self,
        network: TrainingNetwork,
        card: ModelCard,
        cache: TrunkCache,
        precision: torch.dtype,
        predicted: TrunkCache | None = None,
    ) -> None:
        self.cache = cache
        self._card, self._precision, self._predicted = card, precision, predicted
        normalisation = (card.image_mean, card.image_std)
        self._fingerprint = trunk_fingerprint(network, precision, normalisation)

    def batch(
        self, samples: Sequence[Sample], network: TrainingNetwork, device: torch.device
    ) -> Batch:
        """Put samples together, as tokens."""
        keys = [view_key(self._fingerprint, s.content, s.geometry) for s in samples]

        def pixels(which: Sequence[int]) -> torch.Tensor:
            return to_pixels([samples[i] for i in which], self._card, device)

        def key_of(i: int) -> str:
            return tokens_key(self._fingerprint, content_of(samples[i].pixels))

        def is_same(i: int) -> bool:
            # A tile of an image that is resized is cut with other rounding.
            view = samples[i].view
            whole = (0, 0, *view.canvas)
            tile = view.tile
            return not view.orientation and (tile.y0, tile.x0, tile.y1, tile.x1) == whole

        shared = None if self._predicted is None else Shared(self._predicted, key_of, is_same)
        tokens = trunk_tokens(
            network, keys, pixels, self.cache, precision=self._precision, shared=shared
        )
        targets = [to_targets(sample).to(device) for sample in samples]
        return Batch(targets, tokens=tokens)


def seed_of(seed: int, number: int) -> int:
    """Return the seed of the random numbers of a part, by the number of its first sample."""
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
