from __future__ import annotations

import shutil

import pytest
from tests.test_package import imported_by
from tests.tiny_models import save_tiny
from tests.widgets.conftest import SMALL

from napari_eomt.models.catalog import catalog
from napari_eomt.models.store import fetch
from napari_eomt.models.user_models import add_user_model
from napari_eomt.settings import settings_file
from napari_eomt.widgets.model_library import ModelLibrary
from napari_eomt.widgets.model_picker import ModelPicker
from napari_eomt.worker.messages import StateChanged, WorkerState


@pytest.fixture
def library(hub, qtbot):
    library = ModelLibrary()
    yield library
    library.close()


def offered(picker):
    return [picker.combo.itemData(k) for k in range(picker.combo.count())]


def picker_of(qtbot, library, *args):
    picker = ModelPicker(library, *args)
    qtbot.addWidget(picker)
    return picker


def test_it_offers_what_is_on_this_computer(library, qtbot, tmp_path):
    add_user_model(save_tiny(tmp_path / "cells"))
    fetch(catalog()[SMALL])
    library.refresh()
    picker = picker_of(qtbot, library)
    assert offered(picker) == ["nuclei-nano", "cells", SMALL]
    assert picker.combo.itemText(2) == "EoMT-S COCO panoptic 640"
    changes = []
    picker.changed.connect(lambda: changes.append(picker.model))
    picker.combo.setCurrentIndex(2)
    assert changes == [SMALL]
    assert picker.card.input_size == 64, "what the folder says, not the catalog"
    assert "EoMT-S COCO" in picker.combo.toolTip()
    picker.choose("cells")
    assert picker.combo.currentData() == "cells"
    assert changes == [SMALL, "cells"]


def test_it_begins_with_the_model_of_last_time(library, qtbot, tmp_path):
    folder = save_tiny(tmp_path / "cells")
    add_user_model(folder)
    library.refresh()
    assert picker_of(qtbot, library, "cells").model == "cells"
    # Earlier versions remembered the folder.
    assert picker_of(qtbot, library, str(folder)).model == "cells"
    gone = picker_of(qtbot, library, SMALL)
    assert (gone.model, gone.missed) == ("nuclei-nano", SMALL)
    assert picker_of(qtbot, library, str(tmp_path / "nix")).model == "nuclei-nano"


def test_folders_of_old_settings_are_there_once(hub, qtbot, tmp_path):
    folder = save_tiny(tmp_path / "cells")
    settings_file().write_text(f'{{"folders": ["{folder.as_posix()}"]}}')
    library = ModelLibrary()
    assert offered(picker_of(qtbot, library)) == ["nuclei-nano", "cells"]
    library.remove("cells")
    assert ModelLibrary().row("cells") is None


def test_a_model_that_goes_is_replaced_with_a_word(library, qtbot, tmp_path):
    folder = save_tiny(tmp_path / "cells")
    picker = picker_of(qtbot, library)
    picker.choose_folder(str(folder))
    assert picker.model == "cells"
    said, changes = [], []
    picker.refused.connect(said.append)
    picker.changed.connect(lambda: changes.append(picker.model))
    shutil.rmtree(folder)
    library.refresh()
    assert changes == ["nuclei-nano"]
    assert said == ["cells is no longer on this computer: nuclei-nano takes its place."]
    picker.choose("cells")
    assert picker.model == "nuclei-nano"
    assert "is not on this computer" in said[1]


def test_the_process_state_is_shown(library, qtbot):
    picker = picker_of(qtbot, library)
    picker.show_state(StateChanged(WorkerState.WARM, "Ready.", "cuda", "nuclei-nano"))
    assert "cuda · ready" in picker.status.text()
    assert picker.status.toolTip() == "Ready."


def test_neither_dock_nor_dialog_imports_torch(tmp_path, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    modules = imported_by(
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "import napari_eomt.widgets.dock\n"
        "from napari_eomt.widgets.model_dialog import ModelDialog\n"
        "from napari_eomt.widgets.model_library import ModelLibrary\n"
        "from napari_eomt.widgets.model_picker import ModelPicker\n"
        "library = ModelLibrary()\n"
        "picker = ModelPicker(library)\n"
        "dialog = ModelDialog(library, picker)\n"
        "dialog.open_at('eomt-large-coco-panoptic-640')\n"
        "library.close()\n"
    )
    assert "napari_eomt.widgets.model_dialog" in modules
    assert not modules & {"torch", "transformers"}
