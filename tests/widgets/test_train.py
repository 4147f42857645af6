"""The Learn page: a real training of a tiny model, in a real process of its own."""

from __future__ import annotations

import json
import os
import shutil

from PIL import Image
from tests.widgets.learn_page import (
    WAIT_MS,
    learn,
    wait_for,
    wait_for_resume,
    wait_for_step,
    written,
)

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import FrameState
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.viewer.image_source import LayerSource, guess_roles


def test_an_empty_page_says_what_to_do(make_dock):
    page = make_dock().train
    assert page.setup.is_open
    assert not page.setup.head.isVisible()
    assert not page.new.categories.isVisible()
    assert page.new.hint.isVisible()
    assert not page.new.learn.isEnabled()
    assert not page.view.isVisible()
    assert page.view.plots is None  # pyqtgraph was not imported


def test_a_model_learns_and_is_used(qtbot, make_dock, drawn_set, tmp_path):
    # A worker of its own, which knows the model's name as this test does.
    dock = make_dock(worker=None)
    page = dock.train
    page.data.fraction.setValue(30)
    folder = learn(qtbot, dock, drawn_set)
    assert "4 images annotated, 20 objects" in page.data.counts.text()
    assert folder.parent == tmp_path / "runs"
    news = wait_for(qtbot, page, "finished")
    assert [row["step"] for row in news.steps] == [1, 2, 3, 4]
    assert [row["step"] for row in news.checks] == [0, 2, 4]
    plan = json.loads((folder / "params.json").read_text())
    assert plan["model"] == "tiny"
    assert plan["device"] == "cpu"
    assert plan["params"]["steps"] == 4
    split = json.loads((folder / "split.json").read_text())
    parts = page.data.parts
    assert len(split["train"]) == parts.count(page.data._rows, "train")
    assert len(split["val"]) == parts.count(page.data._rows, "val") > 0
    plots = page.view.plots
    names = {item.name() for item in plots.loss.plotItem.listDataItems()}
    assert names == {"all", "masks", "overlap", "classes"}
    qtbot.waitUntil(page.view.scores.isVisible, timeout=WAIT_MS)
    titles = [page.view.scores.horizontalHeaderItem(j).text() for j in range(2)]
    assert titles == ["before", "after"]
    assert page.view.use.isVisible()
    assert not page.view.stop.isVisible()
    assert "finished at step 4" in dock.bar.text.text()

    # What it found before and after on an image that checks.
    assert page.samples.images.count() == len(split["val"])
    samples = page.samples
    qtbot.waitUntil(
        lambda: samples.captions["after"].text().startswith("after (step 4): "), timeout=WAIT_MS
    )
    kept = {side: caption.text() for side, caption in samples.captions.items()}
    assert kept["before"].startswith("before: ")
    assert not samples.show_button.isVisible()  # its checks have kept it
    # The worker finds the same as they did, of what is there at the end.
    samples.show_button.click()
    qtbot.waitUntil(lambda: not samples.is_running, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: samples.captions["after"].text() == kept["after"], timeout=WAIT_MS)
    assert samples.captions["before"].text().startswith("before: ")

    # Weights that were drawn at random find nothing after four steps either.
    assert page.view.use.text() == "Use the last state all the same"
    page.view.use.click()
    assert dock.model.model == folder.name
    assert dock.model.card.folder == (folder / "checkpoints" / "last").resolve()
    assert dock.page_of(dock.tabs.currentIndex()) == "segment"
    assert dock.bar.text.text().endswith("instead of tiny.")
    dock.bar.action.click()
    assert dock.model.model == "tiny"
    assert "tiny is the model of the Segment page again" in dock.bar.text.text()


def test_open_work_is_learnt_without_a_check(qtbot, make_dock):
    dock = make_dock(undecided="ignore")
    page, viewer = dock.train, dock._viewer
    pixels, ids = drawn_nuclei((96, 96), 5, seed=2)
    layer = viewer.add_image(pixels, name="dish")
    assert page.new.hint.isVisible()
    roles = guess_roles(layer)
    source = LayerSource(layer, roles)
    result = dock.results.create("dish", layer, roles, source, [Category(1, "nucleus")])
    segments = tuple(Segment(i, 1) for i in range(1, 6))
    result.propose(0, Segmentation(ids, segments), "Segment")
    dock._on_image()
    assert not page.new.learn.isEnabled()
    places = [(0, i) for i in result.document.segments(0)]
    result.session.do(operations.set_status(result.document, places, Status.ACCEPTED))
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    assert page.data.kind == "image"
    assert "1 image reviewed, 5 objects · 1 learn · 0 check" in page.data.counts.text()
    assert "Annotate another" in page.data.counts.text()
    page.new.learn.click()
    news = wait_for(qtbot, page, "finished")
    assert news.folder.name.startswith("dish-")
    assert news.checks == ()
    assert (news.folder / ".dataset" / "learn.json").is_file()
    assert result.document.state(0) is not FrameState.EXPORTED
    assert not page.samples.isVisible()
    page.view.use.click()
    assert dock.model.card.folder == (news.folder / "checkpoints" / "last").resolve()


