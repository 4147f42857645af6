"""How long the window stalls while a training starts, runs, and finishes.

As `responsiveness.py`, whose timer it uses; the training is a real one of the bundled model on
drawn nuclei, in its process, with the page Learn in front. Run it under a display, or::

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/learning_responsiveness.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np

from napari_eomt.formats.dataset import Dataset
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.synthetic import drawn_nuclei
from responsiveness import Gaps, napari, report, wait


class BothGaps(Gaps):
    """Collects beside the gaps what the window itself computed in each, whatever else runs."""

    def __init__(self) -> None:
        super().__init__()
        self._cpu, self.cpu = thread_time(), []

    def show(self, name: str, seconds: float) -> None:
        report(name, self.take(), seconds)
        own = np.sort(np.array(self.cpu or [0.0]))
        self.cpu, self._cpu = [], thread_time()
        print(
            f"{'  of it computed by the window':34s} {own.sum() / 1000:7.1f} s  p50 "
            f"{np.percentile(own, 50):6.1f}  p99 {np.percentile(own, 99):6.1f}  max "
            f"{own[-1]:7.1f} ms  over 50 ms: {int((own > 50).sum()):3d}",
            flush=True,
        )

    def _on_tick(self) -> None:
        super()._on_tick()
        now = thread_time()
        self.cpu.append((now - self._cpu) * 1000)
        self._cpu = now


def save_nuclei(folder: Path, n_images: int) -> Path:
    with Dataset.create(folder) as dataset:
        for k in range(n_images):
            pixels, ids = drawn_nuclei((192, 192), 14, seed=k)
            found = Segmentation(ids, tuple(Segment(int(i), 1) for i in np.unique(ids) if i))
            categories = [Category(1, "nucleus")]
            dataset.add(pixels, found, name=f"nuclei-{k}", categories=categories)
        dataset.save()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    os.environ["NAPARI_EOMT_RUNS_DIR"] = str(folder / "runs")
    dataset = save_nuclei(folder / "nuclei", 6)
    viewer = napari.Viewer(show=True)
    gaps = BothGaps()
    start = perf_counter()
    wait(lambda: perf_counter() - start > 3)
    gaps.show("idle, without the dock", 3)

    _, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
    seconds = wait(lambda: "ready" in dock.model.status.text())
    gaps.show("the dock opens, the model loads", seconds)
    page = dock.train
    dock.show_page("learn")
    start = perf_counter()
    wait(lambda: perf_counter() - start > 2)
    gaps.show("the page is first shown", 2)

    form = {"preset": "quick", "steps": args.steps, "batch_size": 4, "undecided": "learn"}
    page.form.load(form)
    page.data.show_folder(dataset)
    seconds = wait(page.new.learn.isEnabled)
    gaps.show("a dataset is read", seconds)

    page.new.learn.click()
    seconds = wait(lambda: bool(page.view.news) and page.view.news[0].step > 0)
    gaps.show("the training starts", seconds)
    seconds = wait(lambda: page.view.news[0].step >= args.steps)
    gaps.show(f"it runs, {args.steps} steps, 11 checks", seconds)
    seconds = wait(lambda: page.view.news[0].status == "finished" and page.view.scores.isVisible())
    start = perf_counter()
    wait(lambda: perf_counter() - start > 2)
    gaps.show("it finishes", seconds + 2)
    page.view.use.click()
    seconds = wait(lambda: dock.model.model == page.view.news[0].folder.name, 60)
    start = perf_counter()
    wait(lambda: perf_counter() - start > 2)
    gaps.show("its model is used", seconds + 2)
    viewer.close()


if __name__ == "__main__":
    main()
