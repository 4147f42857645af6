"""A person follows objects through a stack, corrects an identity, goes on, exports, and reopens."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from tests.annotation.random_edits import check, state
from tests.canvas import Hand, settle
from tests.widgets.person import WAIT_MS, Person

from napari_eomt.annotation import track_edits
from napari_eomt.annotation.tracks import TrackIndex, track_table
from napari_eomt.formats.ctc import read_ctc
from napari_eomt.formats.tracks_csv import load_tracks_csv
from napari_eomt.synthetic import moving_objects
from napari_eomt.viewer.reader import read
from napari_eomt.viewer.result_layer import METADATA_KEY

N_FRAMES = 10
SWITCH = 4
"""The frame from which on two objects have each other's identity."""


class Tracker(Person):
    """Works on a stack of moving discs."""

    def __init__(self, qtbot, viewer, path):
        super().__init__(qtbot, viewer)
        viewer.open(path)
        viewer.dims.set_point(0, 0)

    def run(self, start):
        super().run(start)
        self.settle()

    def settle(self):
        self.qtbot.waitUntil(lambda: not self.dock.tracks.is_busy, timeout=WAIT_MS)
        settle()

    def export(self, form, folder):
        page = self.dock.export
        self.dock.show_page("export")
        page.form.formats.setCurrentIndex(page.form.formats.findData(form))
        page.form.show_folder(folder)
        page.export.click()
        self.qtbot.waitUntil(lambda: not page.run.is_running, timeout=WAIT_MS)

    def of(self, number):
        """Return the mask of a track in each frame."""
        members = TrackIndex.of(self.document).members[number]
        return {f: self.document.id_map(f) == i for f, i in members.items()}


@pytest.fixture
def person(make_napari_viewer, qtbot, tmp_path):
    path = tmp_path / "discs.tif"
    tifffile.imwrite(path, moving_objects(N_FRAMES, (128, 160), 4, seed=2)[0], imagej=True)
    person = Tracker(qtbot, make_napari_viewer(show=True), path)
    yield person
    person.viewer.window.remove_dock_widget(person.dock)


def whereabouts(document):
    """Return where the things of each track are: their frames, middles and areas."""
    tracks = track_table(document).tracks()
    return sorted((t.frames.tolist(), t.centroids.tolist(), t.areas.tolist()) for t in tracks)


def test_a_switch_is_put_right_and_the_rest_tracked_again(person, qtbot, tmp_path, monkeypatch):
    dock, viewer = person.dock, person.viewer
    dock.page.tracking.switch.setChecked(True)
    person.run(dock.page.all_frames.trigger)
    document, session = person.document, person.result.session
    found = TrackIndex.of(document).members
    one, other = sorted(n for n, frames in found.items() if len(frames) == N_FRAMES)[:2]
    before = {n: person.of(n) for n in (one, other)}
    # As a model confuses them.
    session.do(track_edits.swap_identities(document, SWITCH, one, other))
    person.settle()

    # The doubt leads there; who it is is picked by hand, the swap is a key.
    dock.show_page("correct")
    hand = Hand(qtbot, viewer, person.result.view.layer)
    places = []
    while SWITCH not in places and len(places) < 5:
        hand.press(Qt.Key.Key_N, Qt.KeyboardModifier.AltModifier)
        person.settle()
        places.append(viewer.dims.current_step[0])
    assert places[-1] == SWITCH, places
    (key,) = session.selection
    index = TrackIndex.of(document)
    assert index.numbers[key] in (one, other)
    session.select({(SWITCH, index.members[n][SWITCH]) for n in (one, other)})
    hand.press(Qt.Key.Key_X, Qt.KeyboardModifier.ShiftModifier)
    person.settle()
    for n in (one, other):
        for frame, mask in person.of(n).items():
            np.testing.assert_array_equal(mask, before[n][frame])
    corrected = state(document)

    # From there the model goes on; what was corrected stays, and leads it.
    dock.show_page("segment")
    viewer.dims.set_point(0, SWITCH)
    person.run(dock.page.from_here.trigger)
    check(document)
    for n in (one, other):
        now = person.of(n)
        assert sorted(now) == list(range(N_FRAMES))
        for frame, mask in before[n].items():
            assert (mask & now[frame]).sum() > (mask | now[frame]).sum() / 2
    assert "kept" in dock.bar.text.text()
    tracked = state(document)
    hand.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert state(document) == corrected
    hand.press(Qt.Key.Key_U, Qt.KeyboardModifier.ShiftModifier)
    assert state(document) == tracked

    # Written for others, and read again: the same tracks.
    expected = whereabouts(document)
    for form in ("ytvis", "ctc", "csv"):
        person.export(form, tmp_path / form)
    labels = read(str(tmp_path / "ytvis" / "ytvis.json"))[-1]
    assert whereabouts(labels[1]["metadata"][METADATA_KEY]["document"]) == expected
    assert whereabouts(read_ctc(tmp_path / "ctc" / "tracks")) == expected
    (table,) = (tmp_path / "csv" / "track_tables").glob("*.csv")
    assert load_tracks_csv(table) == tuple(track_table(document).iter_rows())

    # Saved, closed, opened anew: nothing differs.
    tracked = state(document)
    dock.show_page("correct")
    person.save_and_reopen(tmp_path / "discs.eomt", monkeypatch)
    assert state(person.document) == tracked
    assert whereabouts(person.document) == expected
