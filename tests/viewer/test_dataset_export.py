"""What an export into parts says and does of images that are equal."""

from __future__ import annotations

import json

import pytest
from tests.training.drawn_documents import document_of

from napari_eomt.formats.copies import find_shared
from napari_eomt.synthetic_video import drawn_tracks
from napari_eomt.training.opened import open_dataset
from napari_eomt.viewer.dataset_export import ExportItem, ExportParams, export


def item_of(name, frames, ids):
    document = document_of(ids)
    pixels = frames

    class Pixels:
        def frame(self, index):
            return pixels[index]

    return ExportItem(name, lambda: document, Pixels)


def parts_in(folder):
    opened = [open_dataset(folder / f"annotations_{part}.json") for part in ("train", "val")]
    assert not find_shared(*(one.files for one in opened)).learn
    return [[entry.name for entry in one.source.entries] for one in opened]


def test_equal_images_go_into_one_part_and_stay_there(tmp_path):
    videos = [drawn_tracks(1, (64, 64), 2, absent=0, seed=k) for k in range(4)]
    params = ExportParams(val_fraction=0.4)
    items = [item_of(f"im{k}", video.frames, video.ids) for k, video in enumerate(videos)]
    done = export(items, tmp_path, params)
    before = parts_in(tmp_path)
    assert f"{len(before[0])} images to train, {len(before[1])} to check." in done.notes
    copies = [item_of(f"again {k}", video.frames, video.ids) for k, video in enumerate(videos)]
    done = export(copies, tmp_path, params)
    assert not [note for note in done.notes if "left out" in note]
    after = parts_in(tmp_path)
    for old, new in zip(before, after, strict=True):
        again = {name.replace("im", "again ", 1) for name in old}
        assert sorted(new) == sorted({*old, *again})


@pytest.mark.parametrize("n_same", [1, 2])
def test_frames_of_stacks_that_are_equal_are_left_out_and_told(tmp_path, n_same):
    one, two = (drawn_tracks(5, (64, 64), 2, absent=0, seed=k) for k in range(2))
    frames, ids = two.frames.copy(), two.ids.copy()
    frames[:n_same], ids[:n_same] = one.frames[:n_same], one.ids[:n_same]
    items = [item_of("one", one.frames, one.ids), item_of("two", frames, ids)]
    done = export(items, tmp_path, ExportParams(val_fraction=0.5))
    train, val = parts_in(tmp_path)
    assert (len(train), len(val)) == (5 - n_same, 5)
    (note,) = [note for note in done.notes if "left out" in note]
    same = (
        "1 is the same as one that checks" if n_same == 1 else "2 are the same as ones that check"
    )
    assert note.startswith(f"Of 5 images that were to learn {same}, left out: ")
    assert f"{5 - n_same} images to train, 5 to check." in done.notes
    whole = json.loads((tmp_path / "annotations.json").read_text())
    left_out = {record["file_name"] for record in whole["images"]} - {*train, *val}
    assert len(left_out) == n_same
    assert all(name in note for name in left_out)
