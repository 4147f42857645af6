"""How soon the candidate under the cursor is outlined, in a real window.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/cursor.py

The bundled model over drawn nuclei, in an image of 1024² pixels and one of 2048². The mouse jumps
from nucleus to nucleus at moments that no timer knows; from its event "asked" is the question on
its way, "known" the outline handed to the canvas, "drawn" the canvas shown with it. First while
the worker is idle, then while it segments another image. "redraw" is what the canvas needs to be
shown once more as it is: no outline can be drawn sooner, and napari itself repaints its window so
once for each move, for the line of status at its foot; ``--without-status`` hides that line. With
OpenGL in software that is most of the time.

In ms of the clock, so run it on an otherwise idle machine, and compare two versions on one:
``--json FILE`` keeps the medians, and ``--against FILE`` tells them as ratios of those that
another version has kept there.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

os.environ["NAPARI_CONFIG"] = ""
os.environ.setdefault("NAPARI_EOMT_CONFIG_DIR", tempfile.mkdtemp())
os.environ.setdefault("NAPARI_EOMT_SESSIONS_DIR", tempfile.mkdtemp())

import napari
import numpy as np
from qtpy.QtCore import QEvent, QEventLoop, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_eomt.inference.params import PredictParams
from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.worker.client import ModelRef

if TYPE_CHECKING:
    from collections.abc import Callable

STAGES = ("asked", "known", "drawn")
N_FRAMES = 200


class Nuclei:
    """Another image, to keep the worker busy with; the same in every frame."""

    name = "other"
    n_frames = N_FRAMES

    def __init__(self, image: np.ndarray) -> None:
        self.image = image

    def frame(self, index: int) -> np.ndarray:
        return self.image


class Mouse:
    """Moves over the canvas of a viewer, and notes when what followed.

    Parameters
    ----------
    viewer : napari.Viewer
    dock : EomtDock
    """

    def __init__(self, viewer: napari.Viewer, dock: Any) -> None:
        self._dock = dock
        self._canvas = viewer.window._qt_viewer.canvas
        self._native = self._canvas.native
        self._start = 0.0
        self._times: dict[str, float] = {}
        client = dock.jobs.client
        ask = client.candidates

        def asked(*args: Any, **options: Any) -> int:
            self._note("asked")
            return int(ask(*args, **options))

        client.candidates = asked
        result = dock.current.result
        self._layer = result.view.layer
        self._document = result.document
        overlay = self._layer._overlays["napari_eomt_candidate"]
        overlay.events.shown.connect(self._on_shown)
        self._native.frameSwapped.connect(self._on_swapped)

    def jump(self, point: tuple[float, float]) -> dict[str, float]:
        """Point at (y, x) of the image; return the ms until each stage."""
        world = self._layer.data_to_world(point)
        view = self._canvas.view
        x, y, *_ = (view.transform * view.scene.transform).map([world[1], world[0], 0, 1])
        where = QPointF(round(float(x)), round(float(y)))
        button = Qt.MouseButton.NoButton
        self._times = {}
        self._start = perf_counter()
        QApplication.postEvent(
            self._native,
            QMouseEvent(
                QEvent.Type.MouseMove,
                where,
                QPointF(self._native.mapToGlobal(where.toPoint())),
                button,
                button,
                Qt.KeyboardModifier.NoModifier,
            ),
        )
        wait(lambda: "drawn" in self._times)
        return self._times

    def redraw(self) -> float:
        """Return the ms until the canvas is shown once more."""
        self._times = {"known": 0.0}
        self._start = perf_counter()
        self._canvas._scene_canvas.update()
        wait(lambda: "drawn" in self._times)
        return self._times["drawn"]

    def points(self, n: int, seed: int) -> list[tuple[float, float]]:
        """Return the middles of nuclei that are in the window, no two the same in turn."""
        boxes = np.array([s.bbox for s in self._document.segments(0).values()], float)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        order = np.random.default_rng(seed).permutation(len(middles))
        return [tuple(middles[k]) for k in np.resize(order, n)]

    def _on_shown(self, event: Any = None) -> None:
        if "asked" in self._times:
            self._note("known")

    def _on_swapped(self) -> None:
        if "known" in self._times:
            self._note("drawn")

    def _note(self, stage: str) -> None:
        self._times.setdefault(stage, (perf_counter() - self._start) * 1000)


def nuclei(side: int, seed: int) -> np.ndarray:
    """Return drawn nuclei; more of them than fit into 512² repeat."""
    drawn = drawn_nuclei((512, 512), n=220, seed=seed)[0]
    return np.tile(drawn, (side // 512, side // 512))


def wait(until: Callable[[], object], timeout: float = 600) -> None:
    start = perf_counter()
    while not until():
        # As napari.run() does: one event at a time, sleeping when there is none.
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        if perf_counter() - start > timeout:
            raise TimeoutError


def pause(ms: float) -> None:
    end = perf_counter() + ms / 1000
    QTimer.singleShot(round(ms) + 1, Qt.TimerType.PreciseTimer, lambda: None)
    wait(lambda: perf_counter() >= end)


def measure(mouse: Mouse, name: str, n: int, seed: int, told: dict[str, float]) -> None:
    rng = np.random.default_rng(seed)
    times = []
    for point in mouse.points(n, seed):
        pause(rng.uniform(20, 60))
        times.append(mouse.jump(point))
    for stage in STAGES:
        p50, p90, p99 = np.percentile([row[stage] for row in times], (50, 90, 99))
        before = told.get(f"{name}, {stage}")
        told[f"{name}, {stage}"] = float(p50)
        ratio = f"   {p50 / before:.2f} of before" if before else ""
        print(f"{name:26} {stage:6} p50 {p50:7.1f}  p90 {p90:7.1f}  p99 {p99:7.1f} ms{ratio}")


def one_size(side: int, n: int, told: dict[str, float], *, has_status: bool) -> None:
    viewer = napari.Viewer(show=True)
    window = viewer.window._qt_window
    window.move(0, 0)
    window.resize(1500, 950)
    window.statusBar().setVisible(has_status)
    _, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
    wait(lambda: "ready" in dock.model.status.text())
    viewer.add_image(nuclei(side, seed=1), name="nuclei")
    dock.page.run_frame()
    wait(lambda: dock.current.result is not None and not dock.page.is_running)
    dock.finder.turn(True)
    viewer.reset_view()
    pause(500)
    mouse = Mouse(viewer, dock)
    print(f"{side}², redraw             p50 {np.median([mouse.redraw() for _ in range(30)]):14.1f}")
    measure(mouse, f"{side}², first", n, 1, told)
    measure(mouse, f"{side}², again", n, 1, told)
    other = Nuclei(nuclei(2048, seed=2))
    client = dock.jobs.client
    job = client.segment(
        ModelRef(DEFAULT_MODEL, "cpu"), other, range(N_FRAMES), PredictParams(), "other"
    )
    pause(2000)
    measure(mouse, f"{side}², it segments", n, 2, told)
    client.cancel(job)
    viewer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--without-status", action="store_true")
    parser.add_argument("--json", type=Path, help="file to keep the medians in")
    parser.add_argument("--against", type=Path, help="file of medians to compare with")
    args = parser.parse_args()
    told = json.loads(args.against.read_text()) if args.against else {}
    for side in args.sides:
        one_size(side, args.moves, told, has_status=not args.without_status)
    if args.json:
        args.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
