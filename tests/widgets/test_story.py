"""A person at the Correct page, from the model's result to the saved document and back."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scipy import ndimage
from tests.annotation.random_edits import check, state
from tests.canvas import Hand
from tests.widgets.person import WAIT_MS, Person

from napari_eomt.structures.segments import Status
from napari_eomt.viewer.place import Place

IMAGE = "02903040e19d.png"
"""20 nuclei in 360 × 360 pixels, large enough for a hand."""


@pytest.fixture
def nuclei(data_dir):
    path = data_dir / "dsb2018" / "val" / "images" / IMAGE
    if not path.is_file():
        pytest.skip(f"{path} is not here.")
    return path


class Corrector(Person):
    """Looks after each step whether all of the window agrees."""

    def segment(self):
        self.run(self.dock.page.segment.click)
        self.dock.tabs.setCurrentIndex(1)
        self.hand = Hand(self.qtbot, self.viewer, self.result.view.layer)

    def middle(self, i):
        return Place(self.viewer, self.result).middle_of((0, i))

    def shown(self):
        return {i: s for i, s in self.document.segments(0).items() if s.status != Status.REJECTED}

    def agree(self):
        """The layer, its features, the table and the document say the same."""
        layer, document = self.result.view.layer, self.document
        check(document)
        np.testing.assert_array_equal(layer.data, document.id_map(0))
        assert self.result.view.is_intact
        features = layer.features.set_index("index")
        assert set(features.index) == set(self.shown())
        for i, segment in self.shown().items():
            row = features.loc[i]
            assert row["category"] == document.categories[segment.category_id].name
            assert (row["status"], row["area"]) == (segment.status.value, segment.area)
        model = self.dock.annotate.table.model
        listed = {model.key(place)[1] for place in range(model.rowCount())}
        assert listed == set(self.shown())
        return state(document)


@pytest.fixture
def person(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    person = Corrector(qtbot, viewer)
    yield person
    viewer.window.remove_dock_widget(person.dock)


def neighbours(id_map, used):
    """Return two objects that nearly touch, and none of those used already."""
    ids = [i for i in np.unique(id_map) if i and i not in used]
    for i in ids:
        near = np.unique(id_map[ndimage.binary_dilation(id_map == i, iterations=9)])
        for j in near:
            if j in ids and j != i:
                return int(i), int(j)
    raise AssertionError("no two objects lie close to each other")


def test_five_corrections_there_and_back_and_through_a_file(
    person, nuclei, qtbot, tmp_path, monkeypatch
):
    viewer, dock = person.viewer, person.dock
    viewer.open(nuclei)
    person.segment()
    states = [person.agree()]
    result, layer, hand = person.result, person.result.view.layer, person.hand
    session = result.session
    n_before = session.n_steps
    by_size = sorted(person.shown().values(), key=lambda s: -s.area)

    # Another candidate under the cursor than the one that is shown, where there is another.
    dock.candidates.toggle.click()
    found = []
    for segment in sorted(by_size, key=lambda s: s.score):
        before = dock.finder.candidates
        hand.move(*person.middle(segment.id))
        qtbot.waitUntil(lambda before=before: dock.finder.candidates is not before, timeout=WAIT_MS)
        found.append(len(dock.finder.candidates))
        if found[-1] > 1:
            break
    assert found[-1] > 1, f"of {len(found)} objects none has a second candidate"
    taken, text = segment.id, dock.candidates.text
    assert "candidate 1 of" in text.text()
    hand.press(Qt.Key.Key_C)
    assert "candidate 2 of" in text.text()
    chosen = dock.finder.candidate
    hand.press(Qt.Key.Key_T)
    qtbot.waitUntil(lambda: session.n_steps == n_before + 1, timeout=WAIT_MS)
    hand.press(Qt.Key.Key_Escape)
    states.append(person.agree())
    ((_, now),) = session.selected
    assert now.status in (Status.ACCEPTED, Status.EDITED)
    assert now.area == pytest.approx(chosen.area, rel=0.3)

    # One that is two.
    split = next(s for s in by_size if s.status is Status.PROPOSED and s.id not in (taken, now.id))
    y0, x0, y1, x1 = split.bbox
    hand.press(Qt.Key.Key_S)
    y, x = person.middle(split.id)
    if x1 - x0 > y1 - y0:
        hand.drag((y0 - 4, x), (y1 + 3, x))
    else:
        hand.drag((y, x0 - 4), (y, x1 + 3))
    assert session.undo_name.startswith("Split")
    states.append(person.agree())
    pieces = {i for _, i in session.selection}
    assert len(pieces) == 2

    # Two that are one.
    used = {taken, now.id, *pieces}
    one, other = neighbours(person.document.id_map(0), used)
    area = sum(person.shown()[i].area for i in (one, other))
    hand.click(*person.middle(one))
    hand.click(*person.middle(other), modifier=Qt.KeyboardModifier.ShiftModifier)
    assert {i for _, i in session.selection} == {one, other}
    hand.press(Qt.Key.Key_G)
    states.append(person.agree())
    (left,) = {one, other} & set(person.shown())
    assert person.shown()[left].area == area

    # One that was missed, with the brush, in a new category that a button adds.
    dock.annotate.categories.add_category()
    debris = list(person.document.categories)[-1]
    states.append(person.agree())
    free = ndimage.distance_transform_edt(np.pad(person.document.id_map(0) == 0, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(free.argmax(), free.shape)
    drawn = person.document.next_id
    viewer.layers.selection.active = layer
    hand.press(Qt.Key.Key_M)
    assert layer.selected_label == drawn
    hand.press(Qt.Key.Key_2)
    assert layer.mode == "paint"
    layer.brush_size = 6
    hand.drag((y, x - 5), (y, x + 5))
    layer.mode = "pan_zoom"
    states.append(person.agree())
    assert person.shown()[drawn].status is Status.DRAWN
    assert person.shown()[drawn].area >= 60

    # One of another category.
    last = min(i for i in person.shown() if i not in {*used, left, drawn})
    before = person.shown()[last].category_id
    hand.click(*person.middle(last))
    other_number = 1 if before == debris else 2
    hand.press(getattr(Qt.Key, f"Key_{other_number}"), Qt.KeyboardModifier.AltModifier)
    states.append(person.agree())
    assert person.shown()[last].category_id != before

    # All of it back, and there again.
    for expected in states[-2::-1]:
        hand.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        assert person.agree() == expected
    assert session.n_steps == n_before
    for expected in states[1:]:
        hand.press(Qt.Key.Key_U, Qt.KeyboardModifier.ShiftModifier)
        assert person.agree() == expected

    # Into a file, and back over the image, which is opened anew.
    person.save_and_reopen(tmp_path / "nuclei.eomt", monkeypatch)
    assert [type(layer).__name__ for layer in viewer.layers] == ["Image", "Labels"]
    assert person.agree() == states[-1]
