"""Looking at each view several times: what it costs beside looking once.

    python benchmarks/looks.py

Of each model one image, with one look to five in turn, in one run, CPU seconds of the process with
one thread (`--wall`: of the clock), medians; as ratios to one look. What is beyond the number of
looks is the joining of what they say; what is missing is what does not grow with them: bringing the
image to its size, and deciding.

The models: the bundled one on 512² drawn nuclei, tile by tile; and a random EoMT of ViT-S's size,
12 blocks of which 3 see 200 queries, on an image of 640 px as a whole.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict
from napari_eomt.models.card import MOST_LOOKS
from napari_eomt.models.load import load_segmenter
from napari_eomt.synthetic import drawn_nuclei
from pipeline import save_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--wall", action="store_true")
    args = parser.parse_args()
    clock = time.perf_counter if args.wall else time.process_time
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), 60)
        cases = {
            "nuclei-nano, 512 px": (
                load_segmenter("nuclei-nano", "cpu"),
                drawn_nuclei((512, 512), 120, seed=0)[0],
                PredictParams(object_size=20.0),
            ),
            "ViT-S 12 blocks, 640 px": (
                load_segmenter(folder, "cpu"),
                np.random.default_rng(0).integers(0, 256, (640, 640, 3), dtype=np.uint8),
                PredictParams(task="instance", tiling="whole"),
            ),
        }
        for name, (segmenter, image, params) in cases.items():
            seconds: dict[int, list[float]] = {n: [] for n in range(1, MOST_LOOKS + 1)}
            predict(image, segmenter, params, looks=1)
            for _ in range(args.repeats):
                for n, taken in seconds.items():
                    start = clock()
                    predict(image, segmenter, params, looks=n)
                    taken.append(clock() - start)
            once = statistics.median(seconds[1])
            print(f"{name}: one look {once:.2f} s; " + ", ".join(
                f"{n} looks {statistics.median(taken) / once:.2f} times that"
                for n, taken in seconds.items() if n > 1
            ))  # fmt: skip


if __name__ == "__main__":
    main()
