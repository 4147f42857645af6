"""Tracking a stack from the Segment page, in a real window."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from imageio.v3 import imread
from qtpy.QtCore import Qt
from tests.tiny_models import save_tiny

from napari_eomt.annotation import operations, track_edits
from napari_eomt.annotation.tracks import TrackIndex, track_table
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.models.user_models import add_user_model
from napari_eomt.settings import load_settings, save_settings
from napari_eomt.structures.segments import Status
from napari_eomt.synthetic import moving_objects
from napari_eomt.widgets.dock import EomtDock
from napari_eomt.worker.messages import ModelRef, WorkerState

WAIT_MS = 60_000
N_FRAMES = 8
VIDEO = Path(__file__).parents[3] / "shared" / "data" / "video_bedroom" / "frames"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(root / kind, kind) for kind in ("eomt", "videomt")}


@pytest.fixture
def dock(make_napari_viewer, qtbot, client):
    dock = EomtDock(make_napari_viewer(), client=client)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.shutdown())
    qtbot.waitUntil(lambda: client.state is WorkerState.WARM, timeout=WAIT_MS)
    return dock


def choose(dock, folder):
    """Use a model that is sure of nothing, and has masks of half of the image."""
    name = add_user_model(folder, folder.name).name
    dock.library.refresh()
    # The worker, which all tests share, does not know this test's settings: by its folder.
    dock.options.ref = lambda _: ModelRef(str(folder), "cpu")
    dock.model.choose(name)
    dock.page.form.score.setValue(0.05)
    dock.page.form.overlap_threshold.setValue(0)


def open_stack(dock, n_frames=N_FRAMES):
    frames = moving_objects(n_frames, (96, 112), 4, 5)[0]
    dock._viewer.add_image(frames, name="stack")
    dock._viewer.dims.set_point(0, 0)
    return frames


def run(qtbot, dock, start):
    with qtbot.waitSignal(
        dock.jobs.finished, timeout=WAIT_MS, check_params_cb=lambda event: event.n_frames > 0
    ) as blocker:
        start()
    return blocker.args[0]


def stop_after(qtbot, dock, start, n):
    """Begin a run and stop it when `n` frames are there."""

    def on_frame(event):
        if event.frame + 1 == n:
            qtbot.mouseClick(dock.bar.stop, Qt.MouseButton.LeftButton)

    dock.jobs.frame_done.connect(on_frame)
    with qtbot.waitSignal(dock.jobs.cancelled, timeout=WAIT_MS) as blocker:
        start()
    dock.jobs.frame_done.disconnect(on_frame)
    return blocker.args[0].n_frames


def state(document):
    return document.id_maps.copy(), {(f, s.id): s for f, s in document.iter_segments()}


def assert_same(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1]


def assert_whole(document):
    """Of each track every object has the same id, and pixels say what the table says."""
    index = TrackIndex.of(document)
    for frames in index.members.values():
        assert len(set(frames.values())) == 1
    for frame in range(document.n_frames):
        assert set(np.unique(document.id_map(frame))) - {0} == {
            s.id for s in document.segments(frame).values() if s.status is not Status.REJECTED
        }


def test_the_switch_is_on_for_models_of_videos(dock, models):
    page = dock.page
    open_stack(dock)
    assert not page.tracking.switch.isHidden()
    assert not page.tracking.switch.isChecked()
    assert page.all.text() == f"All {N_FRAMES}"
    assert page.tracking.fold.isHidden()
    choose(dock, models["videomt"])
    assert page.tracking.switch.isChecked()
    assert (page.all.text(), page.all_frames.text(), page.from_here.text()) == (
        f"Track {N_FRAMES}", "Track all frames", "Track from here on",
    )  # fmt: skip
    assert not page.tracking.fold.isHidden()
    page.tracking.switch.setChecked(False)
    choose(dock, models["eomt"])
    page.tracking.switch.setChecked(True)
    assert page.all.text() == f"Track {N_FRAMES}"
    page.tracking.fields["max_gap"].widget.setText("5")
    page.tracking.fields["max_gap"].widget.editingFinished.emit()
    page.tracking.fields["iou_threshold"].widget.setText("7")
    page.tracking.fields["iou_threshold"].widget.editingFinished.emit()
    assert "Overlap" in page.tracking.problem.text()
    assert page.tracking.params == TrackParams(max_gap=5)
    dock.memory.save()
    saved = load_settings()
    assert (saved.track, saved.track_videos, saved.track_images) == ({"max_gap": 5}, False, True)
    # Of one image there is nothing to track.
    dock._viewer.add_image(np.zeros((90, 90), np.uint8))
    assert page.tracking.switch.isHidden()
    assert page.tracking.fold.isHidden()
    # And of several axes it is not known which is time.
    dock._viewer.add_image(np.zeros((3, 4, 90, 90), np.uint8))
    assert not page.tracking.switch.isHidden()
    assert not page.tracking.switch.isEnabled()
    assert page.all.text() == "All 12"


def test_parameters_of_last_time_are_shown(dock):
    save_settings(load_settings().model_copy(update={"track": {"max_gap": 7, "unknown": 1}}))
    dock.page.tracking.restore({"max_gap": 7}, videos=True, images=True)
    assert dock.page.tracking.params.max_gap == 7
    assert dock.page.tracking.switch.isChecked()
    dock.page.tracking.restore({"unknown": 1}, videos=True, images=True)
    assert dock.page.tracking.params == TrackParams()


def test_a_run_gives_ids_that_last_and_is_one_step(dock, qtbot):
    page = dock.page
    open_stack(dock)
    page.tracking.switch.setChecked(True)
    shown = []
    dock.jobs.frame_done.connect(
        lambda event: shown.append(int(dock.current.result.document.id_maps.any((1, 2)).sum()))
    )
    run(qtbot, dock, page.all_frames.trigger)
    assert shown == list(range(1, N_FRAMES + 1))  # each frame as soon as it is there
    result = dock.current.result
    document = result.document
    assert_whole(document)
    tracks = track_table(document).tracks()
    n_objects = sum(len(document.segments(f)) for f in range(N_FRAMES))
    assert max(len(track.frames) for track in tracks) == N_FRAMES
    assert len(tracks) < n_objects
    np.testing.assert_array_equal(result.view.layer.data, document.id_maps)
    text = dock.bar.text.text()
    assert text.startswith(f"{n_objects} objects in {N_FRAMES} frames, {len(tracks)} tracks")
    # What it says of its links is known by frame and id.
    known = dock.tracks.links.of(result.key)
    assert {f for f, _ in known} == set(range(N_FRAMES))
    assert set(known) == {(f, s.id) for f, s in document.iter_segments()}
    assert result.session.n_steps == 1
    dock.bar.action.click()
    assert not document.id_maps.any()


@pytest.mark.parametrize("kind", ["image", "videomt"])
def test_a_correction_is_kept_by_a_run_from_there_on(dock, qtbot, models, kind):
    page, viewer = dock.page, dock._viewer
    if kind == "videomt":
        choose(dock, models["videomt"])
    open_stack(dock)
    page.tracking.switch.setChecked(True)
    run(qtbot, dock, page.all_frames.trigger)
    result = dock.current.result
    document, session = result.document, result.session
    at = 3
    index = TrackIndex.of(document)
    both = [
        n for n, frames in index.members.items() if {at - 1, at, at + 1, at + 2} <= set(frames)
    ][:2]
    assert len(both) == 2
    first, second = both
    session.do(track_edits.swap_identities(document, at, first, second))
    # And one that is decided later on.
    later = (N_FRAMES - 1, min(document.segments(N_FRAMES - 1)))
    session.do(operations.set_status(document, [later], Status.ACCEPTED))
    corrected = state(document)
    viewer.dims.set_point(0, at)
    event = run(qtbot, dock, page.from_here.trigger)
    assert event.n_frames == N_FRAMES - at
    assert_whole(document)
    np.testing.assert_array_equal(document.id_maps[:at], corrected[0][:at])
    now = TrackIndex.of(document)
    here = TrackIndex.of(document).members
    # Each went on as what the person had made of it: in the next frame where the masks are.
    for number in both:
        i = now.members[number][at]
        assert document.segments(at)[i].is_locked
        np.testing.assert_array_equal(document.id_map(at) == i, corrected[0][at] == i)
        assert at + 1 in here[number]
    np.testing.assert_array_equal(
        document.id_map(later[0]) == later[1], corrected[0][later[0]] == later[1]
    )
    assert document.segments(later[0])[later[1]].status is Status.ACCEPTED
    assert "3 objects of yours kept" in dock.bar.text.text()
    dock.bar.action.click()
    assert_same(state(document), corrected)


@pytest.mark.parametrize("kind", ["image", "videomt"])
def test_stopped_and_gone_on_equals_a_run_without_a_stop(dock, qtbot, models, kind):
    page = dock.page
    if kind == "videomt":
        choose(dock, models["videomt"])
    open_stack(dock, 30)
    page.tracking.switch.setChecked(True)
    n = stop_after(qtbot, dock, page.all_frames.trigger, 3)
    assert 3 <= n < 30
    result = dock.current.result
    document = result.document
    assert [bool(m.any()) for m in document.id_maps] == [f < n for f in range(30)]
    assert f"{n} of 30 frames are tracked and stay" in dock.bar.text.text()
    assert dock.bar.action.text() == "Continue"
    assert page.buttons.go_on.text() == f"Continue tracking from frame {n}"
    event = run(qtbot, dock, dock.bar.action.click)
    assert event.n_frames == 30 - n
    assert " in 30 frames, " in dock.bar.text.text()
    assert not page.buttons.go_on.isVisible()
    assert_whole(document)
    assert result.session.n_steps == 1
    stopped = document.id_maps.copy()
    dock.bar.action.click()
    assert not document.id_maps.any()
    run(qtbot, dock, page.all_frames.trigger)
    # Ids are not given out twice: the same up to their names.
    pairs = np.unique(np.stack([stopped.ravel(), document.id_maps.ravel()]), axis=1).T
    assert len(pairs) == len(set(pairs[:, 0])) == len(set(pairs[:, 1]))


def test_a_run_that_fails_says_where_it_goes_on(dock, qtbot, models):
    page = dock.page
    choose(dock, models["videomt"])
    open_stack(dock, 30)

    def on_frame(event):
        if event.frame == 2:
            os.kill(dock.jobs.client.pid, 9)

    dock.jobs.frame_done.connect(on_frame)
    with qtbot.waitSignal(dock.jobs.failed, timeout=WAIT_MS):
        page.all_frames.trigger()
    dock.jobs.frame_done.disconnect(on_frame)
    document = dock.current.result.document
    n = sum(m.any() for m in document.id_maps)
    assert 3 <= n < 30
    assert dock.bar.errors.text.text().endswith(
        f" {n} of 30 frames are tracked and stay. Track 30 → Continue goes on."
    )
    assert not page.is_running
    assert not dock.bar.is_running
    assert page.buttons.go_on.text() == f"Continue tracking from frame {n}"
    event = run(qtbot, dock, page.buttons.go_on.trigger)
    assert event.n_frames == 30 - n
    assert not dock.bar.has_error
    assert_whole(document)
    assert dock.current.session.n_steps == 1


def test_a_slider_leaves_tracks_whole(dock, qtbot):
    page = dock.page
    open_stack(dock)
    page.tracking.switch.setChecked(True)
    run(qtbot, dock, page.all_frames.trigger)
    document = dock.current.result.document
    before = state(document)
    page.form.score.setValue(0.95)
    qtbot.wait(300)
    assert not page.runs.is_waiting
    assert_same(state(document), before)
    text = dock.bar.text.text()
    assert f"{N_FRAMES} tracked frames stay as they are" in text
    assert f"Press Track {N_FRAMES}" in text
    run(qtbot, dock, page.all_frames.trigger)
    assert len(state(document)[1]) < len(before[1])
    assert_whole(document)


def test_a_frame_that_is_segmented_alone_is_said_and_linked_again(dock, qtbot):
    page, viewer = dock.page, dock._viewer
    open_stack(dock)
    page.tracking.switch.setChecked(True)
    run(qtbot, dock, page.all_frames.trigger)
    document = dock.current.result.document
    n_tracks = len(track_table(document).tracks())
    viewer.dims.set_point(0, 4)
    run(qtbot, dock, page.segment.click)
    # What is found again has the id of its track, and so is in it.
    assert "now" not in dock.bar.text.text()
    assert len(track_table(document).tracks()) == n_tracks
    page.form.score.setValue(0.99)
    qtbot.waitUntil(lambda: not page.runs.is_waiting, timeout=WAIT_MS)
    n_left = len(document.segments(4))
    assert n_left < len(document.segments(3))
    page.form.score.setValue(0.5)
    qtbot.waitUntil(lambda: not page.runs.is_waiting, timeout=WAIT_MS)
    assert len(document.segments(4)) > n_left
    run(qtbot, dock, page.from_here.trigger)
    assert len(track_table(document).tracks()) == n_tracks
    assert_whole(document)
    page.form.score.setValue(0.99)
    run(qtbot, dock, page.segment.click)
    assert "tracks miss this frame now" in dock.bar.text.text()


@pytest.mark.skipif(not VIDEO.is_dir(), reason="the sample data are not here")
def test_a_real_video_with_a_random_model(dock, qtbot, models):
    frames = np.stack([imread(path)[::4, ::4] for path in sorted(VIDEO.glob("*.jpg"))[:4]])
    choose(dock, models["eomt"])
    dock._viewer.add_image(frames, name="bedroom", rgb=True)
    dock.page.tracking.switch.setChecked(True)
    event = run(qtbot, dock, dock.page.all_frames.trigger)
    assert event.n_frames == 4
    document = dock.current.result.document
    assert document.id_maps.shape == frames.shape[:3]
    assert_whole(document)
    assert "4 frames" in dock.bar.text.text()
