from __future__ import annotations

import os

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict
from napari_eomt.models.load import load_segmenter
from napari_eomt.settings import load_settings
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.widgets.dock import EomtDock
from napari_eomt.worker.messages import WorkerState

WAIT_MS = 60_000


@pytest.fixture
def dock(viewer, qtbot, client):
    dock = EomtDock(viewer, client=client)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.shutdown())
    return dock


@pytest.fixture
def nuclei():
    return drawn_nuclei((150, 170), n=12, seed=3)[0]


def run(qtbot, dock, start=None):
    # Loading the model is a job as well, of no frames.
    with qtbot.waitSignal(
        dock.jobs.finished, timeout=WAIT_MS, check_params_cb=lambda event: event.n_frames > 0
    ) as blocker:
        (start or dock.page.segment.click)()
    return blocker.args[0]


def labels_layers(viewer):
    return [layer for layer in viewer.layers if type(layer).__name__ == "Labels"]


def wait_warm(qtbot, dock):
    qtbot.waitUntil(lambda: dock.jobs.client.state is WorkerState.WARM, timeout=WAIT_MS)


def test_segment_makes_a_bound_labels_layer(viewer, dock, qtbot, nuclei):
    image = viewer.add_image(nuclei, name="nuclei", scale=(0.5, 0.5), translate=(3, 4))
    run(qtbot, dock)
    (layer,) = labels_layers(viewer)
    expected = predict(nuclei, load_segmenter("nuclei-nano", "cpu"))
    np.testing.assert_array_equal(layer.data, expected.id_map)
    assert layer.name == "nuclei segments"
    np.testing.assert_array_equal(layer.scale, image.scale)
    np.testing.assert_array_equal(layer.translate, image.translate)
    assert layer.metadata["napari_eomt"]["image"] == "nuclei"
    features = layer.features.set_index("index")
    assert set(features.index) == {s.id for s in expected.segments}
    for segment in expected.segments:
        row = features.loc[segment.id]
        assert (row["category"], row["status"]) == ("nucleus", "proposed")
        assert row["score"] == pytest.approx(segment.score, abs=1e-3)
        assert row["area"] == segment.area
    assert f"{len(expected.segments)} objects" in dock.bar.text.text()
    # What napari shows in the status bar when the mouse is over an object.
    y, x = np.argwhere(layer.data == expected.segments[0].id)[0]
    status = layer.get_status(layer.data_to_world((y, x)), world=True)
    assert "nucleus" in status["value"]


def test_running_again_replaces_only_what_is_not_the_users(viewer, dock, qtbot, nuclei):
    viewer.add_image(nuclei)
    run(qtbot, dock)
    (layer,) = labels_layers(viewer)
    layer.selected_label = 60
    layer.mode = "paint"
    layer.brush_size = 6
    layer.paint((75, 85), 60)
    mine = layer.data == 60
    assert mine.any()
    assert layer.features.set_index("index").loc[60, "status"] == "drawn"
    assert not dock.page.keep.isHidden()
    dock.page.form.score.setValue(0.5)
    run(qtbot, dock)
    assert labels_layers(viewer) == [layer]
    np.testing.assert_array_equal(layer.data == 60, mine)
    dock.page.keep.setCurrentIndex(dock.page.keep.findData("new"))
    before = layer.data.copy()
    run(qtbot, dock)
    assert len(labels_layers(viewer)) == 2
    np.testing.assert_array_equal(layer.data, before)


def test_undoing_paint_keeps_the_table_true(viewer, dock, qtbot, nuclei):
    viewer.add_image(nuclei)
    run(qtbot, dock)
    (layer,) = labels_layers(viewer)
    layer.paint((5, 5), 70)
    assert 70 in set(layer.features["index"])
    layer.undo()
    assert 70 not in set(layer.features["index"])
    layer.redo()
    assert 70 in set(layer.features["index"])


def test_undo_takes_a_run_back(viewer, dock, qtbot, nuclei):
    viewer.add_image(nuclei)
    run(qtbot, dock)
    (layer,) = labels_layers(viewer)
    assert layer.data.any()
    dock.bar.action.click()
    assert not layer.data.any()
    assert len(layer.features) == 0