def test_stop_resume_and_found_again(qtbot, make_dock, drawn_set):
    dock = make_dock(steps=2000, validation_interval=1000)
    page = dock.train
    folder = learn(qtbot, dock, drawn_set)
    wait_for_step(qtbot, page, 2)
    assert not page.new.learn.isEnabled()
    page.view.stop.click()
    news = wait_for(qtbot, page, "stopped")
    qtbot.waitUntil(lambda: not page.is_busy, timeout=WAIT_MS)
    assert news.is_resumable
    assert news.step < 2000
    assert "Resume goes on" in page.view.state.text()

    # Another dock, as after a restart of napari: it is the run of last time.
    dock._save()
    again = make_dock().train
    wait_for(qtbot, again, "stopped")
    assert again.view.news[0].folder == folder
    wait_for_resume(qtbot, again)
    again.view.resume.click()
    wait_for_step(qtbot, again, news.step + 1)
    # A third one finds it running, though it has not started it.
    dock._save()
    third = make_dock().train
    wait_for(qtbot, third, "running")
    assert third.start_up.is_busy is False
    qtbot.waitUntil(third.view.stop.isEnabled, timeout=WAIT_MS)
    third.view.stop.click()
    wait_for(qtbot, third, "stopped")
    wait_for(qtbot, again, "stopped")


def test_the_curves_stay_while_a_run_is_taken_up_again(qtbot, make_dock, drawn_set):
    dock = make_dock(steps=2000, validation_interval=1000)
    learn(qtbot, dock, drawn_set)
    wait_for_step(qtbot, dock.train, 3)
    dock.train.view.stop.click()
    stopped = wait_for(qtbot, dock.train, "stopped")
    dock._save()

    page = make_dock().train  # as after a restart of napari
    wait_for(qtbot, page, "stopped")
    wait_for_resume(qtbot, page)
    seen = []

    def look(*_):
        plots, view = page.view.plots, page.view
        (whole,) = (line for line in plots.loss.plotItem.listDataItems() if line.name() == "all")
        is_shown = plots.isVisible() and view.title.isVisible() and view.progress.isVisible()
        seen.append((view.state.text(), is_shown, view.progress.value(), len(whole.xData)))

    page.start_up.progressed.connect(look)
    page.watch.changed.connect(look)
    page.view.resume.click()
    assert not page.view.resume.isVisible()
    wait_for_step(qtbot, page, stopped.step + 2)
    page.view.stop.click()
    news = wait_for(qtbot, page, "stopped")
    waiting = [text for text, *_ in seen if text.startswith(("Going on", "Starting"))]
    assert len(waiting) >= 2  # before the process spoke for the first time
    hidden = [one for one in seen if not one[1] and "stopped" not in one[0]]
    assert not hidden
    assert [step for _, _, step, _ in seen] == sorted(step for _, _, step, _ in seen)
    lengths = [n for *_, n in seen]
    assert lengths == sorted(lengths)
    assert lengths[0] == stopped.step
    assert [row["step"] for row in news.steps] == list(range(1, news.step + 1))


def test_a_stop_before_a_run_goes_on_leaves_it_as_it_was(qtbot, make_dock, drawn_set):
    dock = make_dock(steps=2000, validation_interval=1000)
    page = dock.train
    learn(qtbot, dock, drawn_set)
    wait_for_step(qtbot, page, 2)
    page.view.stop.click()
    stopped = wait_for(qtbot, page, "stopped")
    wait_for_resume(qtbot, page)
    page.view.resume.click()
    qtbot.waitUntil(lambda: page.view.state.text().startswith("Starting"), timeout=WAIT_MS)
    page.view.stop.click()
    wait_for_resume(qtbot, page)
    assert page.view.news[0].step == stopped.step
    assert "⚠" not in page.view.state.text()
    assert not dock.bar.has_error
    assert page.view.plots.isVisible()


