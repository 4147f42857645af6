from __future__ import annotations

import numpy as np
import pytest
from tests.inference.square_frames import frame

from napari_eomt.errors import DataError
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.tracks import Linker, iter_linked
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.synthetic import moving_objects


def track(frames, linker=None, **params):
    linker = linker or Linker(TrackParams(**params))
    return [linker.link(one) for one in frames]


def ids_at(result, *points):
    return [int(result.id_map[point]) for point in points]


def of_labels(id_map, order=None):
    """A frame as an image model gives it: ids from 1 without meaning."""
    ids = np.unique(id_map[id_map > 0])
    numbers = np.arange(1, len(ids) + 1) if order is None else order.permutation(len(ids)) + 1
    table = np.zeros(int(id_map.max(initial=0)) + 1, np.uint16)
    table[ids] = numbers
    segments = [Segment(int(i), 1, score=0.9) for i in sorted(numbers)]
    return Segmentation(table[id_map], tuple(segments))


def test_ids_last_and_segments_agree_with_the_id_map():
    frames = [frame((5, 5 + 2 * t, 8), (25, 40 - 2 * t, 8)) for t in range(8)]
    # The model numbers them the other way round in every second frame.
    for t in range(1, 8, 2):
        frames[t] = frame((25, 40 - 2 * t, 8), (5, 5 + 2 * t, 8))
    results = track(frames)
    for t, result in enumerate(results):
        assert ids_at(result, (9, 9 + 2 * t), (29, 44 - 2 * t)) == [1, 2]
        assert [(s.id, s.track_id, s.area) for s in result.segments] == [(1, 1, 64), (2, 2, 64)]
        assert [s.bbox for s in result.segments] == [
            (5, 5 + 2 * t, 13, 13 + 2 * t),
            (25, 40 - 2 * t, 33, 48 - 2 * t),
        ]
        assert set(np.unique(result.id_map)) == {0, 1, 2}
        assert result.id_map.dtype == np.uint16


def test_the_assignment_is_the_best_of_the_whole_frame():
    # Both old ones overlap most with the new one in the middle; only one may have it.
    before = frame((10, 10, 10), (10, 21, 10))
    after = frame((10, 16, 10), (10, 26, 10))
    linker = Linker(TrackParams(motion="still"))
    linker.link(before)
    result = linker.link(after)
    assert ids_at(result, (15, 20), (15, 30)) == [1, 2]
    # 40 of 160 px shared, and 50 of 150; a rival for the first: the second old one, 50 of 150.
    assert [link.iou for link in linker.links] == pytest.approx([40 / 160, 50 / 150])
    assert linker.links[0].doubt == 1
    assert linker.links[1].doubt == pytest.approx(1 - 50 / 150 + 50 / 150)


def test_a_sure_link_has_little_doubt():
    linker = Linker()
    track([frame((5, 5, 8))] * 2, linker)
    assert linker.links[0].doubt == 0
    assert linker.links[0].event == "continued"


@pytest.mark.parametrize(("n_missing", "is_same"), [(1, True), (2, True), (3, False)])
def test_a_track_returns_within_the_gap_and_dies_after_it(n_missing, is_same):
    linker = Linker(TrackParams(max_gap=2))
    track([frame((5, 5, 8))] * 2, linker)
    ended = []
    for _ in range(n_missing):
        linker.link(frame())
        ended += linker.ended
    result = linker.link(frame((5, 5, 8)))
    assert ids_at(result, (8, 8)) == [1 if is_same else 2]
    assert linker.links[0].event == ("returned" if is_same else "born")
    assert linker.links[0].n_missed == (n_missing if is_same else 0)
    assert ended == ([] if is_same else [1])


def test_it_returns_where_its_motion_leads():
    moving = [frame((5, 2 + 5 * t, 8)) for t in range(5)]
    after = frame((5, 2 + 5 * 7, 8))
    gap = [frame(), frame()]
    steady = track([*moving, *gap, after], motion="steady")[-1]
    still = track([*moving, *gap, after], motion="still")[-1]
    assert ids_at(steady, (8, 40)) == [1]
    assert ids_at(still, (8, 40)) == [2]


