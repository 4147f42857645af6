"""The window of all models, with a hub on this computer and real files."""

from __future__ import annotations

import shutil
import time

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QInputDialog, QMessageBox
from tests.models.hub_server import TOKEN, Fault
from tests.tiny_models import save_tiny
from tests.widgets.conftest import SMALL

from napari_eomt.models.catalog import catalog, find_model
from napari_eomt.models.store import local_folder, models_dir
from napari_eomt.models.user_models import add_user_model, user_models
from napari_eomt.widgets.model_dialog import ModelDialog
from napari_eomt.widgets.model_library import ModelLibrary
from napari_eomt.widgets.model_picker import ModelPicker
from napari_eomt.widgets.model_table import COLUMNS, NAME_ROLE

WAIT_MS = 60_000
ENTRY = catalog()[SMALL]


@pytest.fixture
def dialog(hub, qtbot):
    return open_dialog(qtbot)


def open_dialog(qtbot):
    library = ModelLibrary()
    picker = ModelPicker(library)
    dialog = ModelDialog(library, picker)
    dialog.library, dialog.picker = library, picker
    library.failed.connect(dialog.show_failure)
    qtbot.addWidget(picker)
    qtbot.addWidget(dialog, before_close_func=lambda _: library.close())
    dialog.open_at(picker.model)
    return dialog


def wait_idle(qtbot, dialog):
    qtbot.waitUntil(lambda: not dialog.library.jobs.states, timeout=WAIT_MS)


def state(dialog, name):
    k = list(COLUMNS).index("state")
    for row in range(dialog.models.rowCount()):
        if dialog.models.index(row, 0).data(NAME_ROLE) == name:
            return dialog.models.index(row, k).data()
    return None


def offered(picker):
    return [picker.combo.itemData(k) for k in range(picker.combo.count())]


def answer(monkeypatch, yes=True):
    asked = []
    button = QMessageBox.StandardButton.Yes if yes else QMessageBox.StandardButton.No
    monkeypatch.setattr(
        QMessageBox, "question", lambda parent, title, text: asked.append(text) or button
    )
    return asked


def choose(monkeypatch, path, categories="something else: numbers for names"):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(path))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: (categories, True))


def test_download_and_use(dialog, qtbot):
    dialog.select(SMALL)
    assert state(dialog, SMALL) == "not here"
    assert dialog.panel.use.text() == "Download and use · 96 MB"
    assert offered(dialog.picker) == ["nuclei-nano"]
    dialog.panel.use.click()
    assert dialog.panel.progress.isVisible()
    assert dialog.panel.cancel.isVisible()
    assert "used as soon as it is ready" in dialog.panel.progress_text.text()
    assert dialog.panel.use.isHidden(), "it is wished for already"
    assert not dialog.picker.coming.isHidden()
    wait_idle(qtbot, dialog)
    assert state(dialog, SMALL) == "here"
    assert dialog.picker.model == SMALL
    assert dialog.picker.card.folder == local_folder(ENTRY)
    assert [c.name for c in dialog.picker.card.categories][:2] == ["person", "bicycle"]
    assert dialog.panel.use.text() == "In use"
    assert dialog.picker.coming.isHidden()
    assert str(local_folder(ENTRY)) in dialog.panel.card.text.text().replace("\u200b", "")


def test_another_choice_meanwhile_counts(dialog, qtbot, tmp_path, hub):
    own = dialog.library.add_folder(save_tiny(tmp_path / "own"))
    hub.faults["model.safetensors"] = Fault(rate=400_000)
    dialog.select(SMALL)
    dialog.panel.use.click()
    dialog.picker.choose(own)
    assert dialog.panel.use.text() == "Use when it is ready"
    wait_idle(qtbot, dialog)
    assert state(dialog, SMALL) == "here"
    assert dialog.picker.model == own


def test_a_download_can_be_wished_for_later(dialog, qtbot, hub):
    hub.faults["model.safetensors"] = Fault(rate=400_000)
    dialog.select(SMALL)
    dialog.panel.download.click()
    dialog.panel.use.click()
    assert dialog.panel.use.isHidden()
    wait_idle(qtbot, dialog)
    assert dialog.picker.model == SMALL