def test_sliders_decide_without_a_run(viewer, dock, qtbot, nuclei):
    viewer.add_image(nuclei)
    run(qtbot, dock)
    (layer,) = labels_layers(viewer)
    event = run(qtbot, dock, lambda: dock.page.form.score.setValue(0.9))
    assert event.missing == ()
    segmenter = load_segmenter("nuclei-nano", "cpu")
    expected = predict(nuclei, segmenter, score_threshold=0.9)
    assert len(layer.features) == len(expected.segments)
    np.testing.assert_array_equal(layer.data > 0, expected.id_map > 0)
    run(qtbot, dock, lambda: dock.page.form.score.setValue(0.5))
    np.testing.assert_array_equal(layer.data > 0, predict(nuclei, segmenter).id_map > 0)


def test_a_drag_is_one_step_and_locked_objects_keep_their_pixels(
    viewer, dock, qtbot, nuclei, monkeypatch
):
    monkeypatch.setattr("napari_eomt.widgets.predict_runs.DRAG_S", 0.5)
    viewer.add_image(nuclei)
    run(qtbot, dock)
    result = dock.current.result
    before = result.document.id_map(0).copy()
    surest = max(result.document.segments(0).values(), key=lambda segment: segment.score)
    weakest = min(result.document.segments(0).values(), key=lambda segment: segment.score)
    result.session.select([(0, weakest.id)])
    dock.runner.run("lock")
    n = result.session.n_steps

    def drag(*values):
        run(qtbot, dock, lambda: [dock.page.form.score.setValue(value) for value in values])
        qtbot.waitUntil(lambda: not dock.page.runs.is_waiting, timeout=WAIT_MS)

    drag(0.55, 0.6, 0.9)
    drag(0.95, 0.99)
    assert result.session.n_steps == n + 1
    qtbot.wait(700)
    drag(0.6, 0.5)
    assert result.session.n_steps == n + 2
    qtbot.wait(700)
    drag(0.99)
    id_map = result.document.id_map(0)
    np.testing.assert_array_equal(id_map == weakest.id, before == weakest.id)
    assert surest.score < 0.99
    assert set(np.unique(id_map)) == {0, weakest.id}
    for _ in range(3):
        result.session.undo()
    np.testing.assert_array_equal(id_map, before)
    assert result.session.undo_name == "Lock 1 object"


def test_stack_frame_by_frame_with_ids_of_its_own(viewer, dock, qtbot, nuclei):
    stack = np.stack([nuclei, np.zeros_like(nuclei), nuclei[::-1]])
    viewer.add_image(stack, name="stack")
    viewer.dims.set_point(0, 2)
    assert dock.page.all.text() == "All 3"
    run(qtbot, dock)
    (layer,) = labels_layers(viewer)
    assert layer.data.shape == stack.shape
    assert layer.data[2].any()
    assert not layer.data[:2].any()
    event = run(qtbot, dock, dock.page.all_frames.trigger)
    assert event.n_frames == 3
    ids = [set(np.unique(frame)) - {0} for frame in layer.data]
    assert ids[0]
    assert ids[2]
    assert not ids[0] & ids[2]
    assert set(layer.features["frame"]) <= {0, 1, 2}


def test_channels_are_asked_for_and_fed(viewer, dock, qtbot, nuclei):
    channels = np.stack([np.zeros_like(nuclei), nuclei])
    viewer.add_image(channels, name="two channels")
    axes = dock.page.axes
    axes._axes[0].setCurrentIndex(axes._axes[0].findData("channel"))
    assert axes.roles.channel == 0
    axes._channels[0].setCurrentIndex(axes._channels[0].findData(1))
    assert axes.channels == (1,)
    run(qtbot, dock)
    (layer,) = labels_layers(viewer)
    expected = predict(nuclei, load_segmenter("nuclei-nano", "cpu"))
    np.testing.assert_array_equal(layer.data, expected.id_map)


