from __future__ import annotations

import json

import numpy as np
import pytest

from napari_eomt.errors import DataError, OutputError
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.track_state import linker_arrays, load_linker, save_linker
from napari_eomt.inference.tracks import Linker
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.synthetic import moving_objects


def frames():
    _, truth = moving_objects(24, (100, 120), 6, seed=1)
    for one in truth:
        ids = np.unique(one[one > 0]).tolist()
        segments = [Segment(i, 1 + i % 2, score=0.5 + i / 20, source="m") for i in ids]
        yield Segmentation(one, tuple(segments))


@pytest.mark.parametrize("at", [0, 1, 9, 17])
def test_a_linker_goes_on_as_if_it_had_not_stopped(tmp_path, at):
    through = Linker(TrackParams(max_gap=3, splits=True))
    stopped = Linker(TrackParams(max_gap=3, splits=True))
    path = tmp_path / "linker.npz"
    for t, one in enumerate(frames()):
        if t == at:
            save_linker(stopped, path)
            stopped = load_linker(path)
            assert stopped.params == through.params
        want, got = through.link(one), stopped.link(one)
        np.testing.assert_array_equal(got.id_map, want.id_map)
        assert got.segments == want.segments
        assert stopped.links == through.links
        assert stopped.ended == through.ended
    assert stopped.next_id == through.next_id


def saved(tmp_path, **changes):
    linker = Linker()
    for one in list(frames())[:3]:
        linker.link(one)
    arrays = linker_arrays(linker)
    state = json.loads(bytes(arrays["state"]))
    for key, value in changes.items():
        if key in arrays:
            arrays[key] = value(arrays[key])
        else:
            state[key] = value(state[key])
            arrays["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    np.savez(tmp_path / "linker.npz", **arrays)
    return tmp_path / "linker.npz"


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("format", lambda _: "another"),
        ("next_id", lambda _: 1),
        ("shape", lambda _: [3, 3]),
        ("tracks", lambda tracks: [{**tracks[0], "votes": []}]),
        ("masks", lambda masks: masks[:-3]),
        ("masks", lambda masks: masks.astype(float)),
        ("state", lambda state: state[:-5]),
        ("state", lambda _: np.zeros(0, np.uint8)),
    ],
)
def test_a_damaged_state_is_told(tmp_path, key, change):
    with pytest.raises(DataError, match="Track the video from its start"):
        load_linker(saved(tmp_path, **{key: change}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x80\x04N."])
def test_another_file_is_told(tmp_path, content):
    path = tmp_path / "linker.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"linker\.npz is no saved state"):
        load_linker(path)


def test_pickles_are_not_read(tmp_path):
    path = tmp_path / "linker.npz"
    np.savez(path, state=np.array([{"a": 1}], object), masks=np.zeros(1))
    with pytest.raises(DataError, match="no saved state"):
        load_linker(path)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        load_linker(tmp_path / "none.npz")
    with pytest.raises(OutputError, match="cannot be written"):
        save_linker(Linker(), tmp_path / "none" / "linker.npz")
