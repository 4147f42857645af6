"""What nobody has decided about is neither right nor wrong, whatever it is said to be."""

from __future__ import annotations

import numpy as np
import pytest

from napari_eomt.evaluation.evaluate import iter_evaluate
from napari_eomt.evaluation.predictions import Predicted, detections_of
from napari_eomt.evaluation.truth import open_truth
from napari_eomt.evaluation.undecided import DecidedTruth, n_undecided
from napari_eomt.formats.dataset import Dataset
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status

CATEGORIES = (Category(3, "cell"), Category(8, "debris"))
MEASURES = ("ap", "ap50", "f1", "pq", "miou")


def id_map():
    """Four objects in a row."""
    found = np.zeros((24, 60), np.uint16)
    for k in range(4):
        found[4:16, 3 + 14 * k : 13 + 14 * k] = k + 1
    return found


def truth_segments():
    decided = [Segment(i, category, status=Status.ACCEPTED) for i, category in ((1, 3), (2, 8))]
    return (*decided, Segment(3, 3, status=Status.PROPOSED), Segment(4, 8, status=Status.PROPOSED))


@pytest.fixture
def truth(tmp_path):
    dataset = Dataset.create(tmp_path / "set")
    annotated = Segmentation(id_map(), truth_segments())
    dataset.add(np.zeros((24, 60), np.uint8), annotated, name="a", categories=CATEGORIES)
    dataset.save()
    dataset.close()
    return open_truth(tmp_path / "set")


class Source:
    """Says of each image what it was given."""

    def __init__(self, segments, ids=None):
        ids = id_map() if ids is None else ids
        ids[~np.isin(ids, [segment.id for segment in segments])] = 0
        self._found = Segmentation(ids, segments)

    def of(self, image_id):
        return Predicted(self._found, detections_of(image_id, self._found), None)


def report_of(truth, source, task="instance"):
    steps = iter_evaluate(truth, source, task=task)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def found(*categories):
    return tuple(Segment(i, c, score=0.9) for i, c in enumerate(categories, 1) if c)


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
@pytest.mark.parametrize("said", [(0, 0), (3, 8), (8, 3), (8, 0)])
def test_nothing_on_the_undecided_counts(truth, task, said):
    """Neither finding them nor leaving them out nor naming them otherwise changes a measure."""
    assert n_undecided(truth) == 1
    report = report_of(DecidedTruth(truth), Source(found(3, 8, *said)), task)
    values = [getattr(report.total, name) for name in MEASURES]
    assert all(value == pytest.approx(1) for value in values if value is not None), values
    assert any(value is not None for value in values)
    plain = report_of(truth, Source(found(3, 8, *said)), task)
    if said != (3, 8):
        assert any((getattr(plain.total, name) or 1) < 1 for name in MEASURES)


def test_mistakes_about_what_was_decided_count(truth):
    decided = DecidedTruth(truth)
    missed = report_of(decided, Source(found(3, 0, 3, 8)))
    wrong = report_of(decided, Source(found(8, 8)))
    assert missed.total.ap50 == pytest.approx(0.5)
    assert max(missed.total.f1, wrong.total.f1) < 1
    beside = id_map()
    beside[18:23, 3:50] = 5
    extra = Source((*found(3, 8, 3, 8), Segment(5, 3, score=0.95)), beside)
    assert report_of(decided, extra).total.ap50 < 1


def test_without_undecided_nothing_changes(truth):
    for record in truth.file.annotations:
        record.pop("attributes", None)
        record.pop("score", None)
    assert n_undecided(truth) == 0
    for source in (Source(found(3, 8, 3, 8)), Source(found(3, 3, 8, 0))):
        assert report_of(DecidedTruth(truth), source) == report_of(truth, source)
