"""A check of a model with a frozen trunk runs it once on each view."""

from __future__ import annotations

import pytest
from tests.training.drawn import save_model, save_nuclei

from napari_eomt.evaluation.truth import open_truth
from napari_eomt.models.eomt import EomtSegmenter
from napari_eomt.settings import cache_dir
from napari_eomt.training.check import Checker
from napari_eomt.training.params import TrainParams


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ({"frozen_blocks": "trunk"}, True),
        ({"frozen_blocks": 0}, False),
        ({"preset": "lora"}, False),
        ({"preset": "full"}, False),
    ],
)
def test_a_frozen_trunk_is_run_at_the_first_check_alone(tmp_path, monkeypatch, given, is_kept):
    dataset = save_nuclei(tmp_path / "set", n_images=2)
    model = save_model(tmp_path / "tiny")
    runs = []
    run = EomtSegmenter._trunk
    monkeypatch.setattr(
        EomtSegmenter,
        "_trunk",
        lambda self, pixels: (runs.append(len(pixels)), run(self, pixels))[1],
    )
    keys = [str(i) for i in open_truth(dataset).image_ids]
    checker = Checker(dataset, keys, TrainParams(**given, task="instance"), "cpu")
    reports, counts = [], []
    for _ in range(2):
        steps = checker.iter_check(model)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                reports.append(stop.value)
                break
        if checker._trunks is not None:
            checker._trunks.flush()
        counts.append(sum(runs))
        runs.clear()
    assert counts == [counts[0], 0 if is_kept else counts[0]]
    assert counts[0] >= 2
    assert reports[0].total == reports[1].total
    assert any(cache_dir().glob("trunk/*.tokens")) is is_kept