def test_ids_are_never_used_again():
    frames = [frame((5, 5, 8)), frame(), frame((5, 5, 8)), frame(), frame((5, 5, 8))]
    results = track(frames, max_gap=0)
    assert [r.segments[0].id for r in results if r.segments] == [1, 2, 3]


def test_the_category_is_voted_for_and_the_score_is_the_mean():
    fields = [(3, 0.9), (3, 0.8), (5, 0.4), (3, 0.7)]
    frames = [frame((5, 5, 8, {"category_id": c, "score": s})) for c, s in fields]
    linker = Linker()
    results = track(frames, linker)
    assert [r.segments[0].category_id for r in results] == [3, 3, 3, 3]
    assert [r.segments[0].score for r in results] == pytest.approx([0.9, 0.85, 0.7, 0.7])
    assert linker.links[0].score == 0.7
    assert len({r.segments[0].id for r in results}) == 1
    strict = track(frames, category_rule="same")
    assert [r.segments[0].id for r in strict] == [1, 1, 2, 1]
    assert [r.segments[0].category_id for r in strict] == [3, 3, 5, 3]


def test_a_segment_of_the_category_wins_over_one_that_fits_as_well():
    before = frame((10, 10, 10))
    for left, right, ids in (({}, {"category_id": 8}, [1, 2]), ({"category_id": 8}, {}, [2, 1])):
        after = frame((10, 5, 10, left), (10, 15, 10, right))
        result = track([before, after])[1]
        assert [result.id_map[15, 7], result.id_map[15, 20]] == [ids[0], ids[1]]


def test_things_stuff_and_crowds_are_not_mixed():
    kinds = [{}, {"is_thing": False}, {"is_crowd": True}]
    results = track([frame((5, 5, 8, kind)) for kind in kinds])
    assert [r.segments[0].id for r in results] == [1, 2, 3]


def test_an_area_of_stuff_is_one_track_wherever_it_lies():
    sky = {"is_thing": False, "category_id": 2}
    frames = [frame((0, 0, 10, sky)), *[frame()] * 5, frame((28, 48, 10, sky))]
    assert track(frames, max_gap=0)[-1].segments[0].id == 1


def test_fast_objects_are_followed_by_their_centres():
    # The first step of 12 px leaves no overlap, and nothing is known of the motion yet.
    frames = [frame((5, 12 * t, 8), (25, 40 - 12 * t, 8)) for t in range(4)]
    results = track(frames, max_distance=15.0)
    assert [ids_at(r, (8, 12 * t + 4), (28, 44 - 12 * t)) for t, r in enumerate(results)] == [
        [1, 2]
    ] * 4
    assert track(frames, motion="still")[-1].segments[0].id > 2


def test_a_near_object_of_another_size_is_another_one():
    results = track([frame((5, 5, 10)), frame((5, 17, 4))], max_distance=20.0)
    assert results[1].segments[0].id == 2


def test_only_sure_segments_begin_tracks():
    weak = {"score": 0.3}
    results = track(
        [frame((5, 5, 8, weak)), frame((5, 5, 8)), frame((5, 5, 8, weak))], birth_score=0.5
    )
    assert [len(r.segments) for r in results] == [0, 1, 1]
    assert not results[0].id_map.any()


class TestSplits:
    parent = frame((10, 10, 16), (2, 45, 6))
    children = frame((11, 8, 11), (14, 20, 11), (2, 45, 6))

    def test_a_parent_ends_in_two_children(self):
        linker = Linker(TrackParams(splits=True))
        linker.link(self.parent)
        result = linker.link(self.children)
        assert [s.id for s in result.segments] == [2, 3, 4]
        events = {link.track_id: (link.event, link.parent_id) for link in linker.links}
        assert events == {2: ("continued", None), 3: ("split", 1), 4: ("split", 1)}
        assert linker.ended == (1,)
        assert [t.parent_id for t in linker.tracks] == [None, 1, 1]
        # The parent does not come back.
        assert {s.id for s in linker.link(self.parent).segments} & {1} == set()

    def test_unless_asked_one_goes_on(self):
        assert [s.id for s in track([self.parent, self.children])[1].segments] == [1, 2, 3]

    def test_a_fragment_is_no_child(self):
        after = frame((10, 10, 13), (23, 23, 3))
        results = track([self.parent, after], splits=True)
        assert [s.id for s in results[1].segments] == [1, 3]

    def test_a_neighbour_with_a_track_is_no_child(self):
        before = frame((10, 10, 12), (10, 23, 12))
        after = frame((10, 12, 12), (10, 24, 8))
        assert [s.id for s in track([before, after], splits=True)[1].segments] == [1, 2]


