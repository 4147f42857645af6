"""A window in which somebody works without a rest, to be killed: seed, image file.

It prints "ready", and then the time before and after each step with a digest of the document.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time

os.environ["NAPARI_CONFIG"] = ""
os.environ.setdefault("QT_API", "pyqt6")

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from tests.annotation.random_edits import state

from napari_eomt.structures.categories import Category
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.widgets.dock import EomtDock
from napari_eomt.worker.client import WorkerClient

H, W = 120, 160
PAUSE_S = 0.004


def digest(document) -> str:
    """Return what tells a document from another."""
    pixels, segments, categories, states = state(document)
    text = repr((sorted(segments.items()), sorted(categories.items()), states))
    return hashlib.sha256(pixels + text.encode()).hexdigest()[:16]


def empty_result(results, image):
    """Return a result without objects, as "Start with nothing: draw" makes it."""
    roles = guess_roles(image)
    categories = [Category(1, "cell"), Category(2, "debris")]
    return results.create("key", image, roles, LayerSource(image, roles), categories)


class Window:
    """A viewer with an image and the dock."""

    def __init__(self, image_path) -> None:
        self.viewer = napari.Viewer()
        self.client = WorkerClient()  # not started: no model is needed to draw
        self.client.start = lambda: None
        self.client.load = lambda ref: 0
        self.dock = EomtDock(self.viewer, client=self.client)
        self.viewer.window.add_dock_widget(self.dock, area="right")
        self.image = self.viewer.add_image(np.load(image_path), name="cells")


def step(rng, runner, result) -> None:
    """Do what a person does: a stroke, a decision, a step back."""
    layer, session, document = result.view.layer, result.session, result.document
    choice = rng.random()
    keys = [(0, i) for i in document.segments(0)]
    if choice < 0.5 or not keys:
        is_new = rng.random() < 0.6 or not keys
        layer.selected_label = document.next_id if is_new else keys[rng.integers(len(keys))][1]
        layer.brush_size = int(rng.integers(3, 12))
        y, x = rng.integers(5, H - 5), rng.integers(5, W - 5)
        with layer.block_history():  # a stroke of several touches
            for k in range(3):
                layer.paint((int(y), int(min(W - 1, x + 2 * k))), layer.selected_label)
        return
    session.select([keys[rng.integers(len(keys))]])
    name = "undo" if choice < 0.62 else "delete" if choice < 0.72 else "lock"
    if choice >= 0.8:
        name = "category_1" if rng.random() < 0.5 else "category_2"
    runner.run(name)


def tell(*values) -> None:
    sys.stdout.write(" ".join(map(str, values)) + "\n")
    sys.stdout.flush()


def main() -> None:
    seed, image_path = int(sys.argv[1]), sys.argv[2]
    window = Window(image_path)
    result = empty_result(window.dock.results, window.image)
    QApplication.processEvents()
    rng = np.random.default_rng(seed)
    tell("ready")
    while True:
        before = time.monotonic()
        step(rng, window.dock.runner, result)
        tell(before, time.monotonic(), digest(result.document))
        QApplication.processEvents()
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
