"""Open stacks, learnt from as videos: what is written, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from tests.training.drawn_documents import document_of

from napari_eomt.errors import DataError
from napari_eomt.inference.video_frames import ArrayFrames
from napari_eomt.synthetic_video import drawn_tracks
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.sources import decided_frames
from napari_eomt.viewer.dataset_export import ExportItem
from napari_eomt.viewer.train_dataset import LearnRow, Parts
from napari_eomt.viewer.train_stacks import StackSource, as_video


def item_of(name, seed=0, n_frames=6, n_decided=None, dtype=np.uint8):
    """Return a row and what is to be written of it, and the video."""
    video = drawn_tracks(n_frames, (64, 64), 2, absent=0, seed=seed)
    frames = video.frames.astype(dtype)
    document = document_of(video.ids, n_decided)
    frames_of = decided_frames(document)
    row = LearnRow(name, name, len(frames_of), document.n_locked(frames_of))
    item = ExportItem(name, lambda: document, lambda: ArrayFrames(frames, "TYXC"))
    return as_video(row, document), item, video


def test_a_row_counts_tracks():
    row, _, _ = item_of("dish")
    assert (row.n_images, row.n_objects, row.is_video) == (6, 2, True)
    assert sum(row.found.values()) == 2
    partly, _, _ = item_of("dish", n_decided=3)
    assert partly.n_images == 3
    closed = as_video(LearnRow("other", "other", 1, 12), None)
    assert (closed.n_images, closed.is_video) == (0, True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_stacks_are_written_as_they_are(tmp_path, dtype):
    items = [item_of(f"dish.{k}/a", seed=k, dtype=dtype) for k in range(3)]
    source = StackSource([(row, item) for row, item, _ in items])
    parts = Parts({"dish.0/a": "train", "dish.1/a": "val", "dish.2/a": "none"})
    told = []
    prepared = source.write(parts, False, 0.2, tmp_path, lambda *what: told.append(what))
    assert told[0] == (0, 6, "dish.0/a")
    assert prepared.arguments() == [
        *(str(tmp_path / "learn"), "--val", str(tmp_path / "check"), "--leave-out-copies")
    ]
    for path, (_, _, video) in ((prepared.dataset, items[0]), (prepared.val, items[1])):
        written = open_dataset(path).source
        assert len(written.entries) == 6
        for t, entry in enumerate(written.entries):
            pixels = written.frame(entry.key)
            assert pixels.dtype == dtype
            np.testing.assert_array_equal(pixels, video.frames[t].astype(dtype))
            np.testing.assert_array_equal(written.segmentation(entry.key).id_map, video.ids[t])


def test_only_frames_that_were_decided_about_are_written(tmp_path):
    row, item, _ = item_of("dish", n_decided=4)
    prepared = StackSource([(row, item)]).write(
        Parts({"dish": "train"}, in_time=True), False, 0.2, tmp_path
    )
    assert prepared.arguments()[1:] == ["--val-fraction", "0.2"]
    assert len(list((tmp_path / "learn" / "dish").iterdir())) == 4
    assert len(open_dataset(prepared.dataset).source.entries) == 4


def test_single_images_are_left_out(tmp_path):
    stack, image = item_of("dish"), item_of("cell", n_frames=1)
    source = StackSource([(row, item) for row, item, _ in (stack, image)])
    parts = Parts({"dish": "train", "cell": "val"})
    prepared = source.write(parts, False, 0.2, tmp_path / "both")
    assert prepared.val is None
    assert "cell is no stack" in prepared.notes[0]
    with pytest.raises(DataError, match="No stack is left"):
        StackSource([image[:2]]).write(Parts({"cell": "train"}), False, 0.2, tmp_path / "one")
