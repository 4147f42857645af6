"""What a check finds on a few images: kept small, read back, damaged files said."""

from __future__ import annotations

import numpy as np
import pytest
from tests.training.drawn import save_nuclei

from napari_eomt.errors import DataError, OutputError
from napari_eomt.evaluation.truth import open_truth
from napari_eomt.models.catalog import DEFAULT_MODEL, find_model
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.training.check import Checker
from napari_eomt.training.check_samples import (
    MAX_SAMPLES,
    SIDE_PX,
    CheckSample,
    load_samples,
    sample_step,
    save_samples,
)
from napari_eomt.training.params import TrainParams


def test_a_check_keeps_what_it_finds_on_its_first_images(tmp_path):
    dataset = save_nuclei(tmp_path / "set", n_images=MAX_SAMPLES + 1)
    truth = open_truth(dataset)
    keys = [str(i) for i in truth.image_ids]
    checker = Checker(dataset, keys, TrainParams(task="instance"), "cpu")
    for _ in checker.iter_check(find_model(DEFAULT_MODEL).folder):
        pass
    assert list(checker.samples) == keys[:MAX_SAMPLES]
    for key, sample in checker.samples.items():
        assert sample.id_map.shape == truth.image(int(key)).shape[:2]
        assert sample.n_objects == len(np.unique(sample.id_map)) - 1 > 0


@pytest.mark.parametrize(("shape", "step"), [((7, 13), 1), ((SIDE_PX, 3), 1), ((2000, 600), 4)])
def test_samples_are_read_as_they_were_written(tmp_path, shape, step):
    id_map = np.random.default_rng(0).integers(0, 400, shape).astype(np.uint16)
    found = Segmentation(id_map, tuple(Segment(i, 1) for i in range(1, 400)))
    sample = CheckSample.of(found)
    assert sample_step(shape) == sample.step == step
    save_samples(tmp_path / "best-samples.npz", {"17": sample, "3": sample})
    read = load_samples(tmp_path / "best-samples.npz")
    assert list(read) == ["17", "3"]
    assert (read["3"].n_objects, read["3"].step) == (399, step)
    assert max(read["3"].id_map.shape) <= SIDE_PX
    np.testing.assert_array_equal(read["3"].id_map, id_map[::step, ::step])
    assert [path.name for path in tmp_path.iterdir()] == ["best-samples.npz"]


def test_none_were_kept(tmp_path):
    assert load_samples(tmp_path / "none.npz") == {}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"words"])
def test_a_damaged_file_is_said(tmp_path, content):
    (tmp_path / "best-samples.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_samples(tmp_path / "best-samples.npz")


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        save_samples(tmp_path / "none" / "best-samples.npz", {})
