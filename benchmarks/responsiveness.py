"""How long the window stalls while a model loads and while frames are segmented.

A timer of 1 ms runs in a real window's event loop; each time that it comes late is a gap in which
nothing else could have happened either. Run it under a display, or::

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/responsiveness.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
from time import perf_counter

os.environ["NAPARI_CONFIG"] = ""
os.environ.setdefault("NAPARI_EOMT_CONFIG_DIR", tempfile.mkdtemp())

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_eomt.synthetic import drawn_nuclei


class Gaps:
    """Collects the times between the ticks of a timer, in ms."""

    def __init__(self) -> None:
        self._last = perf_counter()
        self.gaps: list[float] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(1)
        self._timer.timeout.connect(self._on_tick)
        self._timer.start()

    def take(self) -> np.ndarray:
        gaps, self.gaps = np.array(self.gaps), []
        self._last = perf_counter()
        return gaps

    def _on_tick(self) -> None:
        now = perf_counter()
        self.gaps.append((now - self._last) * 1000)
        self._last = now


def wait(until, timeout: float = 600) -> float:
    start = perf_counter()
    while not until():
        # As napari.run() does: one event at a time, sleeping when there is none.
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        if perf_counter() - start > timeout:
            raise TimeoutError
    return perf_counter() - start


def report(name: str, gaps: np.ndarray, seconds: float) -> None:
    p50, p99 = np.percentile(gaps, (50, 99))
    # Weighted by time: the share of all moments that fall into a gap of over 50 ms.
    share = gaps[gaps > 50].sum() / gaps.sum()
    print(
        f"{name:34s} {seconds:7.1f} s  p50 {p50:6.1f}  p99 {p99:6.1f}  max {gaps.max():7.1f} ms"
        f"  over 50 ms: {int((gaps > 50).sum()):3d} ({share:.1%} of the time)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--size", type=int, default=512, help="side of a frame, px")
    args = parser.parse_args()
    viewer = napari.Viewer(show=True)
    gaps = Gaps()
    start = perf_counter()
    wait(lambda: perf_counter() - start > 3)
    report("idle, without the dock", gaps.take(), 3)

    _, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
    gaps.take()
    seconds = wait(lambda: "ready" in dock.model.status.text())
    report("process starts, model loads", gaps.take(), seconds)

    frame = drawn_nuclei((args.size, args.size), n=args.size**2 // 1500, seed=0)[0]
    stack = np.stack([np.roll(frame, 3 * t, 1) for t in range(args.frames)])
    viewer.add_image(stack, name="stack")
    start = perf_counter()
    wait(lambda: perf_counter() - start > 1)
    gaps.take()
    dock.page.run_all()
    seconds = wait(lambda: not dock.page.is_running)
    n = len(dock.results._results[0].view.layer.features)
    report(f"{args.frames} frames, {n} objects", gaps.take(), seconds)

    gaps.take()
    ticks = iter(np.linspace(0.3, 0.9, 60).tolist())
    slide = QTimer()
    slide.setInterval(30)

    def move() -> None:
        value = next(ticks, None)
        if value is None:
            slide.stop()
        else:
            dock.page.form.score.setValue(value)

    slide.timeout.connect(move)
    slide.start()
    seconds = wait(lambda: not slide.isActive() and not dock.page.runs.is_waiting)
    report("score slider dragged for 2 s", gaps.take(), seconds)
    viewer.close()


if __name__ == "__main__":
    main()