def test_cancel_is_quick_and_the_next_download_goes_on(dialog, qtbot, hub):
    total = len(hub.repos[ENTRY.hub_id].files["model.safetensors"])
    hub.faults["model.safetensors"] = Fault(rate=total / 4)
    dialog.select(SMALL)
    dialog.panel.download.click()
    qtbot.waitUntil(
        lambda: ((dialog.library.job(SMALL) and dialog.library.job(SMALL).percent) or 0) >= 20,
        timeout=WAIT_MS,
    )
    assert state(dialog, SMALL).startswith("downloading")
    assert "MB" in dialog.panel.progress_text.text()
    start = time.monotonic()
    qtbot.mouseClick(dialog.panel.cancel, Qt.MouseButton.LeftButton)
    assert state(dialog, SMALL) == "stopping"
    wait_idle(qtbot, dialog)
    assert time.monotonic() - start < 1
    assert dialog.errors.isHidden()
    assert dialog.panel.download.text() == "Resume"
    assert "in part" in dialog.panel.card.text.text()
    first = hub.served("model.safetensors")
    hub.faults.clear()
    dialog.panel.download.click()
    wait_idle(qtbot, dialog)
    assert state(dialog, SMALL) == "here"
    assert dialog.picker.model == "nuclei-nano", "the wish was cancelled too"
    # What was on its way when it was stopped may come twice.
    assert hub.served("model.safetensors") < total + 0.3 * first + 100_000


def test_a_failure_stays_until_it_is_read(dialog, qtbot, hub):
    del hub.repos[ENTRY.hub_id]
    dialog.select(SMALL)
    dialog.panel.use.click()
    wait_idle(qtbot, dialog)
    assert "There is no repository" in dialog.errors.text.text()
    assert dialog.errors.token.isHidden()
    assert dialog.panel.use.isEnabled()
    dialog.select("nuclei-nano")
    dialog.close()
    dialog.open_at("nuclei-nano")
    assert dialog.errors.isVisible()
    dialog.errors.copy_details.click()
    copied = QApplication.clipboard().text()
    assert "There is no repository" in copied
    assert "Traceback" in copied
    dialog.errors.dismiss.click()
    assert dialog.errors.isHidden()


def test_a_gated_model_takes_a_token_for_this_download_alone(dialog, qtbot, hub):
    repo = hub.repos[ENTRY.hub_id]
    repo.is_gated = True
    dialog.select(SMALL)
    dialog.panel.use.click()
    wait_idle(qtbot, dialog)
    assert "accept a licence" in dialog.errors.text.text()
    assert f"href='{hub.url}/{ENTRY.hub_id}'" in dialog.errors.text.text()
    assert dialog.errors.token.isVisible()
    repo.is_gated = False
    hub.requests.clear()
    dialog.errors.token.setText(TOKEN)
    qtbot.keyClick(dialog.errors.token, Qt.Key.Key_Return)
    wait_idle(qtbot, dialog)
    assert dialog.errors.isHidden()
    assert dialog.picker.model == SMALL, "it was to be used, and still is"
    tokens = {request.token for request in hub.requests if "/cdn/" not in request.path}
    assert tokens == {TOKEN}
    assert dialog.errors.token.text() == ""


def test_a_model_in_another_format_is_converted_by_a_child(dialog, qtbot, hub, tiny_original):
    hub.repos[ENTRY.hub_id].files = {"pytorch_model.bin": tiny_original.read_bytes()}
    dialog.select(SMALL)
    seen = []
    dialog.library.progressed.connect(lambda name: seen.append(state(dialog, name)))
    dialog.panel.use.click()
    wait_idle(qtbot, dialog)
    assert "converting" in seen
    assert dialog.errors.failures == []
    assert dialog.picker.model == SMALL
    assert dialog.picker.card.folder == local_folder(ENTRY)
    assert (dialog.picker.card.folder / "model.safetensors").is_file()


def test_deleting_asks_frees_and_switches_away(dialog, qtbot, monkeypatch):
    dialog.select("nuclei-nano")
    assert dialog.panel.delete.isHidden(), "what comes with the plugin stays"
    dialog.select(SMALL)
    dialog.panel.use.click()
    wait_idle(qtbot, dialog)
    folder = local_folder(ENTRY)
    asked = answer(monkeypatch, yes=False)
    dialog.panel.delete.click()
    assert "frees" in asked[0]
    assert "in use: nuclei-nano takes its place" in asked[0]
    assert dialog.picker.model == SMALL
    answer(monkeypatch)
    dialog.panel.delete.click()
    wait_idle(qtbot, dialog)
    assert not folder.exists()
    assert dialog.picker.model == "nuclei-nano"
    assert offered(dialog.picker) == ["nuclei-nano"]
    assert state(dialog, SMALL) == "not here"


