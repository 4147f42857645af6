from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
from tests.evaluation.drawn_tracks import spoilt_tracks

from napari_eomt.errors import DataError, OutputError
from napari_eomt.evaluation.video import TrackReport, evaluate_tracks
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.synthetic import moving_objects

SCORES = (
    *("idf1", "idp", "idr", "mota", "motp", "hota", "det_a", "ass_a", "loc_a"),
    *("tra", "det", "seg", "lnk"),
)


def squares(*tracks, n_frames=4):
    """A column of tracks of 4 × 4 px that stand still; a track is the id in each frame, or 0."""
    stack = np.zeros((n_frames, 6 * len(tracks), 6), np.uint16)
    for k, ids in enumerate(tracks):
        for t, i in enumerate(ids):
            stack[t, 6 * k : 6 * k + 4, :4] = i
    return stack


def test_perfect_tracks_score_one_whatever_their_ids():
    _, truth = moving_objects(15, (96, 96), 6, seed=2)
    report = evaluate_tracks(truth, np.where(truth > 0, 100 - truth, 0))
    assert [getattr(report, name) for name in SCORES] == pytest.approx([1.0] * len(SCORES))
    assert (report.switches, report.fp, report.fn, sum(report.edits.values())) == (0, 0, 0, 0)
    assert report.n_frames == 15
    assert report.n_truth_tracks == report.n_found_tracks == 6
    assert report.mostly_tracked == 6


def test_one_switch():
    report = evaluate_tracks(squares([1, 1, 1, 1]), squares([7, 7, 8, 8]))
    assert (report.switches, report.fragments, report.fp, report.fn) == (1, 0, 0, 0)
    assert (report.idf1, report.mota) == (pytest.approx(2 * 2 / 8), pytest.approx(3 / 4))
    assert report.edits["missing_edges"] == 1
    assert report.tra == pytest.approx(1 - 1.5 / (40 + 4.5))
    assert report.lnk == pytest.approx(2 / 3)
    # Each matched object shares 2 of 4 frames with its track: AssA 1/2, DetA 1.
    assert report.hota == pytest.approx(np.sqrt(0.5))


def test_a_frame_that_misses_the_object():
    report = evaluate_tracks(squares([1, 1, 1, 1]), squares([7, 0, 7, 7]))
    assert (report.fn, report.switches) == (1, 0)
    assert (report.idp, report.idr) == (1, 3 / 4)
    assert report.edits == {
        **dict.fromkeys(("splits", "extras", "wrong_edges", "extra_edges"), 0) | {"misses": 1},
        # Both steps of the missed object; and the found track's step across the gap is none.
        "missing_edges": 2,
        "extra_edges": 1,
    }
    assert report.tra == pytest.approx(1 - (10 + 2 * 1.5 + 1) / (40 + 4.5))
    assert report.det == report.seg == pytest.approx(3 / 4)


def test_swapped_ids():
    truth = squares([1, 1, 1, 1], [2, 2, 2, 2])
    report = evaluate_tracks(truth, squares([1, 1, 2, 2], [2, 2, 1, 1]))
    assert report.switches == 2
    assert report.idf1 == pytest.approx(1 / 2)
    assert report.edits["missing_edges"] == report.edits["extra_edges"] == 2
    assert report.tra == pytest.approx(1 - 2 * (1.5 + 1) / (80 + 6 * 1.5))


def test_a_division_and_its_meaning():
    truth = squares([1, 1, 2, 2], [0, 0, 3, 3])
    parents = {2: 1, 3: 1}
    # The parent stands where its first child does.
    right = evaluate_tracks(truth, truth, truth_parents=parents, pred_parents=parents)
    assert right.tra == 1
    without = evaluate_tracks(truth, truth, truth_parents=parents)
    assert without.edits["missing_edges"] == 2
    # The track goes on in one child.
    one = squares([1, 1, 1, 1], [0, 0, 3, 3])
    report = evaluate_tracks(truth, one, truth_parents=parents)
    assert (report.edits["missing_edges"], report.edits["wrong_edges"]) == (1, 1)
    assert report.tra == pytest.approx(1 - (1.5 + 1) / (60 + 5 * 1.5))


