"""How long after a slider has moved the layer shows what it decides.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/live_threshold.py

Medians of a real window with the bundled model, image after image in one run: from the slider's
value until the result is in the layer (layer) and until its table is too (table); what of it the
worker needs (decide), and what the window needs (window). A drag is many changes at once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from time import perf_counter, sleep

os.environ["NAPARI_CONFIG"] = ""
os.environ["NAPARI_EOMT_CONFIG_DIR"] = tempfile.mkdtemp()

import napari
from qtpy.QtWidgets import QApplication

from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.widgets.predict_runs import DRAG_S

TIMEOUT_S = 600
WARM_UP = 2
N_CHANGES = 40


def until(is_done) -> None:
    end = perf_counter() + TIMEOUT_S
    while not is_done():
        QApplication.processEvents()
        sleep(0.0005)
        if perf_counter() > end:
            raise TimeoutError


def measure(side: int, n_objects: int, n_repeats: int) -> None:
    viewer = napari.Viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
    frames, ended, window = [], [], []
    show = dock.page.runs._on_frame

    def timed(event) -> None:
        start = perf_counter()
        show(event)
        window.append(perf_counter() - start)

    dock.jobs.frame_done.disconnect(dock.page.runs._on_frame)
    dock.jobs.frame_done.connect(timed)
    dock.jobs.frame_done.connect(lambda event: frames.append((perf_counter(), event)))
    dock.jobs.finished.connect(lambda event: ended.append((perf_counter(), event)))
    half = drawn_nuclei((side // 2, side // 2), n=n_objects, seed=0)[0]
    viewer.add_image(half.repeat(2, 0).repeat(2, 1))
    dock.page.run_frame()
    until(lambda: any(event.n_frames for _, event in ended) and not dock.page.is_running)
    layer, table, decide = [], [], []
    score = dock.page.form.score
    for k in range(n_repeats + WARM_UP):
        until(lambda: not dock.page.runs.is_waiting)
        for times in (frames, ended, *([window] if k <= WARM_UP else [])):
            times.clear()
        start = perf_counter()
        score.setValue(0.3 + 0.03 * (k % 2) + 0.005 * k)
        until(lambda: bool(ended))
        if k >= WARM_UP:
            layer.append(frames[-1][0] - start)
            table.append(ended[-1][0] - start)
            decide.append(frames[-1][1].seconds)
    session, tiles = dock.current.session, frames[-1][1].n_tiles
    n_found = len(dock.current.document.segments(0))
    sleep(DRAG_S)
    n_steps = session.n_steps
    frames.clear()
    for k in range(N_CHANGES):
        score.setValue(0.3 + 0.4 * k / N_CHANGES)
        QApplication.processEvents()
        sleep(0.015)
    let_go = perf_counter()
    until(lambda: not dock.page.runs.is_waiting)
    medians = {"layer": layer, "table": table, "decide": decide, "window": window}
    print(
        f"{side}², {n_found} objects, {tiles} tiles: "
        + " · ".join(f"{k} {1e3 * statistics.median(v):.1f} ms" for k, v in medians.items())
        + f"; a drag of {N_CHANGES} changes: {len(frames)} results, "
        f"{session.n_steps - n_steps} step, settled {1e3 * (perf_counter() - let_go):.0f} ms "
        "after its end",
        flush=True,
    )
    viewer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--objects", type=int, default=100, help="a megapixel")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    if len(options.sides) == 1:
        (side,) = options.sides
        measure(side, round(options.objects * side**2 / 2**20), options.repeats)
        return
    # A window for each: software OpenGL crashes when napari's first image makes way for another.
    for side in options.sides:
        command = [sys.executable, __file__, "--sides", str(side)]
        command += ["--objects", str(options.objects), "--repeats", str(options.repeats)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
