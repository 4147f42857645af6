"""Datasets of slices in the window: one by one, and as what the Learn page learns from."""

import json
import os

import numpy as np
import pytest
from tests.formats.drawn_slices import save_slices, slices

from napari_eomt.errors import DataError
from napari_eomt.training.opened import open_dataset
from napari_eomt.viewer.dataset_kind import find_annotations
from napari_eomt.viewer.dataset_open import OpenDataset
from napari_eomt.viewer.train_dataset import Parts
from napari_eomt.viewer.train_folder import FolderSource


def test_each_slice_opens_by_itself_and_all_as_a_stack(tmp_path):
    dataset = OpenDataset(find_annotations(save_slices(tmp_path, frames=[2, 0])))
    assert [item.title for item in dataset.items] == ["stack.tif, frame 2", "stack.tif, frame 0"]
    for item, k in zip(dataset.items, (2, 0), strict=True):
        source = dataset.source(item)
        assert source.name == item.title
        np.testing.assert_array_equal(source.frame(0), slices()[0][k])
    stack = dataset.source(dataset.stack())
    for place, k in enumerate((2, 0)):
        np.testing.assert_array_equal(stack.frame(place), slices()[0][k])


def test_a_slice_that_is_not_there_is_an_error_and_no_other_one(tmp_path):
    path = save_slices(tmp_path, frames=[0, 1])
    path.write_text(path.read_text().replace('"frame": 1', '"frame": 8'))
    dataset = OpenDataset(find_annotations(path))
    with pytest.raises(DataError, match=r"Image 11: there is no frame 8 in stack\.tif"):
        dataset.source(dataset.items[1])


@pytest.mark.parametrize("has_links", [True, False])
def test_a_stack_is_one_row_and_comes_along_once(tmp_path, monkeypatch, has_links):
    source = FolderSource(save_slices(tmp_path / "set"))
    (row,) = source.rows
    assert (row.name, row.n_images) == ("stack.tif", 4)
    refused = []
    if not has_links:

        def refuse(*paths):
            refused.append(paths)
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    folder = tmp_path / "run"
    prepared = source.write(Parts({row.key: "train"}), True, 0.0, folder)
    assert [path.name for path in (folder / "images").iterdir()] == ["stack.tif"]
    assert len(refused) == (not has_links)  # it is copied once, and not for each slice
    learnt = open_dataset(prepared.dataset).source
    frames = [image["frame"] for image in json.loads(prepared.dataset.read_text())["images"]]
    assert frames == [0, 1, 2, 3]
    for entry, k in zip(learnt.entries, frames, strict=True):
        np.testing.assert_array_equal(learnt.frame(entry.key), slices()[0][k])
