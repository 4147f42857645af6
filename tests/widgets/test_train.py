"""The Learn page: a real training of a tiny model, in a real process of its own."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from qtpy.QtWidgets import QMessageBox
from tests.training.drawn import save_model, save_nuclei

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import FrameState
from napari_eomt.models.user_models import add_user_model
from napari_eomt.settings import load_settings, save_settings
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.widgets.dock import EomtDock
from napari_eomt.worker.client import WorkerClient

WAIT_MS = 120_000
FORM = {"steps": 4, "batch_size": 2, "undecided": "learn", "validation_interval": 2}


@pytest.fixture(scope="module")
def client():
    client = WorkerClient(n_threads=1)
    client.start()
    yield client
    client.close()


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory):
    return save_nuclei(tmp_path_factory.mktemp("nuclei") / "set", n_images=4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def _runs(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_EOMT_RUNS_DIR", str(tmp_path / "runs"))


@pytest.fixture
def make_dock(make_napari_viewer, qtbot, client, tiny):
    """Return a function that opens the dock at the Learn page, in a new viewer."""

    def make(worker=client, **form):
        add_user_model(tiny, "tiny")
        train = load_settings().train or {"form": FORM}
        train = {**train, "form": {**train["form"], **form}}
        settings = load_settings().model_copy(
            update={"model": "tiny", "train": train, "page": "learn", "device": "cpu"}
        )
        save_settings(settings)
        dock = EomtDock(make_napari_viewer(), client=worker)
        qtbot.addWidget(dock, before_close_func=close)
        dock.resize(320, 900)
        dock.show()
        return dock

    def close(dock):
        process = dock.train.start_up._process
        if process is not None and process.code is None:
            process.kill()
        dock.shutdown()

    return make


def learn(qtbot, dock, dataset):
    page = dock.train
    page.data.show_folder(dataset)
    qtbot.waitUntil(page.learn.isEnabled, timeout=WAIT_MS)
    page.learn.click()
    qtbot.waitUntil(lambda: bool(page.watch.folders), timeout=WAIT_MS)
    return page.watch.folders[0]


def wait_for(qtbot, page, *statuses):
    qtbot.waitUntil(
        lambda: bool(page.view.news) and page.view.news[0].status in statuses, timeout=WAIT_MS
    )
    return page.view.news[0]


def test_an_empty_page_says_what_to_do(make_dock):
    page = make_dock().train
    assert page.setup.is_open
    assert not page.setup.head.isVisible()
    assert page.hint.isVisible()
    assert not page.learn.isEnabled()
    assert not page.view.isVisible()
    assert page.view.plots is None  # pyqtgraph was not imported


def test_a_model_learns_and_is_used(qtbot, make_dock, nuclei, tmp_path):
    # A worker of its own, which knows the model's name as this test does.
    dock = make_dock(worker=None)
    page = dock.train
    page.data.fraction.setValue(30)
    folder = learn(qtbot, dock, nuclei)
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
    assert dock._tab(dock.tabs.currentIndex()) == "segment"
    assert dock.bar.text.text().endswith("instead of tiny.")
    dock.bar.action.click()
    assert dock.model.model == "tiny"
    assert "tiny is the model of the Segment page again" in dock.bar.text.text()


def test_open_work_is_learnt_without_a_check(qtbot, make_dock):
    dock = make_dock(undecided="ignore")
    page, viewer = dock.train, dock._viewer
    pixels, ids = drawn_nuclei((96, 96), 5, seed=2)
    layer = viewer.add_image(pixels, name="dish")
    assert page.hint.isVisible()
    roles = guess_roles(layer)
    source = LayerSource(layer, roles)
    result = dock.results.create("dish", layer, roles, source, [Category(1, "nucleus")])
    segments = tuple(Segment(i, 1) for i in range(1, 6))
    result.propose(0, Segmentation(ids, segments), "Segment")
    dock._on_image()
    assert not page.learn.isEnabled()
    places = [(0, i) for i in result.document.segments(0)]
    result.session.do(operations.set_status(result.document, places, Status.ACCEPTED))
    qtbot.waitUntil(page.learn.isEnabled, timeout=WAIT_MS)
    assert page.data.kind == "image"
    assert "1 image reviewed, 5 objects · 1 learn · 0 check" in page.data.counts.text()
    assert "Annotate another" in page.data.counts.text()
    page.learn.click()
    news = wait_for(qtbot, page, "finished")
    assert news.folder.name.startswith("dish-")
    assert news.checks == ()
    assert (news.folder / ".dataset" / "learn.json").is_file()
    assert result.document.state(0) is not FrameState.EXPORTED
    assert not page.samples.isVisible()
    page.view.use.click()
    assert dock.model.card.folder == (news.folder / "checkpoints" / "last").resolve()


def test_stop_resume_and_found_again(qtbot, make_dock, nuclei):
    dock = make_dock(steps=400, validation_interval=1000)
    page = dock.train
    folder = learn(qtbot, dock, nuclei)
    qtbot.waitUntil(lambda: bool(page.view.news) and page.view.news[0].step >= 2, timeout=WAIT_MS)
    assert not page.learn.isEnabled()
    page.view.stop.click()
    news = wait_for(qtbot, page, "stopped")
    qtbot.waitUntil(lambda: not page.is_busy, timeout=WAIT_MS)
    assert news.is_resumable
    assert news.step < 400
    assert "Resume goes on" in page.view.state.text()

    # Another dock, as after a restart of napari: it is the run of last time.
    dock._save()
    again = make_dock().train
    wait_for(qtbot, again, "stopped")
    assert again.view.news[0].folder == folder
    again.view.resume.click()
    qtbot.waitUntil(
        lambda: bool(again.view.news) and again.view.news[0].step > news.step, timeout=WAIT_MS
    )
    # A third one finds it running, though it has not started it.
    dock._save()
    third = make_dock().train
    wait_for(qtbot, third, "running")
    assert third.start_up.is_busy is False
    qtbot.waitUntil(third.view.stop.isEnabled, timeout=WAIT_MS)
    third.view.stop.click()
    wait_for(qtbot, third, "stopped")
    wait_for(qtbot, again, "stopped")


def test_a_killed_run_says_so_and_goes_on(qtbot, make_dock, nuclei):
    dock = make_dock(steps=400, validation_interval=5)
    page = dock.train
    learn(qtbot, dock, nuclei)
    # With the first check comes the first state.
    qtbot.waitUntil(lambda: bool(page.view.news) and page.view.news[0].step >= 7, timeout=WAIT_MS)
    page.start_up._process.kill()
    news = wait_for(qtbot, page, "interrupted")
    qtbot.waitUntil(page.view.resume.isVisible, timeout=WAIT_MS)
    assert "killed" in page.view.state.text()
    assert news.is_resumable
    assert "memory" in dock.bar.text.text()


def test_what_cannot_be_learnt_is_said_and_leaves_nothing(qtbot, make_dock, nuclei, tmp_path):
    broken = shutil.copytree(nuclei, tmp_path / "broken")
    dock = make_dock()
    page = dock.train
    page.data.show_folder(broken)
    qtbot.waitUntil(page.learn.isEnabled, timeout=WAIT_MS)
    for image in (broken / "images").iterdir():
        image.unlink()
    page.learn.click()
    qtbot.waitUntil(lambda: page.view.state.text().startswith("⚠"), timeout=WAIT_MS)
    assert "images cannot be found" in page.view.state.text()
    assert page.view.copy_details.isVisible()
    qtbot.waitUntil(lambda: not list((tmp_path / "runs").iterdir()), timeout=WAIT_MS)
    assert page.learn.isEnabled()


def test_a_stop_before_the_first_step_leaves_nothing(qtbot, make_dock, nuclei, tmp_path):
    dock = make_dock()
    page = dock.train
    learn(qtbot, dock, nuclei)
    page.view.stop.click()
    qtbot.waitUntil(lambda: "Nothing was learnt" in page.message.text(), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not list((tmp_path / "runs").iterdir()), timeout=WAIT_MS)


def test_images_are_chosen_one_by_one(qtbot, make_dock, nuclei):
    page = make_dock(steps=2).train
    page.data.show_folder(nuclei)
    qtbot.waitUntil(page.learn.isEnabled, timeout=WAIT_MS)
    data = page.data
    data.fold.set_open(True)
    for k, name in enumerate(("train", "val", "none", "train")):
        data.table.clearSelection()
        data.table.topLevelItem(k).setSelected(True)
        data.choose[name].click()
    words = [data.table.topLevelItem(k).text(2) for k in range(4)]
    assert words == [f"{w} (chosen)" for w in ("learns", "checks", "neither", "learns")]
    assert "2 learn · 1 check" in data.counts.text()
    data.table.selectAll()
    data.choose["none"].click()
    assert "No image is left" in data.counts.text()
    assert not page.learn.isEnabled()
    data.choose["auto"].click()
    assert not data.is_chosen
    data.table.clearSelection()
    data.table.topLevelItem(0).setSelected(True)
    data.choose["none"].click()
    expected = {key for key, part in data.parts.of.items() if part == "train"}
    page.learn.click()
    news = wait_for(qtbot, page, "finished")
    names = news.split.names
    assert {Path(names[key]).stem for key in news.split.train} == expected


def test_wrong_values_are_said(qtbot, make_dock, nuclei):
    page = make_dock().train
    page.form.advanced.set_open(True)
    field = page.form._fields["learning_rate"]
    field._combo.setCurrentText("-1")
    assert page.form.problem.isVisible()
    page.data.show_folder(nuclei)
    qtbot.waitUntil(page.learn.isEnabled, timeout=WAIT_MS)
    page.learn.click()
    assert "above 0" in page.message.text()
    page.form.reset.click()
    assert not page.form.problem.isVisible()
    assert field._combo.currentText() == "auto"


def test_no_dataset_is_said(qtbot, make_dock, tmp_path):
    page = make_dock().train
    page.data.show_folder(tmp_path)
    qtbot.waitUntil(lambda: page.data.counts.text().startswith("⚠"), timeout=WAIT_MS)
    assert "annotations.json" in page.data.counts.text()
    assert not page.learn.isEnabled()


def written(folder, n=6, metric="ap", best=0.5, reason="finished"):
    """Write what a finished run leaves that the page reads."""
    folder.mkdir(parents=True)
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.runs import Run, RunPlan, RunSplit, create_run

    params = TrainParams(steps=n, metric=metric)
    plan = RunPlan(dataset="none.json", model="tiny", params=params, resolved=params)
    run: Run = create_run(folder, plan, RunSplit(train=("1",), val=("2",), names={}))
    rows = [{"kind": "start", "step": 0}]
    rows.append({"kind": "check", "step": 0, "score": 0.1})
    for k in range(n):
        rows.append({"kind": "step", "step": k + 1, "loss": 2.0 / (k + 1), "seconds": 0.1})
    rows.append({"kind": "check", "step": n, "score": best})
    rows.append({"kind": "end", "step": n, "reason": reason})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_runs_are_listed_compared_opened_and_deleted(qtbot, make_dock, tmp_path, monkeypatch):
    one, two = (written(tmp_path / "runs" / name).folder for name in ("one", "two"))
    other = written(tmp_path / "elsewhere", best=0.9).folder
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "params.json").write_text("{")
    page = make_dock().train
    runs = page.runs
    qtbot.waitUntil(lambda: runs.table.topLevelItemCount() == 2, timeout=WAIT_MS)
    page.show_runs([one, two])
    qtbot.waitUntil(lambda: len(page.view.news) == 2, timeout=WAIT_MS)
    assert {i.name() for i in page.view.plots.score.plotItem.listDataItems()} == {"one", "two"}
    assert all(
        name in page.view.plots.heads[page.view.plots.score].text() for name in ("one", "two")
    )
    assert not page.view.use.isVisible()
    runs.open_folder(other)
    qtbot.waitUntil(
        lambda: (
            [n.folder for n in page.view.news] == [other] and runs.table.topLevelItemCount() == 3
        ),
        timeout=WAIT_MS,
    )
    assert "AP 0.100 → 0.900 at step 6" in page.view.state.text()
    assert page.view.about.text() == "tiny · Quick · 1 image learns, 1 checks"
    # What came of it stands where people look; a new training is a click away.
    assert page.setup.head.isVisible()
    assert not page.setup.is_open
    assert str(other) in page.values()["others"]
    runs.open_folder(tmp_path / "runs" / "broken")
    qtbot.waitUntil(lambda: page.view.state.text().startswith("⚠"), timeout=WAIT_MS)
    runs.select([one])
    asked = []

    def answer(parent, title, text):
        asked.append(text)
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", answer)
    runs.delete.click()
    qtbot.waitUntil(lambda: runs.table.topLevelItemCount() == 2, timeout=WAIT_MS)
    assert "one" in asked[0]
    assert not one.exists()
    assert two.exists()


def test_settings_are_remembered(qtbot, make_dock, nuclei):
    dock = make_dock()
    page = dock.train
    page.form.presets["lora"].click()
    page.data.show_folder(nuclei)
    page.data.fraction.setValue(35)
    dock._save()
    again = make_dock().train
    assert again.form.preset == "lora"
    assert again.form.params().steps == 4
    assert again.data.kind == "dataset"
    assert again.data.folder == nuclei
    assert again.data.fraction.value() == 35


def test_nothing_is_cut_off_at_300_px(qtbot, make_dock, nuclei, tmp_path):
    written(tmp_path / "runs" / "one")
    dock = make_dock()
    page = dock.train
    page.show_runs([tmp_path / "runs" / "one"])
    page.data.show_folder(nuclei)
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


def test_the_window_does_not_wait_for_a_slow_disk(qtbot, make_dock, tmp_path, monkeypatch):
    from napari_eomt.widgets.run_tail import RunTail

    folder = written(tmp_path / "runs" / "one").folder
    page = make_dock().train
    read = RunTail.read

    def slow(self):
        time.sleep(0.5)
        return read(self)

    monkeypatch.setattr(RunTail, "read", slow)
    page.show_runs([folder])
    assert not page.view.news  # it came back before the disk did
    qtbot.waitUntil(lambda: bool(page.view.news), timeout=WAIT_MS)
