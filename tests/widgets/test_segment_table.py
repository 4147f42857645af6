"""The table says what the document says, in any order, after any edit; its selection is shared."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QItemSelectionModel, QPoint, Qt
from qtpy.QtTest import QAbstractItemModelTester
from qtpy.QtWidgets import QComboBox, QLineEdit
from tests.annotation.random_edits import SHAPE, random_edit
from tests.annotation.test_review import doubt
from tests.result_bench import ResultBench, settle

from napari_eomt.annotation import operations
from napari_eomt.structures.segments import Segment, Status
from napari_eomt.viewer.doubts import Doubts
from napari_eomt.widgets.annotate import AnnotatePage
from napari_eomt.widgets.segment_model import NAMES
from napari_eomt.widgets.segment_rows import RowFilter, SegmentRows

UP, DOWN = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder
SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier


@pytest.fixture(params=[0, 3], ids=["image", "stack"])
def any_bench(request, qtbot):
    yield from made(qtbot, request.param)


@pytest.fixture
def bench(qtbot):
    yield from made(qtbot, 0)


@pytest.fixture
def stack(qtbot):
    yield from made(qtbot, 3)


@pytest.fixture
def random_stack(qtbot):
    yield from made(qtbot, SHAPE[0], size=SHAPE[1:])


def made(qtbot, n_frames, **options):
    bench = ResultBench(ViewerModel(), n_frames, **options)
    bench.doubts = Doubts()
    bench.page = AnnotatePage(bench.viewer, bench.current, bench.doubts)
    bench.table = bench.page.table
    bench.model, bench.view = bench.table.model, bench.table.view
    bench.tester = QAbstractItemModelTester(
        bench.model, QAbstractItemModelTester.FailureReportingMode.Fatal
    )
    qtbot.addWidget(bench.page)
    bench.page.resize(400, 900)
    bench.page.show()
    settle()
    yield bench
    bench.page.close_events()
    bench.close()


def ids(bench):
    return [bench.model.key(place)[1] for place in range(bench.model.rowCount())]


def texts(bench, column):
    k = NAMES.index(column)
    return [bench.model.index(row, k).data() for row in range(bench.model.rowCount())]


def selected(bench):
    rows = {index.row() for index in bench.view.selectionModel().selectedRows()}
    return {bench.model.key(row) for row in rows}


def unsure(frame, s, doubts):
    """Return what the column of doubts shows, by plain Python."""
    if s.status is Status.DRAWN:
        return None
    if (frame, s.id) in doubts:
        return doubts[frame, s.id].score
    if s.score is None:
        return 1.0 if s.status is Status.PROPOSED else None
    return 1 - s.score


def definition(document, row_filter, column, is_up, doubts=()):
    """Return the keys that a table shows, by plain Python."""
    rows = []
    for frame, s in document.iter_segments():
        category = document.categories[s.category_id].name
        if row_filter.status is None and s.status is Status.REJECTED:
            continue
        if row_filter.status not in (None, s.status):
            continue
        if row_filter.category_id not in (None, s.category_id):
            continue
        if row_filter.frame not in (None, frame):
            continue
        if row_filter.min_score is not None and not (s.score or -1) >= row_filter.min_score:
            continue
        if row_filter.max_area is not None and s.area > row_filter.max_area:
            continue
        words = row_filter.text.split()
        if not all(w in f"{s.id}|{category}|{s.note}".lower() for w in words):
            continue
        order = list(Status)
        value = {
            "id": s.id,
            "category": category,
            "score": s.score,
            "uncertainty": unsure(frame, s, doubts),
            "status": order.index(s.status),
            "area": s.area,
            "frame": frame,
            "note": s.note or None,
        }[column]
        rows.append((value, frame, s.id))
    given = [row for row in rows if row[0] is not None]
    # Sorted stably: equal values in the order of frames and ids, whichever the direction.
    given.sort(key=lambda row: row[1:])
    given.sort(key=lambda row: row[0], reverse=not is_up)
    return [row[1:] for row in given + sorted(r for r in rows if r[0] is None)]


FILTERS = [
    RowFilter(),
    RowFilter(text="deb"),
    RowFilter(text="1"),
    RowFilter(category_id=7, min_score=0.2),
    RowFilter(status=Status.REJECTED),
    RowFilter(frame=1, max_area=200),
]


@pytest.mark.parametrize("seed", range(3))
def test_after_any_edits_the_table_equals_its_definition(random_stack, seed):
    stack = random_stack
    rng = np.random.default_rng(seed)
    session, document, model = stack.session, stack.document, stack.model
    known = {(f, i): doubt(rng.random()) for f in range(3) for i in range(1, 400, 3)}
    doubts = {}
    for step in range(150):
        if step == 50:
            doubts = known
            stack.doubts.know(stack.result.key, 0, known)
            stack.page._take_doubts()
        if step % 10 == 0:
            column = NAMES[rng.integers(len(NAMES))]
            is_up = bool(rng.integers(2))
            row_filter = FILTERS[rng.integers(len(FILTERS))]
            model.sort(NAMES.index(column), UP if is_up else DOWN)
            model.show_only(row_filter)
        choice = rng.random()
        if choice < 0.2:
            session.undo()
        elif choice < 0.3:
            session.redo()
        else:
            edit = random_edit(rng, document)
            if edit is not None:
                session.do(edit)
        shown = [model.key(place) for place in range(model.rowCount())]
        assert shown == definition(document, row_filter, column, is_up, doubts)
        assert all(model.place(key) == k for k, key in enumerate(shown))


@pytest.mark.parametrize("seed", range(2))
def test_the_selection_is_the_sessions_after_any_edits(random_stack, seed):
    stack = random_stack
    rng = np.random.default_rng(seed)
    session, document = stack.session, stack.document
    for _ in range(60):
        keys = [(f, s.id) for f, s in document.iter_segments()]
        if rng.random() < 0.5 and keys:
            session.select(keys[k] for k in rng.choice(len(keys), min(3, len(keys))))
        edit = random_edit(rng, document)
        if edit is not None:
            session.do(edit)
        shown = {stack.model.key(place) for place in range(stack.model.rowCount())}
        assert selected(stack) == session.selection & shown


def test_what_is_shown(any_bench):
    bench = any_bench
    n = 3 if bench.document.n_frames == 3 else 1
    assert bench.model.rowCount() == 4 * n
    # What nobody has given a score first, as in the review, and then the least sure.
    assert texts(bench, "score") == [""] * n + ["0.30"] * n + ["0.60"] * n + ["0.90"] * n
    assert texts(bench, "category")[2 * n : 2 * n + 1] == ["debris"]
    assert texts(bench, "area")[0] == "100"
    assert set(texts(bench, "status")) == {"proposed"}
    assert bench.view.isColumnHidden(NAMES.index("frame")) == (n == 1)
    assert f"{4 * n} objects" in bench.table.count.text()


def test_what_the_model_is_unsure_of_is_a_column(any_bench, qtbot):
    bench = any_bench
    session, document, model = bench.session, bench.document, bench.model
    model.sort(NAMES.index("id"))
    before = texts(bench, "uncertainty")[:4]
    assert before == ["0.10", "0.70", "0.40", "1.00"], "by the score, and nobody vouches for 4"
    told = {(0, 1): doubt(0.97), (0, 4): doubt(0.25)}
    bench.doubts.know("another result", 0, {(0, 2): doubt(0.0)})
    bench.doubts.know(bench.result.key, 0, told)
    qtbot.waitUntil(lambda: texts(bench, "uncertainty")[0] == "0.97")
    assert texts(bench, "uncertainty")[:4] == ["0.97", "0.70", "0.40", "0.25"]
    assert "doubt 0.97" in model.index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    header = model.headerData(
        NAMES.index("uncertainty"), Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole
    )
    assert "(uncertainty)" in header
    model.show_only(RowFilter(frame=0))
    model.sort(NAMES.index("uncertainty"), DOWN)
    assert ids(bench) == [1, 2, 3, 4]
    # A person's own has none, and what has been decided keeps its own.
    session.do(operations.set_status(document, [(0, 2)], Status.ACCEPTED))
    session.do(operations.add(document, 0, np.ones((2, 2), bool), (57, 2), Segment(0, 7)))
    drawn = operations.set_status(document, [(0, max(document.segments(0)))], Status.DRAWN)
    session.do(drawn)
    assert texts(bench, "uncertainty") == ["0.97", "0.70", "0.40", "0.25", ""]
    assert bench.page.segments.n_uncertain(0.5) == (1 if document.n_frames == 1 else 1 + 2 * 2)


def test_a_status_has_a_sign_and_a_word(bench):
    document, session = bench.document, bench.session
    session.do(operations.set_status(document, [(0, 1)], Status.ACCEPTED))
    session.do(operations.set_locked(document, [(0, 2)], True))
    session.do(operations.recategorise(document, [(0, 3)], 7))
    session.do(operations.reject(document, [(0, 4)]))
    bench.model.sort(NAMES.index("id"))
    assert texts(bench, "status") == ["accepted", "locked", "edited"]
    bench.table.filter.status.setCurrentIndex(bench.table.filter.status.findData(Status.REJECTED))
    assert texts(bench, "status") == ["rejected"]
    bench.table.filter.reset()
    bench.model.sort(NAMES.index("id"))
    column = NAMES.index("status")
    signs = []
    for row in range(3):
        icon = bench.model.index(row, column).data(Qt.ItemDataRole.DecorationRole)
        image = icon.pixmap(16, 16).toImage()
        signs.append(bytes(image.constBits().asarray(image.sizeInBytes())))
    assert len(set(signs)) == 3
    tip = bench.model.index(1, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert "Locked by you" in tip


def test_one_edit_changes_one_row(bench, qtbot):
    resets, changes = [], []
    bench.model.modelReset.connect(lambda: resets.append(1))
    bench.model.dataChanged.connect(lambda a, b: changes.append((a.row(), b.row())))
    bench.model.sort(NAMES.index("id"))
    resets.clear()
    bench.session.do(operations.set_note(bench.document, [(0, 2)], "odd"))
    assert changes == [(1, 1)]
    bench.session.do(operations.delete(bench.document, [(0, 2)]))
    assert ids(bench) == [1, 3, 4]
    bench.session.undo()
    assert ids(bench) == [1, 2, 3, 4]
    assert resets == []


def test_rows_are_the_same_ones_after_an_undo(bench):
    rows = SegmentRows(bench.document)
    before = rows.row((0, 2))
    bench.session.changed.connect(rows.update)
    bench.session.do(operations.delete(bench.document, [(0, 2)]))
    assert rows.row((0, 2)) is None
    assert rows.n_objects == 3
    bench.session.undo()
    assert rows.row((0, 2)) == before
    mask = np.ones((3, 3), bool)
    for k in range(70):  # more than there was room for
        segment = Segment(0, 7, note=f"note {k}")
        bench.session.do(operations.add(bench.document, 0, mask, (56, k), segment))
    assert rows.n_objects == len(bench.document.segments(0))
    assert rows.counts() == {
        i: sum(s.category_id == i for s in bench.document.segments(0).values()) for i in (3, 7)
    }


def test_clicks_in_the_table_select_in_the_session(bench, qtbot):
    shown = []
    bench.table.shown.connect(lambda *args: shown.append(args))
    bench.model.sort(NAMES.index("id"))

    def click(row, modifier=Qt.KeyboardModifier.NoModifier):
        where = bench.view.visualRect(bench.model.index(row, 0)).center()
        button = Qt.MouseButton.LeftButton
        qtbot.mouseClick(bench.view.viewport(), button, modifier, where)

    click(1)
    assert bench.session.selection == {(0, 2)}
    assert shown[-1] == (0, 2, False)
    click(3, SHIFT)
    assert bench.session.selection == {(0, 2), (0, 3), (0, 4)}
    click(2, CTRL)
    assert bench.session.selection == {(0, 2), (0, 4)}
    qtbot.keyClick(bench.view, Qt.Key.Key_A, CTRL)
    assert len(bench.session.selection) == 4
    assert "4 selected" in bench.table.count.text()
    click(0)
    shown.clear()
    qtbot.keyClick(bench.view, Qt.Key.Key_Down)
    assert bench.session.selection == {(0, 2)}
    assert shown == [(0, 2, False)]
    qtbot.keyClick(bench.view, Qt.Key.Key_Return)
    assert shown[-1] == (0, 2, True)


def test_the_session_selects_and_scrolls_in_the_table(bench, qtbot):
    mask = np.ones((1, 1), bool)
    for k in range(80):
        bench.session.do(operations.add(bench.document, 0, mask, (58, k), Segment(0, 7, 0.95)))
    shown = []
    bench.table.shown.connect(lambda *args: shown.append(args))
    bench.model.sort(NAMES.index("id"))
    last = max(bench.document.segments(0))
    bench.session.select([(0, last)])
    settle()
    assert selected(bench) == {(0, last)}
    index = bench.model.index(bench.model.place((0, last)), 0)
    assert bench.view.viewport().rect().contains(bench.view.visualRect(index).center())
    # It follows: nobody has asked to see it.
    assert shown == []
    qtbot.keyClick(bench.view, Qt.Key.Key_Up)
    assert bench.session.selection == {(0, last - 1)}


def test_the_selection_survives_sorting_and_filtering(bench):
    bench.session.select([(0, 2), (0, 3)])
    bench.model.sort(NAMES.index("area"), DOWN)
    bench.table.show_selection()
    assert selected(bench) == {(0, 2), (0, 3)}
    header = bench.view.horizontalHeader()
    header.setSortIndicator(NAMES.index("id"), DOWN)
    assert selected(bench) == {(0, 2), (0, 3)}
    bench.table.filter.text.setText("debris")
    bench.table.filter.changed.emit()
    assert selected(bench) == {(0, 3)}
    assert bench.session.selection == {(0, 2), (0, 3)}
    bench.table.filter.reset()
    assert selected(bench) == {(0, 2), (0, 3)}


def test_delete_takes_what_is_listed(bench, qtbot):
    bench.session.select([(0, 2), (0, 3)])
    bench.table.filter.text.setText("debris")
    bench.table.filter.changed.emit()
    qtbot.keyClick(bench.view, Qt.Key.Key_Delete)
    assert sorted(bench.document.segments(0)) == [1, 2, 4]
    assert bench.session.undo_name == "Delete 1 object"
    bench.session.undo()
    assert sorted(bench.document.segments(0)) == [1, 2, 3, 4]


def test_categories_and_notes_are_edited_in_place(bench, qtbot):
    bench.model.sort(NAMES.index("id"))
    index = bench.model.index(0, NAMES.index("category"))
    bench.view.setCurrentIndex(index)
    bench.view.edit(index)
    (combo,) = bench.view.findChildren(QComboBox)
    assert [combo.itemText(k) for k in range(combo.count())] == ["cell", "debris", "soil"]
    assert combo.currentText() == "cell"
    combo.setCurrentIndex(2)
    combo.hidePopup()
    combo.activated.emit(2)
    assert bench.segment(1).category_id == 9
    assert bench.segment(1).status is Status.EDITED
    bench.session.undo()
    assert bench.segment(1).category_id == 7
    bench.view.setColumnHidden(NAMES.index("note"), False)
    index = bench.model.index(1, NAMES.index("note"))
    bench.view.setCurrentIndex(index)
    bench.view.edit(index)
    (editor,) = bench.view.findChildren(QLineEdit)
    qtbot.keyClicks(editor, "touches the border")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bench.segment(2).note == "touches the border")
    bench.table.filter.text.setText("border")
    qtbot.waitUntil(lambda: ids(bench) == [2])


def test_filters_are_combined_and_cleared(stack):
    bar = stack.table.filter
    bar.here.setChecked(True)
    assert ids(stack) == [4, 2, 3, 1]
    stack.viewer.dims.set_point(0, 2)
    assert ids(stack) == [12, 10, 11, 9]
    bar.min_score.setValue(0.5)
    bar.max_area.setValue(450)
    assert ids(stack) == [9]
    bar.max_area.setValue(0)
    bar.category.setCurrentIndex(bar.category.findData(3))
    assert ids(stack) == [11]
    assert "1 shown of 12 objects" in stack.table.count.text()
    bar.clear.click()
    assert len(ids(stack)) == 12
    assert not bar.here.isChecked()


def test_a_category_that_is_filtered_for_and_goes(bench):
    bar = bench.table.filter
    bar.category.setCurrentIndex(bar.category.findData(3))
    assert ids(bench) == [3]
    bench.session.do(operations.remove_category(bench.document, 3, into=7))
    assert len(ids(bench)) == 4
    bench.session.undo()
    assert bar.category.findData(3) >= 0


def test_another_result_is_another_table(bench):
    bench.session.select([(0, 2)])
    bench.make()
    assert bench.result.view.layer is bench.viewer.layers[-1]
    assert len(ids(bench)) == 4
    assert selected(bench) == set()
    bench.session.do(operations.delete(bench.document, [(0, 1)]))
    assert len(ids(bench)) == 3
    bench.viewer.layers.selection.active = bench.viewer.layers[1]
    assert len(ids(bench)) == 4
    assert selected(bench) == {(0, 2)}
    bench.viewer.layers.remove(bench.viewer.layers[1])
    assert len(ids(bench)) == 3
    bench.layer.data = np.zeros_like(bench.layer.data)
    assert ids(bench) == []
    assert bench.page.content.isHidden()
    assert not bench.page.start.isHidden()


@pytest.mark.parametrize("width", [300, 420, 700])
def test_columns_fit_the_width(any_bench, width):
    any_bench.page.resize(width, 900)
    settle()
    view = any_bench.view
    shown = [name for k, name in enumerate(NAMES) if not view.isColumnHidden(k)]
    # At 300 px the doubt, by which the worst come first, rather than the status in words.
    assert {"id", "category", "uncertainty", "status"} <= set(shown)
    assert sum(view.columnWidth(NAMES.index(name)) for name in shown) <= view.viewport().width()
    assert ("note" in shown) == (width == 700)
    assert view.columnWidth(NAMES.index("category")) >= 60


def test_tab_leaves_the_table(bench, qtbot):
    bench.view.setFocus()
    qtbot.keyClick(bench.view, Qt.Key.Key_Tab)
    assert bench.page.focusWidget() is not bench.view


def test_many_rows_are_made_when_they_are_seen(bench, monkeypatch):
    asked = []
    data = type(bench.model).data
    monkeypatch.setattr(
        type(bench.model), "data", lambda *args: (asked.append(args[1].row()), data(*args))[1]
    )
    rng = np.random.default_rng(0)
    id_map = np.arange(1, 60 * 80 + 1, dtype=np.uint16).reshape(60, 80)
    segments = tuple(
        Segment(i, 7, float(rng.random()), area=1, bbox=(y, x, y + 1, x + 1))
        for i, (y, x) in enumerate(np.ndindex(60, 80), start=1)
    )
    bench.result.propose(0, type(bench.document.segmentation(0))(id_map, segments), "Segment")
    asked.clear()
    bench.view.viewport().repaint()
    settle()
    assert bench.model.rowCount() == 4800
    assert len(set(asked)) < 100


def test_a_click_on_the_empty_part_selects_nothing(bench, qtbot):
    bench.session.select([(0, 1)])
    bottom = bench.view.viewport().rect().bottomLeft() + QPoint(5, -3)
    qtbot.mouseClick(bench.view.viewport(), Qt.MouseButton.LeftButton, pos=bottom)
    assert bench.session.selection == frozenset()
    flags = QItemSelectionModel.SelectionFlag
    bench.view.selectionModel().select(bench.model.index(0, 0), flags.Select | flags.Rows)
    assert len(bench.session.selection) == 1
