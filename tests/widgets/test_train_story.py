"""A person with a folder of images: segments, corrects, teaches, and segments the next image."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_eomt.annotation import operations
from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.structures.segments import Status
from napari_eomt.synthetic import drawn_nuclei

WAIT_MS = 300_000


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "dish"
    folder.mkdir()
    for k in range(3):
        pixels, _ = drawn_nuclei((192, 192), 14, seed=k)
        tifffile.imwrite(folder / f"well-{k}.tif", pixels)
    return folder


@pytest.fixture
def dock(make_bundled_dock):
    return make_bundled_dock(steps=4, validation_interval=2)


def test_from_the_first_image_to_a_model_of_ones_own(dock, images, qtbot):
    ran = []
    dock.jobs.finished.connect(lambda event: ran.append(event) if event.n_frames else None)

    def segment():
        n = len(ran)
        dock.page.segment.click()
        qtbot.waitUntil(lambda: len(ran) > n and not dock.page.is_running, timeout=WAIT_MS)
        return dock.current.result

    def review(result):
        """Accept what was found, and delete the smallest as a person does with a mistake."""
        ids = sorted(result.document.segments(0), key=lambda i: result.document.segments(0)[i].area)
        places = [(0, i) for i in ids]
        result.session.do(operations.set_status(result.document, places[1:], Status.ACCEPTED))
        result.session.do(operations.set_status(result.document, places[:1], Status.REJECTED))
        return len(places) - 1

    # Two images are segmented and gone through.
    dock.images.open_folder(images)
    qtbot.waitUntil(lambda: dock.folder.layer is not None, timeout=WAIT_MS)
    n_objects = 0
    for k in range(2):
        assert dock.folder.current == k
        result = segment()
        assert len(result.document.segments(0)) >= 6
        n_objects += review(result)
        dock.runner.run("next_image")
        qtbot.waitUntil(lambda k=k: dock.folder.current == k + 1, timeout=WAIT_MS)

    # The model learns from them.
    dock.runner.run("learn")
    page = dock.train
    assert dock.page_of(dock.tabs.currentIndex()) == "learn"
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    assert page.data.kind == "folder"
    counts = page.data.counts.text()
    assert f"2 images reviewed, {n_objects} objects · 1 learn · 1 check" in counts
    assert all("~" in label.text() for label in page.form._costs.values())  # how long it takes
    page.new.learn.click()
    assert not page.setup.is_open
    qtbot.waitUntil(
        lambda: bool(page.view.news) and page.view.news[0].status == "finished", timeout=WAIT_MS
    )
    news = page.view.news[0]
    assert news.run.plan.model == DEFAULT_MODEL
    assert len(news.split.train) == len(news.split.val) == 1
    qtbot.waitUntil(page.view.scores.isVisible, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: len(page.samples._pictures) == 2, timeout=WAIT_MS)

    # What was learnt finds the objects of the next image, in the worker that had made room.
    page.view.use.click()
    assert dock.model.model == news.folder.name
    dock.bar.action.click()  # back to the model of before, and again
    assert dock.model.model == DEFAULT_MODEL
    page.view.use.click()
    assert dock.page_of(dock.tabs.currentIndex()) == "segment"
    assert dock.model.model == news.folder.name
    assert dock.folder.current == 2
    result = segment()
    found = result.document.segments(0)
    assert len(found) >= 6
    assert np.count_nonzero(result.document.id_map(0)) > 0
    assert all(s.status is Status.PROPOSED for s in found.values())
    qtbot.waitUntil(lambda: dock.model.status.text().endswith("cpu · ready"), timeout=WAIT_MS)