class TestGiven:
    """What a person corrected stays, and a run goes on from there."""

    def test_locked_segments_keep_their_tracks(self):
        linker = Linker()
        track([frame((5, 5, 8), (25, 5, 8))] * 2, linker)
        swapped = frame(
            (5, 5, 8, {"track_id": 2, "status": Status.ACCEPTED, "category_id": 9}),
            (25, 5, 8, {"track_id": 1, "status": Status.EDITED}),
        )
        assert ids_at(linker.link(swapped), (8, 8), (28, 8)) == [2, 1]
        assert [link.event for link in linker.links] == ["given", "given"]
        # And the model's next frame follows.
        result = linker.link(frame((5, 5, 8), (25, 5, 8)))
        assert ids_at(result, (8, 8), (28, 8)) == [2, 1]

    def test_a_decision_about_the_category_is_not_outvoted(self):
        linker = Linker()
        linker.link(frame((5, 5, 8)))
        said = {"track_id": 1, "status": Status.ACCEPTED, "category_id": 9, "score": 0.1}
        segment = linker.link(frame((5, 5, 8, said))).segments[0]
        assert (segment.category_id, segment.score) == (9, 0.1)

    def test_a_linker_starts_from_a_corrected_frame(self):
        said = {"track_id": 41, "status": Status.ACCEPTED}
        results = track([frame((5, 5, 8, said), (25, 5, 8)), frame((5, 5, 8), (25, 5, 8))])
        assert [[s.id for s in r.segments] for r in results] == [[41, 42], [41, 42]]

    def test_a_proposals_old_track_means_nothing(self):
        assert track([frame((5, 5, 8, {"track_id": 41}))])[0].segments[0].id == 1

    def test_a_track_is_one_thing(self):
        said = {"track_id": 4, "status": Status.ACCEPTED}
        with pytest.raises(DataError, match="Frame 0: two segments have the track 4"):
            track([frame((5, 5, 8, said), (25, 5, 8, said))])


def test_frames_have_one_size():
    with pytest.raises(DataError, match=r"Frame 1 is \(30, 30\) px, .* \(40, 60\)"):
        track([frame((5, 5, 8)), frame((5, 5, 8), shape=(30, 30))])


def test_ids_past_65535_are_wide():
    linker = Linker(first_id=65_535)
    result = linker.link(frame((5, 5, 8), (25, 5, 8)))
    assert result.id_map.dtype == np.uint32
    assert [s.id for s in result.segments] == [65_535, 65_536]


def test_objects_at_the_border_leave_the_frame():
    frames = [frame((5, 40 + 6 * t, max(1, min(8, 60 - 40 - 6 * t)))) for t in range(4)]
    results = track([*frames, *[frame()] * 4])
    assert all(len(r.segments) == 1 for r in results[:4])
    assert not results[-1].segments


def test_what_is_remembered_does_not_grow():
    linker = Linker(TrackParams(max_gap=1))
    rng = np.random.default_rng(0)
    for t in range(60):
        linker.link(frame((int(rng.integers(30)), int(rng.integers(50)), 5)))
        assert len(linker.tracks) <= 3
        assert linker.n_frames == t + 1
    assert linker.next_id > 20


def test_drawn_objects_keep_their_ids_through_crossings():
    _, truth = moving_objects(30, (160, 160), 4, seed=3)
    order = np.random.default_rng(0)
    results = list(iter_linked(of_labels(one, order) for one in truth))
    # Whoever is seen in two frames in a row has one id in both, unless hidden in between.
    switches = 0
    last: dict[int, int] = {}
    for one, result in zip(truth, results, strict=True):
        for i in np.unique(one[one > 0]):
            found = np.unique(result.id_map[one == i])
            assert len(found) == 1
            switches += last.setdefault(int(i), int(found[0])) != found[0]
            last[int(i)] = int(found[0])
    assert switches == 0


def test_params_or_linker():
    with pytest.raises(ValueError, match="one of both"):
        list(iter_linked([], TrackParams(), linker=Linker()))
