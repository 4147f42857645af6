"""What is learnt from: open work and datasets, image by image."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools.coco import COCO
from tests.viewer.test_image_folder import Bench, images  # noqa: F401 - a fixture

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.files import load_document
from napari_eomt.errors import DataError
from napari_eomt.formats.dataset import load_dataset
from napari_eomt.structures.segments import Status
from napari_eomt.training.sources import DatasetSource
from napari_eomt.viewer.train_choice import (
    rows_of_folder,
    rows_of_result,
    work_of_folder,
    work_of_result,
)
from napari_eomt.viewer.train_dataset import LearnRow, parts_of


@pytest.fixture(autouse=True)
def _own_sessions(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_EOMT_SESSIONS_DIR", str(tmp_path / "user" / "sessions"))


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


def accept(result, *places):
    result.session.do(operations.set_status(result.document, places, Status.ACCEPTED))


def test_parts_are_those_of_the_split_and_what_people_choose():
    rows = [LearnRow(f"{k}.png", f"{k}.png", 1, 3) for k in range(20)]
    parts = parts_of(rows, 0.3, {})
    n_check = parts.count(rows, "val")
    assert 0 < n_check < 20
    assert parts.count(rows, "train") == 20 - n_check
    chosen = parts_of(rows, 0.3, {"0.png": "val", "1.png": "none", "2.png": "train"})
    assert [chosen.of[f"{k}.png"] for k in range(3)] == ["val", "none", "train"]
    # Nobody else has moved.
    assert all(chosen.of[f"{k}.png"] == parts.of[f"{k}.png"] for k in range(3, 20))
    with pytest.raises(DataError, match="No image is left"):
        parts_of(rows, 0.3, {row.key: "none" for row in rows})
    alone = parts_of(rows[:1], 0.3, {})
    assert alone.of == {"0.png": "train"}
    assert "Annotate another" in alone.notes[0]


def test_only_what_was_decided_is_learnt_and_nothing_counts_as_exported(
    bench,
    images,  # noqa: F811
    tmp_path,
):
    folder = bench.folder
    assert folder.open_folder(images)
    folder.open(0)
    first = bench.segment(3)
    accept(first, (0, 1))
    folder.open(3)
    bench.segment(2)  # nothing is decided here
    folder.open(2)
    stack = bench.segment(2, frame=1)
    bench.segment(2, frame=4)
    accept(stack, *((4, i) for i in stack.document.segments(4)))
    rows = rows_of_folder(folder, stack)
    assert [(row.name, row.n_images, row.n_objects) for row in rows] == [
        ("a.png", 1, 1),
        ("c.tif", 1, 2),
    ]
    folder.keep()
    source = work_of_folder(folder, stack)
    assert source.rows == rows
    parts = parts_of(rows, 0.2, {"a.png": "val"})
    told = []
    run = tmp_path / "run" / ".dataset"
    prepared = source.write(parts, True, 0.2, run, lambda *step: told.append(step))
    assert told[0] == (0, 2, "a.png")
    learn, check = (DatasetSource(load_dataset(p)) for p in (prepared.dataset, prepared.val))
    (entry,) = learn.entries
    # The frame that was decided about.
    np.testing.assert_array_equal(learn.frame(entry.key), stack.image.data[4])
    found = learn.segmentation(entry.key)
    np.testing.assert_array_equal(found.id_map > 0, stack.document.id_maps[4] > 0)
    (entry,) = check.entries
    statuses = sorted(s.status.value for s in check.segmentation(entry.key).segments)
    assert statuses == ["accepted", "proposed", "proposed"]
    # pycocotools reads both.
    assert len(COCO(str(prepared.dataset)).anns) == 2
    # Learning from work is no export.
    assert stack.document.state(4) is not FrameState.EXPORTED
    kept = load_document(folder.document_path(0))[0]
    assert kept.state(0) is not FrameState.EXPORTED


def test_one_open_image(bench, images, tmp_path):  # noqa: F811
    bench.folder.open_folder(images)
    bench.folder.open(0)
    result = bench.segment(2)
    assert rows_of_result(result) == ()
    accept(result, (0, 1))
    (row,) = rows_of_result(result)
    source = work_of_result(result)
    # What is done meanwhile is not learnt.
    result.session.do(operations.reject(result.document, [(0, 1)]))
    parts = parts_of(source.rows, 0.2, {})
    prepared = source.write(parts, False, 0.2, tmp_path / "set", lambda *_: None)
    assert prepared.val is None
    assert prepared.arguments() == [str(prepared.dataset), "--val-fraction", "0"]
    assert row.n_objects == 1
    (entry,) = DatasetSource(load_dataset(prepared.dataset)).entries
    segments = DatasetSource(load_dataset(prepared.dataset)).segmentation(entry.key).segments
    assert {s.status for s in segments} == {Status.ACCEPTED, Status.PROPOSED}
