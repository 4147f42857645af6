"""A new training on the Learn page: what is learnt from, how, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from tests.tiny_models import save_tiny
from tests.training.drawn_panoptic import save_panoptic_set
from tests.widgets.learn_page import WAIT_MS, learn, wait_for, wait_for_step

from napari_eomt.models.user_models import add_user_model


def test_images_are_chosen_one_by_one(qtbot, make_dock, drawn_set):
    page = make_dock(steps=2).train
    page.data.show_folder(drawn_set)
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
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
    assert not page.new.learn.isEnabled()
    data.choose["auto"].click()
    assert not data.is_chosen
    data.table.clearSelection()
    data.table.topLevelItem(0).setSelected(True)
    data.choose["none"].click()
    expected = {key for key, part in data.parts.of.items() if part == "train"}
    page.new.learn.click()
    news = wait_for(qtbot, page, "finished")
    names = news.split.names
    assert {Path(names[key]).stem for key in news.split.train} == expected


def test_wrong_values_are_said(qtbot, make_dock, drawn_set):
    page = make_dock().train
    page.form.advanced.set_open(True)
    field = page.form._fields["learning_rate"]
    field._combo.setCurrentText("-1")
    assert page.form.problem.isVisible()
    page.data.show_folder(drawn_set)
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    page.new.learn.click()
    assert "above 0" in page.new.message.text()
    page.form.reset.click()
    assert not page.form.problem.isVisible()
    assert field._combo.currentText() == "auto"


def test_no_dataset_is_said(qtbot, make_dock, tmp_path):
    page = make_dock().train
    page.data.show_folder(tmp_path)
    qtbot.waitUntil(lambda: page.data.counts.text().startswith("⚠"), timeout=WAIT_MS)
    assert "annotations.json" in page.data.counts.text()
    assert not page.new.learn.isEnabled()


def test_settings_are_remembered(qtbot, make_dock, drawn_set):
    dock = make_dock()
    page = dock.train
    page.form.presets["lora"].click()
    page.data.show_folder(drawn_set)
    page.data.fraction.setValue(35)
    dock._save()
    again = make_dock().train
    assert again.form.preset == "lora"
    assert again.form.params().steps == 4
    assert again.data.kind == "dataset"
    assert again.data.folder == drawn_set
    assert again.data.fraction.value() == 35


def test_a_panoptic_dataset_is_learnt(qtbot, make_dock, tmp_path):
    path = save_panoptic_set(tmp_path / "set", n_images=5)
    folder = save_tiny(tmp_path / "panoptic", "eomt", 1, tasks=["panoptic"])
    add_user_model(folder, "tiny-panoptic")
    page = make_dock(steps=2, undecided="ignore").train
    page.data.show_folder(path.parent)
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    assert "5 images annotated, 20 objects, 10 regions · 4 learn · 1 check" in (
        page.data.counts.text()
    )
    # The tiny model of the header tells objects apart; the other one finds regions as well.
    text = page.new.categories.text()
    assert "cell (16), as objects" in text
    assert "Stuff, glass, medium, are background to tiny" in text
    page.new.model.setCurrentIndex(page.new.model.findData("tiny-panoptic"))
    page.new.model.activated.emit(page.new.model.currentIndex())
    assert "cell (16), glass (4), medium (4), as objects and regions" in page.new.categories.text()
    assert all("~" in label.text() for label in page.form._costs.values())

    # One image is left out: a part of the dataset is written, with its PNGs.
    page.data.table.topLevelItem(0).setSelected(True)
    page.data.choose["none"].click()
    of = dict(page.data.parts.of)
    page.new.learn.click()
    news = wait_for(qtbot, page, "finished")
    assert {name for key, name in news.split.names.items() if key in news.split.train} == {
        name for name, part in of.items() if part == "train"
    }
    assert news.metric == "pq"
    assert len(news.checks) == 2
    qtbot.waitUntil(lambda: len(page.samples._pictures) == 2, timeout=WAIT_MS)


def test_resume_waits_for_the_process_of_before(qtbot, make_dock, drawn_set, monkeypatch):
    dock = make_dock(steps=400, validation_interval=1000)
    page = dock.train
    learn(qtbot, dock, drawn_set)
    wait_for_step(qtbot, page, 2)
    page.view.stop.click()
    # A process that takes long to end: still there though its run has stopped.
    process, code = page.start_up._process, type(page.start_up._process).code
    is_held = True
    held = property(lambda self: None if is_held else code.fget(self))
    monkeypatch.setattr(type(process), "code", held)
    wait_for(qtbot, page, "stopped")
    qtbot.waitUntil(page.view.resume.isVisible, timeout=WAIT_MS)
    assert not page.view.resume.isEnabled()
    assert "still ending" in page.view.resume.toolTip()
    assert "still ending" in page.new.learn.toolTip()
    page.resume()
    assert page.start_up._process is process  # nothing else was started
    is_held = False
    qtbot.waitUntil(page.view.resume.isEnabled, timeout=WAIT_MS)
    assert "all that was asked" in page.view.resume.toolTip()
    assert page.new.learn.isEnabled()
