"""The dock with the window of all models: choosing, remembering, closing."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from tests.models.hub_server import Fault
from tests.tiny_models import save_tiny
from tests.widgets.conftest import SMALL

from napari_eomt.models.catalog import catalog
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.store import fetch
from napari_eomt.models.user_models import add_user_model
from napari_eomt.settings import load_settings
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.widgets.dock import EomtDock
from napari_eomt.widgets.model_options import RunChoice
from napari_eomt.widgets.run import Run
from napari_eomt.worker.messages import JobProgress, ModelRef

WAIT_MS = 60_000


@pytest.fixture
def loads(client, monkeypatch):
    """Note what the worker is told to load, and do not load it."""
    refs = []
    monkeypatch.setattr(client, "load", refs.append)
    return refs


def open_dock(viewer, qtbot, client):
    dock = EomtDock(viewer, client=client)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.shutdown())
    return dock


def test_size_and_compile_are_remembered_for_each_model(viewer, qtbot, client, loads, tmp_path):
    add_user_model(save_tiny(tmp_path / "cells"))
    dock = open_dock(viewer, qtbot, client)
    detail = dock.options.detail
    dock.model.choose("cells")
    detail.setCurrentIndex(detail.findData(128))
    detail.activated.emit(detail.currentIndex())
    dock.options.compiled.setChecked(True)
    assert loads[-1] == ModelRef("cells", input_size=128, compiled=True)
    dock.library.rename("cells", "my cells")
    assert loads[-1] == ModelRef("my cells", input_size=128, compiled=True)
    dock.model.choose("nuclei-nano")
    assert loads[-1] == ModelRef("nuclei-nano")
    dock.model.choose("my cells")
    dock.shutdown()
    settings = load_settings()
    assert settings.model == "my cells"
    assert (settings.input_sizes, settings.compiled) == ({"my cells": 128}, ("my cells",))
    again = open_dock(viewer, qtbot, client)
    assert again.model.model == "my cells"
    assert again.options.chosen == {"my cells": RunChoice(128, True)}
    assert loads[-1] == ModelRef("my cells", input_size=128, compiled=True)


def test_another_size_is_for_the_next_run(viewer, qtbot, client):
    dock = open_dock(viewer, qtbot, client)
    image = drawn_nuclei((150, 170), n=12, seed=3)[0]
    viewer.add_image(image)

    def run():
        def is_run(event):
            return event.n_frames > 0

        with qtbot.waitSignal(dock.jobs.finished, timeout=WAIT_MS, check_params_cb=is_run):
            dock.page.segment.click()

    run()
    (layer,) = [layer for layer in viewer.layers if type(layer).__name__ == "Labels"]
    before = layer.data.copy()
    assert "s a view" in dock.options.detail.currentText()
    dock.options.detail.setCurrentIndex(dock.options.detail.findData(192))
    dock.options.detail.activated.emit(dock.options.detail.currentIndex())
    qtbot.wait(200)
    np.testing.assert_array_equal(layer.data, before, "nothing changes before the next run")
    run()
    segmenter = load_segmenter("nuclei-nano", "cpu", input_size=192)
    from napari_eomt.inference.predict import predict

    expected = predict(image, segmenter)
    np.testing.assert_array_equal(layer.data > 0, expected.id_map > 0)
    assert (layer.data > 0).sum() != (before > 0).sum()


def test_thresholds_follow_the_model_until_they_are_moved(viewer, qtbot, client, loads, hub):
    fetch(catalog()[SMALL])
    dock = open_dock(viewer, qtbot, client)
    form = dock.page.form
    assert form.score.value() == 0.5
    form.tasks["instance"].setChecked(True)
    dock.model.choose(SMALL)
    assert form.score.value() == 0.5, "recommended are 0.8, for both, not for objects"
    form.tasks["panoptic"].setChecked(True)
    assert form.score.value() == pytest.approx(0.8)
    dock.model.choose("nuclei-nano")
    assert form.score.value() == 0.5
    assert "nuclei-nano recommends: score 0.50" in dock.bar.text.text()
    form.score.setValue(0.65)
    dock.model.choose(SMALL)
    form.tasks["panoptic"].setChecked(True)
    assert form.score.value() == pytest.approx(0.65)
    dock.shutdown()
    again = open_dock(viewer, qtbot, client)
    assert again.model.model == SMALL
    assert again.page.form.score.value() == pytest.approx(0.65)


def test_choosing_a_model_decides_nothing_about_what_is_there(
    viewer, qtbot, client, loads, hub, monkeypatch
):
    fetch(catalog()[SMALL])
    dock = open_dock(viewer, qtbot, client)
    viewer.add_image(drawn_nuclei((150, 170), n=12, seed=3)[0])

    def is_run(event):
        return event.n_frames > 0

    with qtbot.waitSignal(dock.jobs.finished, timeout=WAIT_MS, check_params_cb=is_run):
        dock.page.segment.click()
    decided = []
    monkeypatch.setattr(dock.page, "_decide", lambda: decided.append(dock.page.params()))
    dock.model.choose(SMALL)
    dock.page._follow()
    assert decided == []
    dock.page.form.score.setValue(0.7)
    assert len(decided) == 1


@pytest.mark.parametrize(
    ("what", "done", "total", "text", "percent"),
    [
        ("model", 0, 1, "Loading nuclei-nano…", None),
        (
            "downloading",
            312_000_000,
            1_270_000_000,
            "Downloading nuclei-nano: 312 of 1270 MB",
            24.6,
        ),
        ("checking", 10, 10, "Checking nuclei-nano: 0.0 of 0.0 MB", 100),
        ("converting", 0, 5, "Converting nuclei-nano…", None),
        ("waiting", 3, 5, "Waiting for the server, or for another program that fetches", None),
    ],
)
def test_what_keeps_a_model_from_running_is_said(
    viewer, qtbot, client, loads, what, done, total, text, percent
):
    dock = open_dock(viewer, qtbot, client)
    card, ref = dock._model()
    dock.page.runs._runs[-5] = Run(1, is_decision=False, card=card, ref=ref)
    dock.jobs.progressed.emit(JobProgress(-5, done, total, what, None, 1))
    assert dock.bar.text.text().startswith(text)
    bar = dock.bar.progress
    assert bar.isVisibleTo(dock)
    if percent is None:
        assert bar.maximum() == 0, "it is not known how far it is"
    else:
        assert 100 * bar.value() / bar.maximum() == pytest.approx(percent, abs=1)
    del dock.page.runs._runs[-5]


def test_downloads_go_on_without_the_window_and_end_with_the_dock(
    viewer, qtbot, client, loads, hub
):
    dock = open_dock(viewer, qtbot, client)
    dock.model.browse.click()
    dialog = dock.models
    assert not dialog.isModal()
    total = len(hub.repos[catalog()[SMALL].hub_id].files["model.safetensors"])
    hub.faults["model.safetensors"] = Fault(rate=total / 20)
    dialog.select(SMALL)
    dialog.panel.download.click()
    qtbot.waitUntil(
        lambda: (dock.library.job(SMALL).percent or 0) > 5,
        timeout=WAIT_MS,
    )
    dialog.close()
    assert SMALL in dock.library.jobs.states
    assert not dock.model.coming.isHidden()
    assert dock.model.coming.text().startswith("↓ ")
    dock.model.coming.click()
    assert dialog.isVisible()
    threads = [t for t in threading.enumerate() if t.name.startswith("napari-eomt models")]
    assert any(thread.is_alive() for thread in threads)
    start = time.monotonic()
    dock.shutdown()
    dock.close()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - start < 2


def test_what_happens_while_the_window_is_closed_is_in_the_job_bar(
    viewer, qtbot, client, loads, hub
):
    dock = open_dock(viewer, qtbot, client)
    dock.show_models()
    dock.models.close()
    dock.library.download(SMALL)
    qtbot.waitUntil(lambda: not dock.library.jobs.states, timeout=WAIT_MS)
    assert f"{SMALL} is on this computer" in dock.bar.text.text()
    dock.bar.action.click()
    assert dock.model.model == SMALL
    dock.library.delete(SMALL)
    qtbot.waitUntil(lambda: not dock.library.jobs.states, timeout=WAIT_MS)
    assert dock.model.model == "nuclei-nano"
    assert "takes its place" in dock.bar.errors.text.text()
    del hub.repos[catalog()[SMALL].hub_id]
    dock.library.download(SMALL)
    qtbot.waitUntil(lambda: not dock.library.jobs.states, timeout=WAIT_MS)
    assert "There is no repository" in dock.bar.errors.text.text()
    dock.bar.errors.dismiss.click()
    assert "takes its place" in dock.bar.errors.text.text()


def test_both_themes_reach_the_window(viewer, qtbot, client, loads):
    dock = open_dock(viewer, qtbot, client)
    dock.show_models()
    dark = dock.models.panel.use.styleSheet()
    dock.models.select("eomt-large-coco-panoptic-640")
    assert "<a style='color: #" in dock.models.panel.card.text.text()
    viewer.theme = "light"
    assert dock.models.panel.use.styleSheet() != dark
