from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.inference.square_frames import frame

from napari_eomt.errors import DataError
from napari_eomt.inference.track_laptrack import link_with_laptrack
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.tracks import Linker


def ids(frames):
    return [[s.id for s in one.segments] for one in frames]


def test_without_laptrack_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "laptrack", None)
    with pytest.raises(DataError, match="pip install laptrack"):
        link_with_laptrack([frame()])


class TestLaptrack:
    @pytest.fixture(autouse=True)
    def _needs_laptrack(self):
        pytest.importorskip("laptrack")

    def test_simple_tracks_are_those_of_the_linker(self):
        frames = [frame((5, 5 + 2 * t, 8), (25, 40 - 2 * t, 8)) for t in range(6)]
        frames[3] = frame((25, 34, 8), (5, 11, 8))
        linker = Linker()
        for ours, theirs in zip(
            map(linker.link, frames), link_with_laptrack(frames).frames, strict=True
        ):
            np.testing.assert_array_equal(theirs.id_map, ours.id_map)
            assert ids([theirs]) == ids([ours]) == [[1, 2]]

    @pytest.mark.parametrize(("gap", "expected"), [(2, 1), (1, 2), (0, 2)])
    def test_gaps_are_closed_up_to_the_longest(self, gap, expected):
        frames = [frame((5, 5, 8)), frame((5, 5, 8)), frame(), frame(), frame((5, 5, 8))]
        result = link_with_laptrack(frames, TrackParams(max_gap=gap))
        assert ids(result.frames) == [[1], [1], [], [], [expected]]

    def test_a_division_has_a_parent(self):
        parent, children = frame((10, 10, 16)), frame((11, 8, 11), (14, 20, 11))
        frames = [parent, parent, children, children]
        result = link_with_laptrack(frames, TrackParams(splits=True, split_overlap=0.3))
        assert ids(result.frames) == [[1], [1], [2, 3], [2, 3]]
        assert result.parents == {2: 1, 3: 1}
        assert link_with_laptrack(frames).parents == {}

    def test_the_threshold_is_met_by_what_equals_it(self):
        frames = [frame((5, 5, 10)), frame((5, 10, 10))]  # IoU 50 / 150
        for threshold, expected in ((1 / 3, 1), (0.34, 2)):
            result = link_with_laptrack(frames, TrackParams(iou_threshold=threshold))
            assert ids(result.frames)[1] == [expected]

    def test_far_objects_are_followed_when_asked(self):
        frames = [frame((5, 12 * t, 8)) for t in range(4)]
        assert ids(link_with_laptrack(frames).frames) == [[1], [2], [3], [4]]
        result = link_with_laptrack(frames, TrackParams(max_distance=13.0))
        assert ids(result.frames) == [[1]] * 4

    def test_category_and_score_are_of_the_whole_track(self):
        fields = [(3, 0.4), (5, 0.9), (5, 0.5)]
        frames = [frame((5, 5, 8, {"category_id": c, "score": s})) for c, s in fields]
        segments = [one.segments[0] for one in link_with_laptrack(frames).frames]
        assert [s.category_id for s in segments] == [5, 5, 5]
        assert [s.score for s in segments] == pytest.approx([0.6] * 3)
        same = link_with_laptrack(frames, TrackParams(category_rule="same"))
        assert ids(same.frames) == [[1], [2], [2]]

    def test_stuff_is_a_track_of_its_category(self):
        sky = {"is_thing": False, "category_id": 2}
        frames = [frame((0, 0, 10, sky), (20, 20, 8)), frame((30, 40, 10, sky), (20, 20, 8))]
        assert ids(link_with_laptrack(frames, first_id=11).frames) == [[11, 12], [11, 12]]

    def test_nothing_is_no_track(self):
        assert link_with_laptrack([]).frames == ()
        assert ids(link_with_laptrack([frame(), frame()]).frames) == [[], []]

    def test_frames_have_one_size(self):
        with pytest.raises(DataError, match="Frame 1"):
            link_with_laptrack([frame(), frame(shape=(9, 9))])