def test_a_damaged_download_is_said_and_not_offered(hub, qtbot, monkeypatch):
    dialog = open_dialog(qtbot)
    dialog.library.download(SMALL)
    wait_idle(qtbot, dialog)
    (local_folder(ENTRY) / "config.json").resolve().write_text("{")
    dialog.library.refresh()
    dialog.select(SMALL)
    assert state(dialog, SMALL) == "damaged"
    assert offered(dialog.picker) == ["nuclei-nano"]
    assert not dialog.panel.use.isEnabled()
    assert "Delete it, then download it again" in dialog.panel.card.text.text()
    answer(monkeypatch)
    dialog.panel.delete.click()
    wait_idle(qtbot, dialog)
    assert dialog.panel.download.isVisible()


def test_a_folder_is_added_renamed_and_removed(dialog, qtbot, monkeypatch, tmp_path):
    folder = save_tiny(tmp_path / "cells")
    choose(monkeypatch, folder)
    dialog.add_folder.click()
    assert state(dialog, "cells") == "here"
    assert dialog.panel.use.isEnabled()
    dialog.panel.use.click()
    assert dialog.picker.model == "cells"
    assert dialog.panel.delete.isHidden(), "the folder is not ours to delete"
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: (" my cells ", True))
    dialog.panel.rename.click()
    assert dialog.picker.model == "my cells"
    assert dialog.picker.combo.currentText() == "my cells"
    assert state(dialog, "my cells") == "here"
    assert state(dialog, "cells") is None
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("nuclei-nano", True))
    dialog.panel.rename.click()
    assert "is taken by a bundled model" in dialog.errors.text.text()
    # It is there after a restart.
    again = open_dialog(qtbot)
    assert offered(again.picker) == ["nuclei-nano", "my cells"]
    dialog.panel.remove.click()
    assert user_models() == {}
    assert (folder / "config.json").is_file()
    assert dialog.picker.model == "nuclei-nano"
    assert offered(dialog.picker) == ["nuclei-nano"]


def test_a_folder_that_is_no_model_is_refused(dialog, monkeypatch, tmp_path):
    choose(monkeypatch, tmp_path)
    n_before = dialog.table.rowCount()
    dialog.add_folder.click()
    assert "config.json is missing" in dialog.errors.text.text()
    assert dialog.table.rowCount() == n_before
    assert user_models() == {}


def test_a_missing_folder_is_listed_but_not_offered(hub, qtbot, tmp_path):
    folder = save_tiny(tmp_path / "cells")
    add_user_model(folder)
    shutil.move(folder, tmp_path / "away")
    dialog = open_dialog(qtbot)
    assert state(dialog, "cells") == "missing"
    assert offered(dialog.picker) == ["nuclei-nano"]
    shutil.move(tmp_path / "away", folder)
    dialog.open_at("cells")
    assert state(dialog, "cells") == "here"


def test_a_checkpoint_is_converted_and_deleted(dialog, qtbot, monkeypatch, tiny_original):
    choose(monkeypatch, tiny_original, "coco_panoptic")
    dialog.add_file.click()
    assert state(dialog, "cells") == "converting"
    assert dialog.panel.cancel.isVisible()
    wait_idle(qtbot, dialog)
    assert dialog.errors.failures == []
    assert state(dialog, "cells") == "here"
    assert find_model("cells").categories[16].name == "dog"
    folder = user_models()["cells"].folder
    asked = answer(monkeypatch)
    dialog.panel.delete.click()
    assert "converted from stays" in asked[0]
    wait_idle(qtbot, dialog)
    assert not folder.exists()
    assert user_models() == {}
    assert tiny_original.is_file()


def test_a_conversion_is_cancelled_without_a_trace(dialog, qtbot, monkeypatch, tiny_original):
    choose(monkeypatch, tiny_original)
    dialog.add_file.click()
    qtbot.wait(300)
    dialog.panel.cancel.click()
    assert state(dialog, "cells") == "stopping"
    wait_idle(qtbot, dialog)
    assert dialog.errors.failures == []
    assert state(dialog, "cells") is None
    assert not list((models_dir() / "added").iterdir())