def test_a_killed_run_says_so_and_goes_on(qtbot, make_dock, drawn_set):
    dock = make_dock(steps=400, validation_interval=5)
    page = dock.train
    learn(qtbot, dock, drawn_set)
    # With the first check comes the first state.
    qtbot.waitUntil(lambda: bool(page.view.news) and page.view.news[0].step >= 7, timeout=WAIT_MS)
    page.start_up._process.kill()
    news = wait_for(qtbot, page, "interrupted")
    qtbot.waitUntil(page.view.resume.isVisible, timeout=WAIT_MS)
    assert "killed" in page.view.state.text()
    assert news.is_resumable
    assert "memory" in dock.bar.errors.text.text()


def test_what_cannot_be_learnt_is_said_and_leaves_nothing(qtbot, make_dock, drawn_set, tmp_path):
    broken = shutil.copytree(drawn_set, tmp_path / "broken")
    dock = make_dock()
    page = dock.train
    page.data.show_folder(broken)
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    for image in (broken / "images").iterdir():
        image.unlink()
    page.new.learn.click()
    qtbot.waitUntil(lambda: page.view.state.text().startswith("⚠"), timeout=WAIT_MS)
    assert "images cannot be found" in page.view.state.text()
    assert page.view.copy_details.isVisible()
    qtbot.waitUntil(lambda: not list((tmp_path / "runs").iterdir()), timeout=WAIT_MS)
    assert page.new.learn.isEnabled()


def test_the_same_image_twice_does_not_stop_a_training(qtbot, make_dock, tmp_path):
    """Two images of an open folder are one file; both are decided, and one of them checks."""
    folder = tmp_path / "plate"
    folder.mkdir()
    drawn = [drawn_nuclei((96, 96), 5, seed=k) for k in range(4)]
    for k in range(5):
        Image.fromarray(drawn[k % 4][0]).save(folder / f"well{k}.png")  # the last is the first
    dock = make_dock(undecided="ignore")
    page = dock.train
    assert dock.folder.open_folder(folder)
    for k in range(5):
        dock.folder.open(k)
        layer = dock.folder.layer
        roles = guess_roles(layer)
        source = LayerSource(layer, roles)
        result = dock.results.create(f"well{k}", layer, roles, source, [Category(1, "nucleus")])
        segments = tuple(Segment(i, 1) for i in range(1, 6))
        result.propose(0, Segmentation(drawn[k % 4][1], segments), "Segment")
        places = [(0, i) for i in result.document.segments(0)]
        result.session.do(operations.set_status(result.document, places, Status.ACCEPTED))
    page.data.choose_kind("folder")
    page.data.refresh()
    page.data._on_choose("train", [row.key for row in page.data._rows])
    page.data._on_choose("val", [page.data._rows[4].key])
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    page.new.learn.click()
    news = wait_for(qtbot, page, "finished")
    names = [news.split.names[key].rpartition("/")[2] for key in news.split.train]
    assert sorted(names) == ["well1.png", "well2.png", "well3.png"]
    assert (
        "Of 4 images that were to learn 1 is the same as one that checks" in page.view.state.text()
    )


def test_a_stop_before_the_first_step_leaves_nothing(qtbot, make_dock, drawn_set, tmp_path):
    dock = make_dock()
    page = dock.train
    learn(qtbot, dock, drawn_set)
    page.view.stop.click()
    qtbot.waitUntil(lambda: "Nothing was learnt" in page.new.message.text(), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not list((tmp_path / "runs").iterdir()), timeout=WAIT_MS)


def test_nothing_is_cut_off_at_300_px(qtbot, make_dock, drawn_set, tmp_path):
    written(tmp_path / "runs" / "one")
    dock = make_dock()
    page = dock.train
    page.show_runs([tmp_path / "runs" / "one"])
    page.data.show_folder(drawn_set)
    page.form.advanced.set_open(True)
    page.data.fold.set_open(True)
    page.runs_fold.set_open(True)
    qtbot.waitUntil(lambda: page.view.plots is not None, timeout=WAIT_MS)
    assert page.minimumSizeHint().width() <= 270
    shots = os.environ.get("NAPARI_EOMT_TEST_SHOTS")
    if shots:
        dock.resize(320, 2000)
        qtbot.wait(500)
        dock.grab().save(f"{shots}/learn.png")
        page.grab().save(f"{shots}/learn-page.png")
