"""Make the pictures of the documentation anew: ``.venv/bin/python scripts/make_screenshots.py``.

They are taken on a display made up by Xvfb where there is one, so that they come out the same size
everywhere; and with settings and a cache of models of their own, so that nobody's show.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_eomt.annotation.operations import set_status
from napari_eomt.formats.dataset import Dataset
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.synthetic import drawn_nuclei, moving_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtWidgets import QWidget

    from napari_eomt.widgets.dock import EomtDock
    from napari_eomt.widgets.run_tail import RunNews

IMAGES = Path(__file__).parents[1] / "docs" / "images"
XVFB = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24"]
TIMEOUT_S = 120
MODEL = "eomt-large-coco-panoptic-640"
LEARN = {"preset": "quick", "steps": 60, "batch_size": 4, "learning_rate": 1e-3}


def main() -> None:
    program = Path(sys.executable).with_name("napari-eomt")
    IMAGES.mkdir(exist_ok=True)
    demo = IMAGES / "demo.png"
    commands = {demo: [str(program), "demo", "--screenshot", str(demo)]}
    for name in PICTURES:
        image = IMAGES / f"{name}.png"
        commands[image] = [sys.executable, __file__, str(image)]
    for image, command in commands.items():
        with TemporaryDirectory() as folder:
            own = {"NAPARI_CONFIG": "", "NAPARI_EOMT_CONFIG_DIR": folder, "HF_HOME": folder}
            own["NAPARI_EOMT_SESSIONS_DIR"] = own["NAPARI_EOMT_RUNS_DIR"] = folder
            on_display = [*XVFB, *command] if shutil.which("xvfb-run") else command
            subprocess.run(on_display, check=True, env={**os.environ, **own})
        print(image)


def models(viewer: napari.Viewer, dock: EomtDock) -> QWidget:
    """Return the window of all models."""
    dock.show_models()
    dock.models.select(MODEL)
    return dock.models


def correct(viewer: napari.Viewer, dock: EomtDock) -> QWidget:
    """Return the window with the page Correct, a few objects decided."""
    viewer.open_sample("napari-eomt", "nuclei_fluorescence_large")
    dock.page.run_frame()
    _settle(TIMEOUT_S, lambda: dock.current.result is not None and not dock.page.is_running)
    dock.show_page("correct")
    result = dock.current.result
    ids = sorted(result.document.segments(0))
    result.session.do(set_status(result.document, [(0, i) for i in ids[3:9]], Status.ACCEPTED))
    result.session.select([(0, ids[0])])
    return viewer.window._qt_window


def track(viewer: napari.Viewer, dock: EomtDock) -> QWidget:
    """Return the window with the page Correct, discs tracked through a stack, one selected."""
    frames = moving_objects(24, (200, 256), 7, 3)[0]
    viewer.add_image(frames, name="discs", axis_labels=("t", "y", "x"))
    dock.page.tracking.switch.setChecked(True)
    dock.page.all_frames.trigger()
    _settle(TIMEOUT_S, lambda: dock.current.result is not None and not dock.page.is_running)
    dock.show_page("correct")
    viewer.dims.set_current_step(0, 12)
    dock.tracks.strip.paths.setChecked(True)
    dock.tracks.strip.all.setChecked(True)
    result = dock.current.result
    result.session.select([(12, min(result.document.segments(12)))])
    _settle(5)
    return viewer.window._qt_window


def learn(viewer: napari.Viewer, dock: EomtDock) -> QWidget:
    """Return the window with the page Learn, after a model has learnt what cells are."""
    viewer.open_sample("napari-eomt", "nuclei_fluorescence_large")
    page = dock.train
    dock.show_page("learn")
    page.form.load(LEARN)
    page.data.fraction.setValue(25)
    with TemporaryDirectory() as folder:
        page.data.show_folder(_drawn_cells(Path(folder) / "cells"))
        _settle(TIMEOUT_S, page.new.learn.isEnabled)
        page.new.learn.click()
        _settle(10 * TIMEOUT_S, lambda: _has_learnt(page.view.news))
        _settle(TIMEOUT_S, page.view.scores.isVisible)
        _settle(5)  # the pictures are read from the images, which are still there
    viewer.window._qt_window.resize(1400, 1150)
    return viewer.window._qt_window


def _has_learnt(news: Sequence[RunNews]) -> bool:
    return bool(news) and news[0].status == "finished"


def _drawn_cells(folder: Path) -> Path:
    """Write a dataset of drawn nuclei, which are called cells: what the model has to learn."""
    with Dataset.create(folder) as dataset:
        for k in range(4):
            pixels, ids = drawn_nuclei((192, 192), 14, seed=k)
            found = Segmentation(
                ids, tuple(Segment(int(i), 1, status=Status.ACCEPTED) for i in np.unique(ids) if i)
            )
            dataset.add(pixels, found, name=f"cells-{k + 1}", categories=[Category(1, "cell")])
        dataset.save()
    return folder


PICTURES = {"models": models, "correct": correct, "track": track, "learn": learn}


def save(image: Path) -> None:
    """Save the picture that a file's name tells."""
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1400, 900)
    _, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
    widget = PICTURES[image.stem](viewer, dock)
    _settle()
    is_saved = widget.grab().save(str(image), "PNG")
    viewer.close()
    if not is_saved:
        raise SystemExit(f"{image}: the picture cannot be written.")


def _settle(seconds: float = 1.0, is_done: Callable[[], bool] = lambda: False) -> None:
    end = monotonic() + seconds
    while monotonic() < end and not is_done():
        QApplication.processEvents()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        save(Path(sys.argv[1]))
    else:
        main()