def test_what_is_no_checkpoint_is_one_line(dialog, qtbot, monkeypatch, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no")
    choose(monkeypatch, path)
    dialog.add_file.click()
    assert "is no checkpoint" in dialog.errors.text.text()
    dialog.errors.dismiss.click()
    bad = tmp_path / "bad.bin"
    bad.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    choose(monkeypatch, bad)
    dialog.add_file.click()
    wait_idle(qtbot, dialog)
    assert "bad.bin" in dialog.errors.text.text()
    assert state(dialog, "bad") is None
    assert user_models() == {}


def test_a_delta_asks_for_its_base(dialog, qtbot, monkeypatch, tiny_delta):
    delta, base = tiny_delta
    choose(monkeypatch, delta)
    dialog.add_file.click()
    wait_idle(qtbot, dialog)
    assert "holds only what training changed" in dialog.errors.text.text()
    assert dialog.errors.base.isVisible()
    choose(monkeypatch, base)
    dialog.errors.base.click()
    assert dialog.errors.isHidden()
    wait_idle(qtbot, dialog)
    assert dialog.errors.failures == []
    assert find_model(delta.stem).architecture == "eomt_dinov3"


def test_search_and_keyboard(dialog, qtbot):
    qtbot.keyClicks(dialog.filters.search, "cityscapes")
    assert dialog.models.rowCount() == 1
    qtbot.keyClick(dialog.filters.search, Qt.Key.Key_Return)
    assert not dialog.library.jobs.states, "Enter in the search starts nothing"
    assert dialog.isVisible()
    qtbot.keyClick(dialog.view, Qt.Key.Key_Down)
    dialog.filters.search.setText("zebrafish")
    assert dialog.nothing.isVisible()
    dialog.filters.search.clear()
    dialog.filters.task.setCurrentIndex(dialog.filters.task.findData("semantic"))
    dialog.filters.video.setCurrentIndex(dialog.filters.video.findData(True))
    shown = {dialog.models.index(k, 0).data(NAME_ROLE) for k in range(dialog.models.rowCount())}
    assert "videomt-large-vspw" in shown
    assert "nuclei-nano" not in shown
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert dialog.isHidden()


def test_selection_survives_sorting_and_a_refresh(dialog):
    dialog.select("eomt-large-coco-panoptic-640")
    for k in range(dialog.filters.sort.count()):
        dialog.filters.sort.setCurrentIndex(k)
        current = dialog.view.currentIndex()
        assert current.siblingAtColumn(0).data(NAME_ROLE) == "eomt-large-coco-panoptic-640"
    dialog.library.refresh()
    assert dialog.view.currentIndex().siblingAtColumn(0).data(NAME_ROLE).startswith("eomt-large")
    dialog.view.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    assert dialog.filters.sort.currentIndex() == -1, "the list has no such order"


def test_categories_are_searched(dialog):
    dialog.select("eomt-large-coco-panoptic-640")
    card = dialog.panel.card
    assert card.categories.count() == 133
    card.search.setText("dog")
    items = [card.categories.item(k) for k in range(133)]
    shown = [item.text() for item in items if not item.isHidden()]
    assert shown == ["18  dog  ·  thing", "58  hot dog  ·  thing"]
    assert "2 of 133" in card.count.text()


@pytest.mark.parametrize(("width", "direction"), [(480, "Vertical"), (1000, "Horizontal")])
def test_it_fits_a_small_screen(dialog, qtbot, width, direction):
    dialog.resize(width, 560)
    assert dialog.minimumSizeHint().width() <= 480
    qtbot.waitUntil(lambda: dialog.width() == width)
    assert dialog._splitter.orientation() == getattr(Qt.Orientation, direction)
    state_column = list(COLUMNS).index("state")
    assert not dialog.view.isColumnHidden(0)
    assert not dialog.view.isColumnHidden(state_column)
    header = dialog.view.horizontalHeader()
    assert header.length() <= dialog.view.viewport().width()


def test_what_is_sorted_by_is_seen_however_narrow_it_is(dialog, qtbot):
    dialog.resize(480, 560)
    qtbot.waitUntil(lambda: dialog.width() == 480)
    speed = list(COLUMNS).index("speed")
    assert dialog.view.isColumnHidden(speed)
    dialog.filters.sort.setCurrentIndex(dialog.filters.sort.findText("Sort: fastest"))
    assert not dialog.view.isColumnHidden(speed)
