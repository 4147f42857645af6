"""Categories are drawn in, given, named, coloured, removed and imported; all can be undone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QAbstractItemModelTester
from qtpy.QtWidgets import QColorDialog, QLineEdit
from tests.result_bench import ResultBench, settle

from napari_eomt.annotation import operations
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.colormaps import hex_of
from napari_eomt.widgets.annotate import AnnotatePage
from napari_eomt.widgets.category_model import NAMES

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def bench(qtbot):
    yield from made(qtbot, 0)


@pytest.fixture
def stack(qtbot):
    yield from made(qtbot, 3)


def made(qtbot, n_frames):
    bench = ResultBench(ViewerModel(), n_frames)
    bench.page = AnnotatePage(bench.viewer, bench.current)
    bench.list = bench.page.categories
    bench.view, bench.model = bench.list.view, bench.list.model
    bench.tester = QAbstractItemModelTester(
        bench.model, QAbstractItemModelTester.FailureReportingMode.Fatal
    )
    bench.said, bench.refused = [], []
    bench.page.said.connect(bench.said.append)
    bench.current.refused.connect(bench.refused.append)
    qtbot.addWidget(bench.page)
    bench.page.resize(300, 900)
    bench.page.show()
    settle()
    yield bench
    bench.page.close_events()
    bench.close()


def texts(bench, column):
    k = NAMES.index(column)
    return [bench.model.index(row, k).data() for row in range(bench.model.rowCount())]


def where(bench, row, column="name"):
    return bench.view.visualRect(bench.model.index(row, NAMES.index(column))).center()


def click(qtbot, bench, row):
    qtbot.mouseClick(bench.view.viewport(), LEFT, pos=where(bench, row))


def double_click(qtbot, bench, row, column="name"):
    # As a mouse does it: a press and a release come first.
    qtbot.mouseClick(bench.view.viewport(), LEFT, pos=where(bench, row, column))
    qtbot.mouseDClick(bench.view.viewport(), LEFT, pos=where(bench, row, column))


def brush(bench):
    """Return the highlighted category, which is what is drawn in."""
    (index,) = bench.view.selectionModel().selectedRows()
    highlighted = bench.model.categories[index.row()].id
    assert highlighted == bench.result.view.category_id
    return highlighted


def test_what_is_shown(bench):
    assert texts(bench, "name") == ["cell", "debris", "soil"]
    assert texts(bench, "kind") == ["thing", "thing", "stuff"]
    assert texts(bench, "count") == ["3", "1", "0"]
    assert texts(bench, "key") == ["Alt+1", "Alt+2", "Alt+3"]
    assert brush(bench) == 7
    assert bench.list.search.isHidden()


def test_counts_of_the_frame_and_the_stack(stack):
    assert texts(stack, "count") == ["3 / 9", "1 / 3", "0 / 0"]
    stack.session.do(operations.delete(stack.document, [(1, 5), (1, 6)]))
    assert texts(stack, "count") == ["3 / 7", "1 / 3", "0 / 0"]
    stack.viewer.dims.set_point(0, 1)
    assert texts(stack, "count") == ["1 / 7", "1 / 3", "0 / 0"]
    stack.session.do(operations.reject(stack.document, [(1, 7)]))
    assert texts(stack, "count")[1] == "0 / 2"
    stack.session.undo()
    stack.session.undo()
    assert texts(stack, "count") == ["3 / 9", "1 / 3", "0 / 0"]


def test_a_click_says_what_is_drawn_next(bench, qtbot):
    click(qtbot, bench, 1)
    assert brush(bench) == 3
    assert bench.session.n_steps == 1  # the proposal
    bench.layer.data_setitem((np.array([50]), np.array([70])), 99)
    assert bench.segment(99).category_id == 3
    qtbot.keyClick(bench.view, Qt.Key.Key_Down)
    assert brush(bench) == 9
    # Set elsewhere, by a key.
    bench.result.view.category_id = 7
    assert brush(bench) == 7


def test_a_click_gives_a_category_to_what_is_selected(bench, qtbot):
    bench.session.select([(0, 1), (0, 2)])
    click(qtbot, bench, 1)
    assert bench.segment(1).category_id == bench.segment(2).category_id == 3
    assert bench.session.undo_name == "Make debris: 2 objects"
    assert texts(bench, "count") == ["1", "3", "0"]
    # Arrows go through the list; they give nothing.
    qtbot.keyClick(bench.view, Qt.Key.Key_Down)
    assert bench.segment(1).category_id == 3
    qtbot.keyClick(bench.view, Qt.Key.Key_Return)
    assert bench.segment(1).category_id == 9
    bench.session.undo()
    bench.session.undo()
    assert bench.segment(1).status is Status.PROPOSED


def test_a_double_click_renames_and_gives_nothing(bench, qtbot):
    bench.session.select([(0, 1)])
    double_click(qtbot, bench, 1)
    assert bench.segment(1).category_id == 7
    (editor,) = bench.view.findChildren(QLineEdit)
    editor.setText("dirt")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bench.document.categories[3].name == "dirt")
    assert texts(bench, "name") == ["cell", "dirt", "soil"]
    assert set(bench.layer.features["category"]) == {"cell", "dirt"}
    bench.session.undo()
    assert texts(bench, "name") == ["cell", "debris", "soil"]


def test_names_are_not_taken_twice_or_empty(bench):
    index = bench.model.index(1, 0)
    assert not bench.model.setData(index, "  ")
    assert not bench.model.setData(index, " debris ")
    assert not bench.model.setData(index, "CELL")
    assert "There is a category CELL already" in bench.refused[0]
    assert bench.session.n_steps == 1


def test_a_category_is_added_and_named(bench, qtbot):
    bench.list.add.click()
    assert brush(bench) == 10
    (editor,) = bench.view.findChildren(QLineEdit)
    assert editor.text() == "category 1"
    editor.setText("dust")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: texts(bench, "name")[-1] == "dust")
    bench.session.undo()
    bench.session.undo()
    assert texts(bench, "name") == ["cell", "debris", "soil"]
    assert brush(bench) == 7  # what was drawn in is gone


def test_another_colour_shows_at_once(bench):
    bench.result.view.color_by_category(True)
    before = bench.layer.colormap.map(np.array([1], np.uint16))[0]
    bench.view.selectRow(0)
    bench.list.color.click()
    (dialog,) = bench.list.findChildren(QColorDialog)
    assert dialog.testOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
    assert dialog.currentColor().name().upper() == bench.model.color(7)
    dialog.setCurrentColor(QColor("#123456"))
    dialog.accept()
    assert bench.document.categories[7].color == "#123456"
    assert bench.model.color(7) == "#123456"
    shown = bench.layer.colormap.map(np.array([1, 2, 3], np.uint16))
    np.testing.assert_allclose(shown[0], [0x12 / 255, 0x34 / 255, 0x56 / 255, 1], atol=0.003)
    assert not np.allclose(shown[0], shown[2])
    icon = bench.page.table.model.index(0, 1).data(Qt.ItemDataRole.DecorationRole)
    assert icon.pixmap(16, 16).toImage().pixelColor(8, 8).name() == "#123456"
    bench.session.undo()
    np.testing.assert_allclose(bench.layer.colormap.map(np.array([1], np.uint16))[0], before)


def test_colours_stay_when_another_category_goes(bench):
    before = {i: hex_of(rgb) for i, rgb in bench.result.view.category_colors.items()}
    bench.session.do(operations.remove_category(bench.document, 7, into=3))
    after = {i: hex_of(rgb) for i, rgb in bench.result.view.category_colors.items()}
    assert after == {i: before[i] for i in (3, 9)}
    bench.session.undo()
    assert {i: hex_of(rgb) for i, rgb in bench.result.view.category_colors.items()} == before


def test_things_become_stuff(bench, qtbot):
    double_click(qtbot, bench, 0, "kind")
    assert not bench.document.categories[7].is_thing
    assert not bench.segment(1).is_thing
    assert texts(bench, "kind")[0] == "stuff"
    bench.session.undo()
    assert bench.segment(1).is_thing


def test_a_category_without_objects_is_removed(bench, qtbot):
    bench.view.selectRow(2)
    qtbot.keyClick(bench.view, Qt.Key.Key_Delete)
    assert texts(bench, "name") == ["cell", "debris"]
    assert bench.list.panel.isHidden()
    bench.session.undo()
    assert texts(bench, "name") == ["cell", "debris", "soil"]


def test_objects_of_a_removed_category_become_another(bench):
    bench.view.selectRow(0)
    bench.list.remove.click()
    assert "3 objects are cell" in bench.list.question.text()
    assert [bench.list.into.itemText(k) for k in range(2)] == ["debris", "soil"]
    bench.list.cancel.click()
    assert bench.list.panel.isHidden()
    assert len(bench.document.categories) == 3
    bench.list.remove.click()
    bench.list.into.setCurrentIndex(1)
    bench.list.confirm.click()
    assert texts(bench, "name") == ["debris", "soil"]
    assert bench.segment(1).category_id == 9
    assert brush(bench) == 3
    bench.session.undo()
    assert texts(bench, "count") == ["3", "1", "0"]
    assert bench.segment(1).status is Status.PROPOSED


def test_objects_that_come_while_it_is_asked_are_not_lost(bench):
    bench.view.selectRow(1)
    bench.list.remove.click()
    bench.session.do(operations.recategorise(bench.document, [(0, 1)], 3))
    bench.list.confirm.click()
    assert bench.segment(1).category_id == bench.segment(3).category_id == 7


def test_the_question_ends_when_the_category_goes_otherwise(bench):
    bench.view.selectRow(1)
    bench.list.remove.click()
    bench.session.do(operations.remove_category(bench.document, 3, into=7))
    assert bench.list.panel.isHidden()


def test_the_last_category_stays(bench):
    bench.session.do(operations.remove_category(bench.document, 3, into=7))
    bench.session.do(operations.remove_category(bench.document, 9))
    assert not bench.list.remove.isEnabled()
    bench.list.ask_removal()
    assert "is the only category" in bench.refused[0]


def test_a_file_of_categories(bench, tmp_path):
    path = tmp_path / "more.json"
    content = [{"id": 7, "name": "person"}, {"id": 12, "name": "dust", "isthing": 0}]
    path.write_text(json.dumps(content))
    bench.list.import_file(path)
    assert texts(bench, "name") == ["cell", "debris", "soil", "dust"]
    assert bench.document.categories[12] == Category(12, "dust", is_thing=False)
    assert bench.said == ["more.json: 1 category added. Left out: person: its id 7 is cell here."]
    bench.session.undo()
    assert texts(bench, "name") == ["cell", "debris", "soil"]
    path.write_text("{")
    bench.list.import_file(path)
    assert "no valid JSON" in bench.refused[0]


def test_133_categories_are_searched(bench, tmp_path, qtbot):
    path = tmp_path / "many.txt"
    path.write_text("\n".join(f"kind {k}" for k in range(130)))
    bench.list.import_file(path)
    assert not bench.list.search.isHidden()
    assert texts(bench, "key")[8:10] == ["Alt+9", ""]
    qtbot.keyClicks(bench.list.search, "kind 12")
    found = [f"kind {k}" for k in range(130) if "12" in str(k)]
    assert texts(bench, "name") == found
    # What is drawn in is not shown now, and stays.
    assert not bench.view.selectionModel().hasSelection()
    assert bench.result.view.category_id == 7
    click(qtbot, bench, 1)
    assert bench.document.categories[bench.result.view.category_id].name == found[1]
    bench.list.search.clear()
    assert len(texts(bench, "name")) == 133
    settle()
    index = bench.view.currentIndex()
    assert bench.model.categories[index.row()].name == found[1]
    assert bench.view.viewport().rect().contains(bench.view.visualRect(index).center())


def test_another_result_has_its_own(bench):
    bench.make(categories=(Category(1, "nucleus"), Category(7, "ghost"), Category(3, "grain")))
    assert texts(bench, "name") == ["nucleus", "ghost", "grain"]
    assert brush(bench) == 1
    first = bench.viewer.layers[1]
    bench.viewer.layers.selection.active = first
    assert texts(bench, "name") == ["cell", "debris", "soil"]


def test_the_objects_of_a_category_are_selected_from_the_menu(stack):
    stack.list._select_objects(7)
    assert stack.session.selection == {(0, 1), (0, 2), (0, 4)}
