"""What a brush stroke costs in a result's layer beyond what it costs in a bare Labels layer.

    xvfb-run -a -s "-screen 0 1600x1000x24" python -m benchmarks.stroke

The same strokes, alternating, in one run and one window that also shows the Correct page: with its
release a stroke becomes a step of the session, and the features and the table show it. Times are
CPU time of the window's thread, so that other programs do not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from time import thread_time
from typing import TYPE_CHECKING

os.environ["NAPARI_CONFIG"] = ""
os.environ.setdefault("NAPARI_EOMT_CONFIG_DIR", tempfile.mkdtemp())

import numpy as np
from benchmarks.segment_table import Bench
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from napari.layers import Labels

N_STEPS = 20


def stroke(layer: Labels, start: tuple[float, float], label: int) -> tuple[float, float]:
    """Draw a line of 20 steps; return the ms of its drawing, and of its end."""
    begin = thread_time()
    layer._begin_stroke()
    y, x = start
    for k in range(N_STEPS):
        layer._draw(label, (y, x + 6 * k), (y, x + 6 * k + 6))
    drawn = thread_time()
    layer._commit_stroke()
    return (drawn - begin) * 1000, (thread_time() - drawn) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096, help="side of the image, px")
    parser.add_argument("--objects", type=int, default=5_000)
    parser.add_argument("--brush", type=int, default=20, help="px")
    parser.add_argument("--times", type=int, default=20)
    args = parser.parse_args()
    bench = Bench(args.size, args.objects)
    ours = bench.result.view.layer
    bare = bench.viewer.add_labels(ours.data.copy(), name="bare", features=ours.features)
    rng = np.random.default_rng(0)
    for by_category in (False, True):
        bench.result.view.color_by_category(by_category)
        times: dict[str, list[tuple[float, float, float]]] = {"bare": [], "ours": []}
        for k in range(args.times):
            start = tuple(rng.uniform(200, args.size - 200, 2))
            # In turn an object that is there, a new one, and the eraser.
            known, new = 100 + k, args.objects + 1 + k + args.times * by_category
            label = (known, new, 0)[k % 3]
            if label == known:
                start = bench.result.document.segments(0)[known].bbox[:2]
            for name, layer in (("bare", bare), ("ours", ours)):
                bench.viewer.layers.selection.active = layer
                layer.mode = "paint"
                layer.brush_size = args.brush
                bench.settle()
                begin = thread_time()
                drawing, end = stroke(layer, start, label)
                QApplication.processEvents()
                times[name].append((drawing, end, (thread_time() - begin) * 1000))
        print("coloured by category" if by_category else "coloured each by itself")
        medians = {}
        for name, rows in times.items():
            medians[name] = [statistics.median(column) for column in zip(*rows, strict=True)]
            drawing, end, shown = medians[name]
            print(f"  {name}: drawing {drawing:6.1f}   end {end:6.1f}   shown {shown:6.1f} ms")
        more = [ours - bare for ours, bare in zip(medians["ours"], medians["bare"], strict=True)]
        print(f"  more: drawing {more[0]:6.1f}   end {more[1]:6.1f}   shown {more[2]:6.1f} ms")
    bench.close()


if __name__ == "__main__":
    main()