def test_only_image_layers_are_offered(viewer, dock, nuclei):
    assert dock.image.combo.count() == 0
    assert not dock.page.sample.isHidden()
    viewer.add_labels(np.zeros((5, 5), np.uint8))
    viewer.add_points([(1, 1)])
    assert dock.image.combo.count() == 0
    one = viewer.add_image(nuclei, name="one")
    viewer.add_image(nuclei, name="two")
    assert [dock.image.combo.itemText(i) for i in range(2)] == ["one", "two"]
    assert dock.image.layer.name == "two"
    viewer.layers.selection.active = one
    assert dock.image.layer.name == "one"
    dock.image.pin.setChecked(True)
    viewer.layers.selection.active = viewer.layers["two"]
    assert dock.image.layer.name == "one"
    one.name = "renamed"
    assert dock.image.combo.itemText(0) == "renamed"
    viewer.layers.remove(one)
    assert dock.image.layer.name == "two"


def test_stop_keeps_what_is_done(viewer, dock, qtbot, nuclei):
    wait_warm(qtbot, dock)
    viewer.add_image(np.stack([nuclei] * 40))
    with qtbot.waitSignal(dock.jobs.cancelled, timeout=WAIT_MS) as blocker:
        with qtbot.waitSignal(dock.jobs.frame_done, timeout=WAIT_MS):
            dock.page.all_frames.trigger()
        qtbot.mouseClick(dock.bar.stop, Qt.MouseButton.LeftButton)
    (layer,) = labels_layers(viewer)
    n_done = sum(bool(frame.any()) for frame in layer.data)
    assert 1 <= blocker.args[0].n_frames < 40
    assert n_done == blocker.args[0].n_frames
    assert "Stopped" in dock.bar.text.text()
    assert dock.page.segment.isEnabled()


def test_deleting_the_layer_while_it_fills_up(viewer, dock, qtbot, nuclei):
    viewer.add_image(np.stack([nuclei] * 4))
    wait_warm(qtbot, dock)
    with qtbot.waitSignal(dock.jobs.finished, timeout=WAIT_MS):
        with qtbot.waitSignal(dock.jobs.frame_done, timeout=WAIT_MS):
            dock.page.all_frames.trigger()
        viewer.layers.remove(labels_layers(viewer)[0])
    assert labels_layers(viewer) == []


def test_five_channels_with_nan_are_no_obstacle(viewer, dock, qtbot, nuclei):
    channels = np.stack([nuclei.astype(np.float32)] * 5)
    channels[:, :3, :3] = np.nan
    channels[2, 50, 50] = np.inf
    viewer.add_image(channels, contrast_limits=(0, 255))
    axes = dock.page.axes
    axes._axes[0].setCurrentIndex(axes._axes[0].findData("channel"))
    run(qtbot, dock)
    (layer,) = labels_layers(viewer)
    assert layer.data.shape == nuclei.shape
    assert layer.data.any()


def test_rgb_stacks_are_frames_and_no_channels_are_asked(viewer, dock, qtbot, nuclei):
    stack = np.stack([np.stack([nuclei] * 3, -1)] * 2)
    viewer.add_image(stack, rgb=True)
    assert dock.page.axes.channels is None
    assert dock.page.all.text() == "All 2"
    run(qtbot, dock)
    (layer,) = labels_layers(viewer)
    assert layer.data.shape == stack.shape[:3]


def test_a_blank_image_has_no_objects_and_a_hint(viewer, dock, qtbot):
    """(napari itself refuses arrays without pixels.)"""
    viewer.add_image(np.zeros((40, 40), np.uint8))
    run(qtbot, dock)
    assert "0 objects" in dock.bar.text.text()
    assert "lower score" in dock.bar.text.text()


def test_an_image_that_cannot_be_used_is_one_line(viewer, dock, qtbot):
    viewer.add_image(np.full((20, 20), np.nan), contrast_limits=(0, 1))
    with qtbot.waitSignal(dock.jobs.failed, timeout=WAIT_MS):
        dock.page.segment.click()
    errors = dock.bar.errors
    assert "⚠" in errors.text.text()
    assert "\n" not in errors.text.text()
    assert not errors.copy_details.isHidden()
    errors.dismiss.click()
    assert errors.isHidden()