def test_two_objects_found_as_one():
    truth = np.zeros((1, 4, 8), np.uint16)
    truth[0, :, :4], truth[0, :, 4:] = 1, 2
    report = evaluate_tracks(truth, np.ones_like(truth))
    assert report.edits["splits"] == 1
    assert report.det == pytest.approx(1 - 5 / 20)
    # Each has half of the found one; SEG lets one cover both.
    assert report.seg == pytest.approx(1 / 2)


def test_what_is_ignored_counts_on_neither_side():
    truth = squares([1] * 4, [2] * 4)
    pred = squares([1] * 4, [5, 6, 7, 8])
    assert evaluate_tracks(truth, pred).idf1 < 1
    report = evaluate_tracks(truth, pred, ignored={2})
    assert [getattr(report, name) for name in SCORES] == pytest.approx([1.0] * len(SCORES))
    assert (report.n_truth_tracks, report.n_found_tracks, report.n_ignored_tracks) == (1, 1, 1)
    # A counted track that is lost on an ignored one is missed all the same.
    moved = squares([1, 1, 0, 0], [0, 0, 1, 1])
    assert evaluate_tracks(truth, moved, ignored={2}).fn == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_frames_may_come_from_anywhere(dtype):
    truth, pred, *_ = spoilt_tracks(0)
    expected = evaluate_tracks(truth, pred)
    lazy = da.from_array(pred, chunks=(1, 72, 80))
    segmentations = [
        Segmentation(one, tuple(Segment(int(i), 1) for i in np.unique(one) if i)) for one in pred
    ]
    for found in (lazy, list(pred.astype(dtype)), iter(pred), segmentations):
        assert evaluate_tracks((one for one in truth.astype(dtype)), found) == expected


def test_nothing_to_tell_is_none():
    report = evaluate_tracks(squares([0] * 4), squares([0] * 4))
    assert {getattr(report, name) for name in SCORES} == {None}
    only_false = evaluate_tracks(squares([0] * 4), squares([1] * 4))
    assert (only_false.idf1, only_false.mota, only_false.tra, only_false.fp) == (0, None, None, 4)


def test_a_report_is_read_back(tmp_path):
    truth, pred, *parents = spoilt_tracks(1)
    report = evaluate_tracks(truth, pred, truth_parents=parents[0], ignored=[3])
    path = tmp_path / "new" / "tracks.json"
    report.save(path)
    assert TrackReport.load(path) == report
    path.write_text(json.dumps({**json.loads(path.read_text()), "tra": "good"}))
    with pytest.raises(DataError, match="tra: "):
        TrackReport.load(path)
    path.write_text("{}")
    with pytest.raises(DataError, match="no report of tracks"):
        TrackReport.load(path)
    with pytest.raises(OutputError, match="cannot be written"):
        report.save(path / "below.json")


@pytest.mark.parametrize(
    ("pred", "message"),
    [
        (np.zeros((3, 6, 6), int), "prediction has 3 frames, the truth more"),
        (np.zeros((5, 6, 6), int), "truth has 4 frames, the prediction more"),
        (np.zeros((4, 6, 7), int), r"Frame 0 of the truth is \(6, 6\) px, .*\(6, 7\)"),
        (np.zeros((4, 6, 6)), "Frame 0 of the prediction is .*float64"),
        (np.zeros((6, 6), int), r"axes \(T, Y, X\)"),
        (np.full((4, 6, 6), -1), "holds the id -1"),
    ],
)
def test_what_does_not_go_together_is_told(pred, message):
    with pytest.raises(DataError, match=message):
        evaluate_tracks(squares([1] * 4), pred)


def test_thresholds_make_sense():
    with pytest.raises(ValueError, match="IoU threshold is 0"):
        evaluate_tracks([], [], iou_threshold=0)
