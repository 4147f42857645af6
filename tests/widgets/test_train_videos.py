"""Learning from videos on the Learn page: from a dataset, and from stacks that are open."""

from __future__ import annotations

import numpy as np
import pytest
from tests.training.drawn_documents import document_of
from tests.training.drawn_videos import save_model as save_video_model
from tests.training.drawn_videos import save_videos
from tests.widgets.learn_page import WAIT_MS, learn, wait_for

from napari_eomt.annotation.document import FrameState
from napari_eomt.models.user_models import add_user_model
from napari_eomt.synthetic_video import drawn_tracks
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.runs import load_run
from napari_eomt.viewer.image_source import guess_roles

FORM = {"clip_length": 2, "steps": 3, "batch_size": 2, "validation_interval": 3}


@pytest.fixture(scope="session")
def drawn_videos(tmp_path_factory):
    return save_videos(tmp_path_factory.mktemp("videos") / "set", n_videos=3, n_frames=5)


@pytest.fixture(scope="session")
def video_model(tmp_path_factory):
    return save_video_model(tmp_path_factory.mktemp("models") / "video-tiny")


def show(qtbot, dock, path):
    """Name a dataset on the page, and wait until it was read."""
    dock.train.data.show_folder(path)
    qtbot.waitUntil(dock.train.new.learn.isEnabled, timeout=WAIT_MS)
    return dock.train


def test_a_video_dataset_is_rows_of_videos_and_an_eomt_becomes_a_videomt(
    make_dock, drawn_videos, qtbot
):
    dock = make_dock(**FORM)
    page = show(qtbot, dock, drawn_videos)
    counts = page.data.counts.text()
    assert counts == "3 videos, 15 frames, 6 tracks · 2 learn · 1 checks"
    table = page.data.table
    assert [table.headerItem().text(k) for k in range(3)] == ["Video", "Tracks", "Part"]
    rows = [[table.topLevelItem(i).text(k) for k in range(3)] for i in range(3)]
    assert sorted(row[0] for row in rows) == [f"video{k} (5 frames)" for k in range(3)]
    assert {row[1] for row in rows} == {"2"}
    assert "videos" in page.data.fold.head.text()
    said = page.new.categories.text()
    assert "Learns thing (4), as objects." in said
    assert "tiny is of images and becomes a model of videos" in said
    page.form.load({**page.form.values(), "clip_length": 10})
    assert "clip of 10 frames" in page.form.presets["quick"].toolTip()


def test_a_model_of_videos_can_be_started_from(make_dock, drawn_videos, video_model, qtbot):
    add_user_model(video_model, "video-tiny")
    dock = make_dock(**FORM)
    page = show(qtbot, dock, drawn_videos)
    page.new.model.setCurrentIndex(page.new.model.findData("video-tiny"))
    page.new._on_model_chosen()
    assert "becomes" not in page.new.categories.text()
    assert page.new.options()[page.new.options().index("--model") + 1] == "video-tiny"


def test_from_videos_to_a_model_of_videos_in_use(make_dock, drawn_videos, qtbot):
    dock = make_dock(**FORM)
    folder = learn(qtbot, dock, drawn_videos)
    page = dock.train
    news = wait_for(qtbot, page, "finished")
    assert "2 videos learn, 1 checks" in page.view.about.text()
    assert "IDF1" in page.view.state.text()
    assert load_run(folder).plan.resolved.metric == "idf1"
    qtbot.waitUntil(page.view.scores.isVisible, timeout=WAIT_MS)
    assert page.view.scores.verticalHeaderItem(0).text() == "IDF1"
    # A frame of the video that checks, as the check has found it: before, and after.
    qtbot.waitUntil(lambda: len(page.samples._pictures) == 2, timeout=WAIT_MS)
    assert page.samples.images.count() == 1
    assert news.split.val[2] == page.samples.images.currentData()
    assert page.samples.images.currentText().endswith("/002.png")
    assert page.samples.images.currentText().startswith("video")
    page.view.use.click()
    assert dock.model.model == folder.name
    assert dock.library.row(folder.name).card.is_video
    assert dock.page_of(dock.tabs.currentIndex()) == "segment"


def open_stack(dock, n_frames=12):
    """Open a stack of which all tracks are accepted; return the video and the layer."""
    video = drawn_tracks(n_frames, (64, 64), 2, absent=0, seed=3)
    layer = dock._viewer.add_image(video.frames, name="stack", rgb=True)
    result = dock.results.adopt("stack", layer, guess_roles(layer), document_of(video.ids))
    dock._on_image()
    return video, result


def test_an_open_stack_is_learnt_as_a_video_where_somebody_wants_that(make_dock, qtbot):
    dock = make_dock(**FORM)
    page = dock.train
    video, result = open_stack(dock)
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    assert page.data.as_videos.isVisible()
    assert "12 images reviewed, 24 objects" in page.data.counts.text()
    page.data.as_videos.click()
    assert "1 video, 12 frames, 2 tracks" in page.data.counts.text()
    assert "first 8 frames learn, its last 2 check; 2 are left out" in page.data.counts.text()
    assert "becomes a model of videos" in page.new.categories.text()
    assert page.values()["as_videos"] is True
    page.new.learn.click()
    news = wait_for(qtbot, page, "finished")
    assert len(news.split.train) == 8
    assert len(news.split.val) == 2
    assert "8 frames learn, 2 check" in page.view.about.text()
    source = open_dataset(news.run.plan.dataset).source
    np.testing.assert_array_equal(source.frame("stack:4"), video.frames[4])
    np.testing.assert_array_equal(source.segmentation("stack:4").id_map, video.ids[4])
    assert result.document.state(0) is FrameState.NEW  # nothing was exported


def test_with_a_model_of_videos_stacks_are_videos_from_the_start(make_dock, video_model, qtbot):
    add_user_model(video_model, "video-tiny")
    dock = make_dock(**FORM)
    page = dock.train
    open_stack(dock)
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    assert not page.data.as_videos.isChecked()
    page.new.model.setCurrentIndex(page.new.model.findData("video-tiny"))
    page.new._on_model_chosen()
    assert page.data.as_videos.isChecked()
    assert "1 video, 12 frames" in page.data.counts.text()
    page.data.as_videos.click()  # each frame by itself, all the same
    assert "12 images" in page.data.counts.text()
    assert "drift and turn" in page.new.categories.text()
