"""A window that is killed while somebody works in it loses a second at most."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.widgets.crashing_window import H, W, digest, empty_result, step

from napari_eomt.annotation.sessions import SESSIONS_DIR_VARIABLE, autosave_dir
from napari_eomt.viewer.image_source import guess_roles
from napari_eomt.viewer.results import Results
from napari_eomt.widgets.action_runner import ActionRunner
from napari_eomt.widgets.current import Current
from napari_eomt.widgets.dock import EomtDock
from napari_eomt.widgets.jobs import JobBar
from napari_eomt.worker.client import WorkerClient

N_KILLS = int(os.environ.get("NAPARI_EOMT_TEST_KILLS", "3"))
"""Each window takes seconds to start. With more of them, and ``--junitxml=FILE``, the file says of
each how many steps it made, and how many were lost."""

N_FIRST = 6
"""Steps before a window may be killed."""

ROOT = Path(__file__).parents[2]


def started(seed, image):
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.widgets.crashing_window", str(seed), str(image)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, SESSIONS_DIR_VARIABLE: str(autosave_dir())},
    )


def steps_until_killed(process, seconds):
    """Kill a window at work; return when, and its steps: before, after, digest."""
    try:
        while (line := process.stdout.readline()) != "ready\n":
            assert line, "the window ended before it was ready"
        # On a busy machine the first steps take longer than the shortest of these times.
        first = [process.stdout.readline() for _ in range(N_FIRST)]
        time.sleep(seconds)
    finally:
        process.kill()
        killed = time.monotonic()
        rest = process.stdout.read()
        process.wait()
        process.stdout.close()
    lines = [*first, *rest.splitlines(keepends=True)]
    rows = [line.split() for line in lines if line.endswith("\n")]
    return killed, [(float(a), float(b), text) for a, b, text in rows]


def replayed(seed, n, qtbot):
    """Return the digests of the document after each of a window's first steps."""
    viewer = ViewerModel()
    results = Results(viewer)
    current = Current(viewer, results)
    bar = JobBar()
    qtbot.addWidget(bar)
    runner = ActionRunner(viewer, current, bar)
    layer = viewer.add_image(np.zeros((H, W), np.uint8))
    current.follow(layer, guess_roles(layer))
    result = empty_result(results, layer)
    rng = np.random.default_rng(seed)
    digests = []
    for _ in range(n):
        step(rng, runner, result)
        digests.append(digest(result.document))
    runner.close()
    current.close()
    results.close()
    return digests


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.npy"
    np.save(path, np.random.default_rng(0).integers(0, 255, (H, W), np.uint8))
    return path


@pytest.mark.parametrize("k", range(N_KILLS))
def test_a_killed_window_offers_its_work_again(
    k, image, make_napari_viewer, qtbot, record_property
):
    seconds = np.random.default_rng(k).uniform(0, 3)
    killed, steps = steps_until_killed(started(k, image), seconds)
    assert len(steps) >= N_FIRST

    viewer = make_napari_viewer()
    viewer.add_image(np.load(image), name="cells")
    client = WorkerClient()
    dock = EomtDock(viewer, client=client)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.shutdown())
    qtbot.waitUntil(lambda: dock.bar.action.text() == "Restore", timeout=60_000)
    assert "Unsaved work of last time: cells: " in dock.bar.text.text()
    dock.bar.action.click()
    qtbot.waitUntil(lambda: dock.current.result is not None, timeout=60_000)

    document, layer = dock.current.document, dock.current.result.view.layer
    # The kill may have come between a step and the line that tells of it.
    digests = replayed(k, len(steps) + 1, qtbot)
    assert [text for _, _, text in steps] == digests[:-1]
    assert digest(document) in digests, "it is what the person saw at some moment"
    n_there = len(digests) - digests[::-1].index(digest(document))
    lost = [before for before, _, _ in steps[n_there:]]
    record_property("steps", len(steps))
    record_property("steps_lost", len(lost))
    record_property("ms_lost", round(1000 * (killed - lost[0])) if lost else 0)
    assert not lost or killed - lost[0] < 1, f"{len(lost)} steps, {killed - lost[0]:.2f} s"
    np.testing.assert_array_equal(layer.data, document.id_map(0))
    assert set(layer.features["index"]) == set(document.segments(0))
    client.close()
