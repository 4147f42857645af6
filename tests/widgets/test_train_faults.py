"""What goes wrong in a training is told on the Learn page, and loses nothing: for real."""

from __future__ import annotations

import os
import sys

import pytest
from tests.widgets.learn_page import WAIT_MS, learn, wait_for, wait_for_resume, wait_for_step

from napari_eomt.training.checkpoint import load_state

LIMIT = 250_000
"""Bytes that a file may have: a tiny model fits, its optimiser does not."""

LIMITED = f"""
import os, resource, signal
if os.environ.get("TEST_FULL_DISK") and os.path.exists(os.environ["TEST_FULL_DISK"]):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))
"""


def test_a_loss_that_is_not_finite_is_told(qtbot, make_dock, drawn_set):
    dock = make_dock(
        learning_rate=1e30, steps=20, validation_interval=20, head_warm_up=0, preset="full"
    )
    page = dock.train
    folder = learn(qtbot, dock, drawn_set)
    news = wait_for(qtbot, page, "failed")
    qtbot.waitUntil(lambda: "not finite" in page.view.state.text(), timeout=WAIT_MS)
    text = page.view.state.text()
    assert "is kept" in text
    assert "lower learning rate than 1e+30" in text
    assert "--" not in text  # no option of a command line
    kept = load_state(folder / "state").progressed.step
    assert f"The state of step {kept} is kept" in text
    assert news.is_resumable
    assert page.view.copy_details.isVisible()

    # In the job bar it stays beside what is said later, until a training begins or goes on.
    errors = dock.bar.errors
    assert "not finite" in errors.text.text()
    dock.runner.say("3 objects are locked.")
    assert dock.bar.text.text() == "3 objects are locked."
    assert errors.isVisible()
    wait_for_resume(qtbot, page)
    page.view.resume.click()
    assert not dock.bar.has_error
    assert dock.bar.text.isVisible()
    qtbot.waitUntil(lambda: "not finite" in errors.text.text(), timeout=WAIT_MS)


@pytest.mark.skipif(sys.platform == "win32", reason="there files have no limit of size")
def test_a_full_disk_is_told_and_the_run_goes_on(
    qtbot,
    make_dock,
    drawn_set,
    tmp_path,
    monkeypatch,
):
    """The training's process may write no large file; once it may, the run goes on."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(LIMITED)
    full = tmp_path / "full"
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("TEST_FULL_DISK", str(full))
    dock = make_dock(steps=2000, validation_interval=1000, preset="full")
    page = dock.train
    folder = learn(qtbot, dock, drawn_set)
    wait_for_step(qtbot, page, 2)
    page.view.stop.click()
    stopped = wait_for(qtbot, page, "stopped")
    wait_for_resume(qtbot, page)
    before = {p: p.read_bytes() for p in (folder / "state").rglob("*") if p.is_file()}

    full.touch()
    page.view.resume.click()
    # The first state is written when it stops.
    wait_for_step(qtbot, page, stopped.step + 1)
    page.view.stop.click()
    wait_for(qtbot, page, "failed")
    qtbot.waitUntil(lambda: "cannot be written" in page.view.state.text(), timeout=WAIT_MS)
    assert "Free the disk" in page.view.state.text()
    assert {p: p.read_bytes() for p in (folder / "state").rglob("*") if p.is_file()} == before
    assert load_state(folder / "state").progressed.step == stopped.step

    full.unlink()
    wait_for_resume(qtbot, page)
    page.view.resume.click()
    wait_for(qtbot, page, "running")
    wait_for_step(qtbot, page, stopped.step + 1)
    page.view.stop.click()
    news = wait_for(qtbot, page, "stopped")
    assert [row["step"] for row in news.steps] == list(range(1, news.step + 1))
    assert load_state(folder / "state").progressed.step == news.step
