"""The layer of paths shows the document's tracks, and follows edits frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Tracks
from tests.viewer.test_track_actions import ALL, N_FRAMES, made

from napari_eomt.annotation import operations
from napari_eomt.annotation.track_doubts import identity_doubts
from napari_eomt.annotation.track_edits import (
    cut_track,
    delete_from,
    set_parent,
    swap_identities,
)
from napari_eomt.annotation.track_live import LiveTracks
from napari_eomt.annotation.tracks import TrackIndex, track_table
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.track_doubts import IdentityDoubts, LinkDoubts
from napari_eomt.viewer.tracks_layer import TracksLayer


class Bench:
    def __init__(self, presence):
        self.place = made(presence)
        self.viewer, self.result = self.place.viewer, self.place.result
        self.document, self.session = self.result.document, self.result.session
        self.live = LiveTracks(self.document)
        self.paths = TracksLayer(self.viewer, self.result, self.live)
        self.doubts = IdentityDoubts(self.live)
        self.session.changed.connect(self.on_edit)
        self.settle()

    def on_edit(self, edit):
        self.live.note(edit)
        touched = self.live.refresh()
        self.paths.note(edit, touched)
        self.doubts.note(edit, touched)

    def settle(self):
        while self.paths.take():
            pass
        self.paths.show()
        while self.doubts.n_left:
            self.doubts.judge()

    def check(self):
        """Compare with the table that is made of the whole document."""
        self.settle()
        points = track_table(self.document).points()
        layer = self.paths.layer
        np.testing.assert_allclose(layer.data, points.data)
        assert {int(n): list(p) for n, p in layer.graph.items()} == points.graph
        np.testing.assert_array_equal(
            layer.properties["category_id"], points.properties["category_id"]
        )
        np.testing.assert_array_equal(layer.properties["score"], points.properties["score"])
        judged = {
            key: doubt.score
            for key, doubt in identity_doubts(self.document, TrackIndex.of(self.document)).items()
            if doubt.score > 0
        }
        assert self.doubts.scores() == pytest.approx(judged)


def test_the_layer_follows_edits_and_undo():
    bench = Bench({1: ALL, 2: ALL, 3: (0, 1, 2, 6, 7)})
    bench.check()
    document, session = bench.document, bench.session
    for edit in (
        lambda: swap_identities(document, 4, 1, 2),
        lambda: cut_track(document, 6, 1),
        lambda: set_parent(document, 4, 2),
        lambda: operations.delete(document, [(2, 3)]),
        lambda: operations.reject(document, [(0, 2)]),
        lambda: operations.recategorise(document, [(f, 3) for f in (6, 7)], 3),
        lambda: operations.set_status(document, [(0, 1)], Status.ACCEPTED),
    ):
        assert session.do(edit())
        bench.check()
    while session.undo():
        bench.check()
    while session.redo():
        pass
    bench.check()


def test_an_edit_has_only_its_frames_looked_at_and_only_its_steps_judged():
    bench = Bench({1: ALL, 2: ALL, 3: ALL})
    looked, judged = bench.paths.n_looked, bench.doubts.n_judged
    assert (looked, judged) == (N_FRAMES, 3 * N_FRAMES)
    bench.session.do(operations.set_status(bench.document, [(0, 1)], Status.ACCEPTED))
    bench.settle()
    assert (bench.paths.n_looked, bench.doubts.n_judged) == (looked, judged)
    bench.session.do(swap_identities(bench.document, N_FRAMES - 2, 1, 2))
    bench.settle()
    assert bench.paths.n_looked == looked + 2
    assert bench.doubts.n_judged == judged + 3 * 2
    assert bench.live.n_rebuilt == 1


def test_paths_have_the_colours_of_their_objects():
    bench = Bench({1: ALL, 2: ALL})
    labels, layer = bench.result.view.layer, bench.paths.layer

    def colors():
        return {int(n): layer.track_colors[layer.data[:, 0] == n][0][:3].tolist() for n in (1, 2)}

    def expected(i):
        return labels.get_color(i)[:3].tolist()

    assert colors() == {i: pytest.approx(expected(i), abs=1e-6) for i in (1, 2)}
    bench.result.view.color_by_category(True)
    assert colors()[1] == colors()[2] == pytest.approx(expected(1), abs=1e-6)
    bench.session.do(operations.recategorise(bench.document, [(f, 2) for f in ALL], 3))
    bench.settle()
    assert colors() == {i: pytest.approx(expected(i), abs=1e-6) for i in (1, 2)}
    assert colors()[1] != pytest.approx(colors()[2])


def test_the_layer_goes_with_the_tracks_and_the_image_stays_selected():
    bench = Bench({1: ALL})
    assert [type(layer).__name__ for layer in bench.viewer.layers] == ["Image", "Labels", "Tracks"]
    assert bench.viewer.layers.selection.active is bench.result.image
    bench.session.do(delete_from(bench.document, 0, 1))
    bench.settle()
    assert not [layer for layer in bench.viewer.layers if isinstance(layer, Tracks)]
    bench.session.undo()
    bench.settle()
    layer = bench.paths.layer
    assert layer in bench.viewer.layers
    bench.viewer.layers.remove(layer)
    assert bench.paths.is_removed
    bench.paths.close()
    bench.result.view.color_by_category(True)


def test_the_layer_lies_over_the_objects_whatever_their_place():
    bench = Bench({1: ALL})
    assert bench.paths.layer.ndim == 3
    labels = bench.result.view.layer
    bench.paths.close()
    labels.scale, labels.translate = (2, 0.5, 0.25), (1, -3, 4)
    paths = TracksLayer(bench.viewer, bench.result, bench.live)
    paths.take()
    paths.show()
    for row in paths.layer.data:
        here = paths.layer.data_to_world(row[1:])
        assert here == pytest.approx(labels.data_to_world(row[1:]))


def test_what_a_run_says_of_its_links_goes_before_what_the_masks_say():
    bench = Bench({1: ALL, 2: ALL})
    said = LinkDoubts()
    heard = []
    said.changed.connect(heard.append)
    doubts = IdentityDoubts(bench.live, said.of("key"))
    while doubts.n_left:
        doubts.judge()
    assert doubts.score((3, 1)) < 0.1
    said.know("key", 3, {(3, 1): 0.8, (3, 2): 1.7})
    assert (doubts.score((3, 1)), doubts.score((3, 2))) == (0.8, 1.0)
    said.know("key", 3, {(3, 2): 0.4})
    assert doubts.score((3, 1)) < 0.1
    said.forget("key", [(3, 2)])
    assert doubts.score((3, 2)) < 0.1
    said.keep(["other"])
    assert heard == ["key", "key"]
