"""How fast training samples are made, beside a training step that learns from them, in one run.

    python benchmarks/training_data.py --dataset DATASET

First images of 640 × 480 px with 20 objects for a ViT-S-sized EoMT at 640 px, which sees whole
images: our samples; the same from a mask for each object, resized with the whole image and then
cut, as the recipe is published; and a training step. Then tiles of 128 px: of drawn nuclei, or of
a dataset, for the bundled model. Times are CPU seconds of one thread, medians, an image; reading
from disk is in the first epoch alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from transformers import EomtConfig, EomtForUniversalSegmentation

import napari_eomt
from napari_eomt.formats.dataset import load_dataset
from napari_eomt.models.card import read_card
from napari_eomt.models.load import load_segmenter
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.training.augment import padded
from napari_eomt.training.batches import to_batch
from napari_eomt.training.labels import match_categories
from napari_eomt.training.loss_params import LossParams
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.params import full, quick
from napari_eomt.training.samples import SampleSet
from napari_eomt.training.sources import DatasetSource, ImageEntry
from napari_eomt.training.step import train_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.models.card import ModelCard

NUCLEI = Path(napari_eomt.__file__).parent / "models" / "bundled" / "nuclei-nano"


class Drawn:
    """Images in memory."""

    categories = (Category(1, "nucleus"),)

    def __init__(self, n: int, shape: tuple[int, int], n_objects: int, enlarged: int = 1) -> None:
        self._images: dict[str, tuple[np.ndarray, Segmentation]] = {}
        for k in range(n):
            small = (shape[0] // enlarged, shape[1] // enlarged)
            grey, ids = drawn_nuclei(small, n_objects, seed=k)
            ids = np.kron(ids, np.ones((enlarged, enlarged), ids.dtype))
            grey = np.kron(grey, np.ones((enlarged, enlarged), grey.dtype))
            # In colour, so that no change of colours is left out.
            rgb = np.stack([grey, grey[::-1], grey // 2], axis=2)
            rows = tuple(Segment(i, 1, status=Status.DRAWN) for i in range(1, n_objects + 1))
            self._images[str(k)] = rgb, Segmentation(ids, rows)
        self.entries = tuple(ImageEntry(key, key, key, shape) for key in self._images)

    def frame(self, key: str) -> np.ndarray:
        return self._images[key][0]

    def segmentation(self, key: str) -> Segmentation:
        return self._images[key][1]


def median_time(run: Callable[[int], Any], n: int) -> float:
    times = []
    for k in range(n):
        start = time.process_time()
        run(k)
        times.append(time.process_time() - start)
    return statistics.median(times)


def from_masks(samples: SampleSet, number: int, size: int) -> Any:
    """Make the same view by resizing the image and a mask for each object, and cutting."""
    view = samples.at(number).view
    image = samples._images.get(samples.at(number).key)
    height, width = view.canvas
    tile = np.s_[view.tile.y0 : view.tile.y1, view.tile.x0 : view.tile.x1]
    start = time.process_time()
    whole = np.asarray(
        Image.fromarray(image.rgb).resize((width, height), Image.Resampling.BILINEAR)
    )
    pixels = padded(whole[tile], size)
    masks = []
    for k in range(len(image.truth)):
        mask = Image.fromarray(image.truth.rows == k + 1)
        cut = np.asarray(mask.resize((width, height), Image.Resampling.NEAREST))[tile]
        if cut.any():
            masks.append(padded(cut, size))
    stop = time.process_time()
    return pixels, masks, stop - start


def step_time(samples: SampleSet, network: TrainingNetwork, card: ModelCard, n: int) -> float:
    """Return the time of a training step, an image."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-5)
    batch_size = 1 if card.input_size > 300 else 8
    batches = [
        to_batch([samples.at(n * k + i) for i in range(batch_size)], card, torch.device("cpu"))
        for k in range(n)
    ]
    generator = torch.Generator().manual_seed(0)

    def step(k: int) -> None:
        train_step(
            network,
            [batches[k]],
            optimizer,
            LossParams(),
            n_queries=card.n_queries,
            generator=generator,
        )

    return median_time(step, n) / batch_size


def report(name: str, seconds: float, step: float) -> None:
    print(
        f"{name:34} {1 / seconds:8.0f} samples/s   {step / seconds:6.0f} × as fast as a step",
        flush=True,
    )


def whole_images(n_steps: int) -> None:
    card = read_card(NUCLEI).model_copy(
        update={"input_size": 640, "object_size": None, "percentiles": None, "n_queries": 200}
    )
    torch.manual_seed(0)
    config = EomtConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, num_blocks=3,
        num_queries=200, num_labels=133, image_size=640, patch_size=16,
    )  # fmt: skip
    network = TrainingNetwork(EomtForUniversalSegmentation(config))
    source = Drawn(16, (480, 640), 20, enlarged=3)
    labels = match_categories(card.categories, source.categories)
    keys = [entry.key for entry in source.entries]
    samples = SampleSet(source, keys, labels, full(), card)
    for k in range(len(samples)):
        samples.at(k)
    ours = median_time(lambda k: samples.at(100 + k), 40)
    masks = statistics.median(from_masks(samples, 100 + k, 640)[2] for k in range(20))
    plain = SampleSet(
        source, keys, labels,
        full(brightness=0, contrast_jitter=0, saturation=0, hue=0, flips="none"), card,
    )  # fmt: skip
    for k in range(len(plain)):
        plain.at(k)
    without = median_time(lambda k: plain.at(100 + k), 40)
    step = step_time(samples, network, card, n_steps)
    print(f"640 px, ViT-S: a training step takes {step:.2f} CPU s an image", flush=True)
    report("  random views, colours changed", ours, step)
    report("  random views", without, step)
    report("  from a mask for each object", masks, step)


def tiles(dataset: Path | None, n_steps: int) -> None:
    card = read_card(NUCLEI)
    source: Any = (
        Drawn(16, (256, 320), 40) if dataset is None else DatasetSource(load_dataset(dataset))
    )
    labels = match_categories(card.categories, source.categories)
    keys = [entry.key for entry in source.entries]
    network = TrainingNetwork(load_segmenter("nuclei-nano", device="cpu", dtype="fp32").model)
    step = 0.0
    for name, params in (("random views, colours changed", full()), ("grid", quick())):
        samples = SampleSet(source, keys, labels, params, card)
        start = time.process_time()
        for k in range(len(samples)):
            samples.at(k)
        first = (time.process_time() - start) / len(samples)
        ours = median_time(lambda k: samples.at(len(samples) + k), 500)  # noqa: B023
        if not step:
            step = step_time(samples, network, card, n_steps)
            print(
                f"128 px, bundled model: a training step takes {step:.3f} CPU s an image",
                flush=True,
            )
        report(f"  {name}", ours, step)
        report("    with reading, first epoch", first, step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    whole_images(given.steps)
    tiles(given.dataset, given.steps)


if __name__ == "__main__":
    main()
