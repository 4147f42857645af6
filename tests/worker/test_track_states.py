"""What trackers remember is kept within its bytes, spread over the frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.video_state import ModelIdentity, VideoState
from napari_eomt.models.query_state import QueryState
from napari_eomt.structures.tiles import Tile
from napari_eomt.worker.track_states import TrackStates, state_bytes

IDENTITY = ModelIdentity(name="m", fingerprint="f", input_size=64)


def state(n_queries: int = 10) -> VideoState:
    """Return a state of 40 bytes a query."""
    query = QueryState(torch.zeros(1, n_queries, 10), 1, "f")
    none = {"state": np.zeros(0, np.uint8), "masks": np.zeros(0, np.uint8)}
    tiles = {Tile(0, 0, 64, 64): query}
    return VideoState(IDENTITY, PredictParams(), TrackParams(), 1, None, none, tiles, {})


def test_a_state_is_found_before_a_frame():
    states = TrackStates()
    kept = {frame: state() for frame in (0, 4, 8)}
    for frame, one in kept.items():
        states.put("a", frame, one)
    assert state_bytes(kept[0]) == 400
    assert states.nbytes == 1200
    found = states.nearest("a", 2, 7)
    assert found is not None
    assert found[0] == 4
    assert states.nearest("a", 5, 7) is None
    assert states.nearest("b", 0, 9) is None
    states.forget("a", after=4)
    assert states.frames("a") == [0, 4]
    states.forget("a")
    assert (states.frames("a"), states.nbytes) == ([], 0)


@pytest.mark.parametrize("n", [5, 40, 41])
def test_a_long_run_is_thinned_evenly(n):
    states = TrackStates(max_bytes=8 * 400)
    for k in range(n):
        states.put("a", 4 * k, state())
        assert states.nbytes <= states.max_bytes
    frames = states.frames("a")
    assert len(frames) == min(n, 8)
    assert frames[-1] == 4 * (n - 1)
    assert np.diff([0, *frames]).max() <= max(4, 2 * 4 * n / 8)


def test_another_run_goes_first_and_what_is_too_large_is_not_kept():
    states = TrackStates(max_bytes=1000)
    states.put("a", 0, state())
    states.put("a", 4, state())
    states.put("b", 0, state())
    assert (states.frames("a"), states.frames("b")) == ([], [0])
    states.put("b", 0, state(100))
    assert (states.frames("b"), states.nbytes) == ([], 0)
