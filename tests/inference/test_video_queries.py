"""Identity by queries, on frames made by hand: `moves` says what each query follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.video_queries import QueryLinker
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status

SHAPE = (40, 60)
CATEGORIES = (Category(7, "cell"), Category(3, "dirt"), Category(5, "sky", is_thing=False))
SURE = np.array([4.0, 0, 0, 0])


def frame(*objects):
    """A frame of squares: (queries, y, x, side) or with fields; ids from 1 in their order."""
    id_map = np.zeros(SHAPE, np.uint16)
    segments, members = [], {}
    for i, (queries, y, x, side, *fields) in enumerate(objects, start=1):
        id_map[y : y + side, x : x + side] = i
        queries = [queries] if isinstance(queries, tuple) else queries
        members[i] = tuple(queries)
        segments.append(replace(Segment(i, 7, score=0.9), **(fields[0] if fields else {})))
    return Segmentation(id_map, tuple(segments)), members


def link(linker, frames, logits=None, known=None):
    results = []
    for t, (segmentation, members) in enumerate(frames):
        said = (logits or {}).get(t, {})
        results.append(
            linker.link_queries(segmentation, members, lambda q, s=said: s.get(q, SURE), known)
        )
    return results


def linker(**params):
    return QueryLinker(CATEGORIES, TrackParams(**params))


def id_at(result, y, x):
    return int(result.id_map[y, x])


def test_a_query_is_a_track_wherever_it_goes():
    # They change places in one step: by overlap, each would be taken for the other.
    one, other = (0, 4), (0, 9)
    results = link(linker(), [frame((one, 5, 5, 10), (other, 25, 45, 10)),
                              frame((one, 25, 45, 10), (other, 5, 5, 10))])  # fmt: skip
    assert [id_at(r, 10, 10) for r in results] == [1, 2]
    assert [id_at(r, 30, 50) for r in results] == [2, 1]


def test_another_query_is_another_track_even_at_the_same_place():
    found = linker()
    results = link(found, [frame(((0, 1), 5, 5, 10)), frame(((0, 2), 5, 5, 10))])
    assert [id_at(r, 10, 10) for r in results] == [1, 2]
    assert found.links[0].event == "born"
    assert found.links[0].doubt > 0.5  # it lies where another has just been


def test_masks_that_disagree_are_doubtful():
    found = linker()
    link(found, [frame(((0, 1), 5, 5, 10), ((0, 2), 25, 45, 10)),
                 frame(((0, 1), 5, 6, 10), ((0, 2), 5, 40, 10))])  # fmt: skip
    near, far = found.links
    assert near.doubt < 0.3
    assert near.iou == pytest.approx(90 / 110)
    assert (far.iou, far.doubt) == (0, 1)


@pytest.mark.parametrize(("n_missing", "is_same"), [(1, True), (2, True), (3, False)])
def test_gap_return_and_death(n_missing, is_same):
    found = linker(max_gap=2)
    ended = []
    link(found, [frame(((0, 1), 5, 5, 10))])
    for _ in range(n_missing):
        link(found, [frame()])
        ended += found.ended
    (result,) = link(found, [frame(((0, 1), 25, 45, 10))])
    assert id_at(result, 30, 50) == (1 if is_same else 2)
    assert found.links[0].event == ("returned" if is_same else "born")
    assert ended == ([] if is_same else [1])
    assert set(found.queries) == {1 if is_same else 2}


def test_a_query_waits_for_its_thing_for_ever_unless_a_gap_is_named():
    found = linker()
    link(found, [frame(((0, 1), 5, 5, 10), ((0, 2), 25, 25, 10))])
    link(found, [frame(((0, 2), 25, 25, 10))] * 30)
    (result,) = link(found, [frame(((0, 1), 25, 45, 10))])
    assert id_at(result, 30, 50) == 1
    assert set(found.queries) == {1, 2}


def test_a_new_track_needs_its_score():
    weak, strong = {"score": 0.3}, {"score": 0.7}
    found = linker(birth_score=0.5)
    results = link(found, [frame(((0, 1), 5, 5, 10, weak)), frame(((0, 1), 5, 5, 10, strong)),
                           frame(((0, 1), 5, 5, 10, weak))])  # fmt: skip
    assert [id_at(r, 10, 10) for r in results] == [0, 1, 1]


def test_category_and_score_are_of_the_mean_logits():
    said = [np.array([2.0, 0, 0, 0]), np.array([0, 3.0, 0, 0]), np.array([2.5, 0, 0, 1])]
    frames = []
    for logits in said:
        label = int(logits[:2].argmax())
        score = 0.8 * float(softmax(logits)[label])  # the masks were sure to 0.8
        fields = {"category_id": CATEGORIES[label].id, "score": score}
        frames.append(frame(((0, 1), 5, 5, 10, fields)))
    results = link(linker(), frames, {t: {(0, 1): logits} for t, logits in enumerate(said)})
    for t, result in enumerate(results, start=1):
        p = softmax(np.mean(said[:t], axis=0))
        (segment,) = result.segments
        assert segment.category_id == CATEGORIES[int(p[:2].argmax())].id
        assert segment.score == pytest.approx(0.8 * p[:2].max())
    assert [r.segments[0].category_id for r in results] == [7, 3, 7]


def test_only_the_wanted_categories_and_things_are_chosen():
    found = QueryLinker(CATEGORIES, wanted=(3,))
    fields = {"category_id": 3, "score": 0.2}
    logits = {0: {(0, 1): np.array([2.0, 1, 3, 0])}}
    (result,) = link(found, [frame(((0, 1), 5, 5, 10, fields))], logits)
    assert result.segments[0].category_id == 3


def test_stuff_is_what_its_category_says():
    sky = {"category_id": 5, "is_thing": False}
    results = link(linker(), [frame(((0, 1), 5, 5, 10, sky)), frame(),
                              frame(((0, 8), 25, 45, 10, sky))])  # fmt: skip
    assert id_at(results[0], 10, 10) == id_at(results[2], 30, 50) == 1
    assert results[2].segments[0].score == 0.9


def test_a_thing_goes_from_tile_to_tile_by_what_was_merged():
    left, right = (0, 4), (1, 2)
    frames = [
        frame((left, 10, 5, 10)),
        frame(([left, right], 10, 20, 10)),  # both tiles see it
        frame((right, 10, 35, 10)),
        frame((right, 30, 50, 8)),  # far from where it was: the query knows
    ]
    assert [r.segments[0].id for r in link(linker(), frames)] == [1, 1, 1, 1]


def test_a_thing_goes_from_tile_to_tile_by_overlap_where_nothing_was_merged():
    frames = [frame(((0, 4), 10, 5, 12)), frame(((1, 2), 10, 9, 12))]
    assert [r.segments[0].id for r in link(linker(), frames)] == [1, 1]
    # Within one tile the queries have it.
    frames = [frame(((0, 4), 10, 5, 12)), frame(((0, 2), 10, 9, 12))]
    assert [r.segments[0].id for r in link(linker(), frames)] == [1, 2]


def test_two_pieces_that_turn_out_one_keep_the_track_that_fits():
    frames = [
        frame(((0, 4), 10, 5, 20), ((1, 2), 10, 30, 6)),
        frame(([(0, 4), (1, 2)], 10, 5, 22)),
    ]
    found = linker(max_gap=0)
    results = link(found, frames)
    assert [[s.id for s in r.segments] for r in results] == [[1, 2], [1]]
    assert found.ended == (2,)
    assert found.queries[1].queries == {(0, 4): 0, (1, 2): 0}


def test_one_that_turns_out_two_leaves_its_track_to_the_one_that_fits():
    frames = [
        frame(([(0, 4), (1, 2)], 10, 5, 20)),
        frame(((1, 2), 10, 40, 8), ((0, 4), 10, 6, 18)),
    ]
    results = link(linker(), frames)
    assert id_at(results[1], 15, 10) == 1
    assert id_at(results[1], 15, 44) == 2


def test_a_query_that_another_thing_takes_moves_with_it():
    """What a person gives a track is followed by the query that has found it."""
    found = linker()
    link(found, [frame(((0, 4), 10, 5, 10))])
    locked = {"track_id": 9, "status": Status.EDITED, "category_id": 3}
    (second,) = link(found, [frame(((0, 4), 10, 6, 10, locked))])
    (third,) = link(found, [frame(((0, 4), 30, 45, 8))])
    assert [s.id for s in (*second.segments, *third.segments)] == [9, 9]
    # The model says otherwise; the person is right.
    assert third.segments[0].category_id == 3
    assert found.links[0].event == "continued"


def test_the_track_of_a_segment_can_be_told():
    found = linker()
    results = link(found, [frame(((0, 4), 10, 5, 10))], known={1: 6})
    results += link(found, [frame(((0, 4), 10, 25, 10), ((0, 5), 10, 5, 10))])
    assert [[s.id for s in r.segments] for r in results] == [[6], [6, 7]]


def test_a_track_that_is_expected_is_found_by_overlap_once():
    found = linker()
    before, _ = frame(((0, 0), 10, 5, 10, {"track_id": 8}))
    found.expect(before)
    frames = [frame(((0, 4), 10, 6, 10)), frame(((0, 4), 30, 45, 8), ((0, 5), 10, 6, 10))]
    results = link(found, frames)
    assert [[s.id for s in r.segments] for r in results] == [[8], [8, 9]]


def test_same_category_alone_continues_if_that_is_wanted():
    frames = [frame(((0, 1), 5, 5, 10)), frame(((0, 1), 5, 5, 10, {"category_id": 3}))]
    logits = {1: {(0, 1): np.array([0, 4.0, 0, 0])}}
    assert [r.segments[0].id for r in link(linker(category_rule="same"), frames, logits)] == [1, 2]
    assert [r.segments[0].id for r in link(linker(), frames, logits)] == [1, 1]


def test_children_of_a_division_have_a_parent():
    frames = [
        frame(((0, 1), 10, 10, 16)),
        frame(((0, 1), 10, 8, 10), ((0, 2), 16, 19, 9)),
    ]
    result = link(linker(splits=True), frames)[1]
    assert [(s.id, s.parent_track_id) for s in result.segments] == [(2, 1), (3, 1)]
