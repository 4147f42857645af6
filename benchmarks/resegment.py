"""Segmenting an image again: the last blocks alone beside the whole network.

    python benchmarks/resegment.py

Of each model, one image: without a cache, with an empty one (what keeping costs), with a warm one,
and with one that a process before has left in files, as after the worker was started again. In one
run, alternating, CPU seconds of the process with one thread (`--wall`: of the clock), medians; as
ratios to the whole network without a cache. The second line of each model is of the forward passes
alone, without the decision which pixels belong to what.

The models: the bundled one on 1024² drawn nuclei, tile by tile; and a random EoMT of ViT-S's size,
12 blocks of which 3 see queries, on an image of 640 px.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_eomt.inference.canvas_views import CanvasViews
from napari_eomt.inference.forward import Forward
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.plan import make_plan
from napari_eomt.inference.predict import iter_predict
from napari_eomt.inference.preprocess import resize, to_rgb8
from napari_eomt.inference.trunk_cache import TrunkCache
from napari_eomt.models.load import load_segmenter
from napari_eomt.synthetic import drawn_nuclei
from pipeline import save_model

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND = 2**30
WAYS = ("whole", "keeping", "kept", "kept in files")


def open_cache(folder: Path) -> TrunkCache:
    return TrunkCache(BOUND // 4, folder, BOUND, dtype=None, is_durable=True)


def run(segmenter: Any, image: np.ndarray, params: PredictParams, cache: TrunkCache | None) -> Any:
    steps = iter_predict(image, segmenter, params, trunks=cache)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value.segmentation


def forward(
    segmenter: Any, image: np.ndarray, params: PredictParams, cache: TrunkCache | None
) -> None:
    card = segmenter.card
    rgb = to_rgb8(image, params, card)
    size = params.object_size if isinstance(params.object_size, float) else None
    plan = make_plan((rgb.shape[0], rgb.shape[1]), card, params, size)
    views = CanvasViews(resize(rgb, plan.canvas), card)
    for _ in Forward(segmenter, cache).iter_outputs(plan.tiles, views.pixels, views.content):
        pass


def measure(
    what: Callable[..., Any], segmenter: Any, image: np.ndarray, params: PredictParams, args: Any
) -> dict[str, list[float]]:
    clock = time.perf_counter if args.wall else time.process_time
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as name:
            filled = open_cache(Path(name))
            for way in WAYS:
                if way == "kept in files":
                    filled.flush()
                    cache: TrunkCache | None = open_cache(Path(name))
                else:
                    cache = None if way == "whole" else filled
                start = clock()
                what(segmenter, image, params, cache)
                if cache is not None and not args.wall:
                    cache.flush()  # what the thread that writes takes belongs to it
                seconds[way].append(clock() - start)
            n_bytes = filled.disk_used
    print(f"  {n_bytes / 1e6:.1f} MB in files")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--wall", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), 60)
        rng = np.random.default_rng(0)
        cases = {
            "nuclei-nano, 1024 px": (
                load_segmenter("nuclei-nano", "cpu"),
                drawn_nuclei((1024, 1024), 400, seed=0)[0],
                PredictParams(object_size=20.0, looks=1),
            ),
            "ViT-S 12 blocks, 640 px": (
                load_segmenter(folder, "cpu"),
                rng.integers(0, 256, (640, 640, 3), dtype=np.uint8),
                PredictParams(task="instance", tiling="whole"),
            ),
        }
        for name, (segmenter, image, params) in cases.items():
            print(name)
            plain = run(segmenter, image, params, None)
            with tempfile.TemporaryDirectory() as kept:
                cache = open_cache(Path(kept))
                for _ in range(2):
                    same = run(segmenter, image, params, cache)
                    assert (same.id_map == plain.id_map).all(), name
                cache.flush()
            for what in (run, forward):
                seconds = measure(what, segmenter, image, params, args)
                middle = {way: statistics.median(times) for way, times in seconds.items()}
                line = ", ".join(f"{way} {middle[way] / middle['whole']:.2f}" for way in WAYS[1:])
                label = "image" if what is run else "forward passes"
                print(f"  {label}: whole {middle['whole']:.2f} s; {line} of it")


if __name__ == "__main__":
    main()