def test_settings_are_remembered(viewer, dock, qtbot, client):
    dock.page.form.score.setValue(0.7)
    dock.page.form.min_area.setValue(25)
    dock.options.device.setCurrentIndex(dock.options.device.findData("cpu"))
    dock.page.outlines.setChecked(True)
    dock.page.form.input.set_open(True)
    dock.shutdown()
    settings = load_settings()
    assert settings.device == "cpu"
    assert settings.predict["score_threshold"] == 0.7
    again = EomtDock(viewer, client=client)
    qtbot.addWidget(again, before_close_func=lambda dock: dock.shutdown())
    assert again.page.params().score_threshold == 0.7
    assert again.page.params().min_area == 25
    assert again.options.device.currentData() == "cpu"
    assert again.page.outlines.isChecked()
    assert again.page.form.input.is_open
    assert not again.page.form.advanced.is_open


def test_a_slider_moved_during_a_run_counts(viewer, dock, qtbot, nuclei):
    viewer.add_image(nuclei)
    decided = []
    dock.jobs.finished.connect(lambda event: decided.append(event.n_frames))

    def start():
        dock.page.segment.click()
        dock.page.form.score.setValue(0.9)

    run(qtbot, dock, start)
    qtbot.waitUntil(lambda: decided.count(1) == 2, timeout=WAIT_MS)
    (layer,) = labels_layers(viewer)
    expected = predict(nuclei, load_segmenter("nuclei-nano", "cpu"), score_threshold=0.9)
    assert len(layer.features) == len(expected.segments)


def test_a_folder_that_is_no_model_is_refused(dock, qtbot, tmp_path):
    dock.model.choose_folder(str(tmp_path))
    assert "config.json is missing" in dock.bar.errors.text.text()
    assert dock.model.combo.count() == 1


def test_form_and_params_agree(dock):
    params = PredictParams(
        task="instance",
        score_threshold=0.25,
        object_size=31.5,
        contrast="percentile",
        percentiles=(1, 99),
        tiling="tiles",
        tile_overlap=16,
        looks=2,
        overlap="query_order",
    )
    dock.page.form._fill(params)
    assert dock.page.form.params() == params


@pytest.mark.parametrize("how", ["dock", "viewer"])
def test_the_worker_ends_with_the_dock(make_napari_viewer, qtbot, how):
    viewer = make_napari_viewer()
    frame, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
    client = dock.jobs.client
    qtbot.waitUntil(lambda: client.pid is not None, timeout=WAIT_MS)
    if how == "dock":
        frame.destroyOnClose()
        assert "W" not in {str(key) for key in viewer.keymap}
    else:
        viewer.close()
    qtbot.waitUntil(lambda: client.state is WorkerState.CLOSED, timeout=WAIT_MS)
    assert client.pid is None


def test_w_segments(viewer, dock, qtbot, nuclei):
    viewer.add_image(nuclei)
    (key,) = [key for key in viewer.keymap if str(key) == "W"]
    run(qtbot, dock, lambda: viewer.keymap[key](viewer))
    assert labels_layers(viewer)


def test_a_killed_worker_is_said_and_the_next_run_works(viewer, dock, qtbot, nuclei):
    viewer.add_image(np.stack([nuclei] * 30))
    viewer.dims.set_point(0, 0)
    wait_warm(qtbot, dock)
    with qtbot.waitSignal(dock.jobs.failed, timeout=WAIT_MS):
        with qtbot.waitSignal(dock.jobs.frame_done, timeout=WAIT_MS):
            dock.page.all_frames.trigger()
        os.kill(dock.jobs.client.pid, 9)
    assert "stopped" in dock.bar.errors.text.text()
    (layer,) = labels_layers(viewer)
    done = layer.data.copy()
    assert done.any()
    run(qtbot, dock)
    np.testing.assert_array_equal(layer.data[1:], done[1:])
