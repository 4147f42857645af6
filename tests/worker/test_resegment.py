"""After a quick learn, segmenting an image again does not run the blocks that were frozen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.training.drawn import save_nuclei
from trunk_hooks import VARIABLE
from worker_talk import Frames, Talk, draw

import napari_eomt as ne
from napari_eomt.inference.params import PredictParams, n_looks
from napari_eomt.inference.predict import predict
from napari_eomt.models.load import load_segmenter
from napari_eomt.settings import CACHE_DIR_VARIABLE, cache_dir
from napari_eomt.worker.client import Finished, FrameDone, ModelRef, WorkerClient, WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.structures.segments import Segmentation

SIDE = 300
PARAMS = PredictParams(score_threshold=0.2, object_size=14)


@pytest.fixture
def n_views(tmp_path, monkeypatch) -> Callable[[], int]:
    """Return a function that says on how many views workers have run a trunk since it was asked."""
    log = tmp_path / "trunk.log"
    log.touch()
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("NAPARI_EOMT_WORKER_HOOK", "trunk_hooks:count")
    monkeypatch.setenv(VARIABLE, str(log))
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "cache"))

    def since() -> int:
        n = len(log.read_text().splitlines())
        log.write_text("")
        return n

    return since


def started(trunk_bytes: int) -> Talk:
    client = WorkerClient(n_threads=1, trunk_bytes=trunk_bytes)
    client.start()
    talk = Talk(client)
    talk.until(lambda _: client.state is WorkerState.WARM)
    return talk


def segment(talk: Talk, model: str) -> Segmentation:
    job = talk.client.segment(ModelRef(model, "cpu"), Frames(side=SIDE), [0], PARAMS, "again")
    assert isinstance(talk.end(job), Finished)
    return talk.of(FrameDone, job)[0].segmentation


def assert_same(one: Segmentation, other: Segmentation) -> None:
    np.testing.assert_array_equal(one.id_map, other.id_map)
    assert one.segments == other.segments


def test_a_learnt_model_runs_its_last_blocks_alone(n_views, tmp_path):
    dataset = save_nuclei(tmp_path / "set")
    talk = started(2**28)
    try:
        first = segment(talk, "nuclei-nano")
        n_first = n_views()
        assert n_first > 10
        assert_same(segment(talk, "nuclei-nano"), first)
        assert n_views() == 0
        # As before a training, which wants the memory.
        talk.client.release()
        run = ne.train(
            dataset, model="nuclei-nano", out=tmp_path / "run", device="cpu", batch_size=2,
            undecided="learn", steps=3, learning_rate=1e-3, seed=0, frozen_blocks="trunk",
        )  # fmt: skip
        learnt = segment(talk, str(run.last))
        assert n_views() == 0
    finally:
        talk.client.close()
    plain = load_segmenter(run.last, "cpu")
    expected = predict(draw(0, SIDE), plain, PARAMS)
    assert_same(learnt, expected)
    assert [s.score for s in learnt.segments] != [s.score for s in first.segments]
    # What is kept outlives the process; a damaged file is made again. Those that measuring the
    # objects has made are not asked for: the learnt model knows their size.
    n_tiles = len(ne.propose(draw(0, SIDE), plain, PARAMS).views)
    n_seen = n_tiles * n_looks(PARAMS, plain.card)
    n_files = len(files := kept_files())
    for n_damaged in (n_seen, 1):
        times = {file: file.stat().st_mtime_ns for file in files}
        for file in files:
            file.write_bytes(file.read_bytes()[:-1])
            os.utime(file, ns=(times[file], times[file]))
        talk = started(2**28)
        try:
            again = segment(talk, str(run.last))
            # A view alone may differ in the last bit from one that was run beside others.
            assert (again.id_map != expected.id_map).mean() < 1e-3
            assert [s.score for s in again.segments] == pytest.approx(
                [s.score for s in expected.segments], abs=1e-4
            )
            assert n_views() == n_damaged
        finally:
            talk.client.close()
        files = [file for file in files if file.stat().st_mtime_ns != times[file]][:1]
        assert files
    assert n_files >= n_first


def test_without_room_nothing_is_kept(n_views):
    talk = started(0)
    try:
        first = segment(talk, "nuclei-nano")
        n_first = n_views()
        assert_same(segment(talk, "nuclei-nano"), first)
        assert n_views() == n_first
    finally:
        talk.client.close()
    assert not kept_files()


def kept_files() -> list[Path]:
    return sorted((cache_dir() / "trunk").glob("*.tokens"))
