"""A person with tracked videos: teaches the model, and segments another video with it."""

from __future__ import annotations

import pytest
from tests.training.drawn_videos import save_videos

from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.synthetic_video import drawn_tracks

WAIT_MS = 300_000


@pytest.fixture
def dock(make_bundled_dock):
    return make_bundled_dock(steps=3, clip_length=2, validation_interval=3)


def test_from_tracked_videos_to_a_model_that_tracks(dock, tmp_path, qtbot):
    videos = save_videos(tmp_path / "crossing", n_videos=2, n_frames=5, shape=(96, 96))

    # The bundled model of images learns from the videos, one of which checks.
    dock.runner.run("learn")
    page = dock.train
    page.data.show_folder(videos)
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    assert "1 learns · 1 checks" in page.data.counts.text()
    assert f"{DEFAULT_MODEL} is of images and becomes a model of videos" in (
        page.new.categories.text()
    )
    page.new.learn.click()
    qtbot.waitUntil(
        lambda: bool(page.view.news) and page.view.news[0].status == "finished", timeout=WAIT_MS
    )
    news = page.view.news[0]
    assert news.metric == "idf1"
    assert all("idf1" in row for row in news.checks)
    qtbot.waitUntil(lambda: len(page.samples._pictures) == 2, timeout=WAIT_MS)
    assert page.view.plots.score.isVisible()

    # What was learnt is the model of the Segment page, in the worker that had made room.
    page.view.use.click()
    assert dock.model.model == news.folder.name
    assert dock.model.card.is_video
    frames = drawn_tracks(3, (96, 96), 2, seed=9).frames
    dock._viewer.add_image(frames, name="new", rgb=True)
    ran = []
    dock.jobs.finished.connect(ran.append)
    dock.page.segment.click()
    qtbot.waitUntil(lambda: bool(ran) and not dock.page.is_running, timeout=WAIT_MS)
    assert dock.current.result is not None
    assert dock.current.result.document.n_frames == 3
    assert {c.name for c in dock.current.result.document.categories.values()} >= {"thing"}
