from __future__ import annotations

import numpy as np
import pytest

from napari_eomt.errors import DataError, OutputError
from napari_eomt.inference.video_spool import FrameSpool
from napari_eomt.structures.segments import Segment, Segmentation


def frames(n=5):
    rng = np.random.default_rng(0)
    for t in range(n):
        dtype = np.uint16 if t < 3 else np.uint32
        id_map = np.kron(rng.integers(0, 4, (4, 5)), np.ones((6, 7))).astype(dtype)
        segments = tuple(
            Segment(
                int(i), 1 + t, score=None if t == 1 else 0.1 * t + 0.01 * int(i), source="m",
                track_id=int(i), area=int((id_map == i).sum()), bbox=(0, 1, 2, 3),
                is_thing=bool(i % 2), parent_track_id=9 if i == 2 else None,
            )
            for i in np.unique(id_map) if i
        )  # fmt: skip
        yield Segmentation(id_map, segments)


def fill(path, n=5):
    with FrameSpool(path) as spool:
        for one in frames(n):
            spool.append(one)
        spool.flush()
        return spool.n_frames


def test_frames_come_back_with_what_a_track_is_at_its_end(tmp_path):
    assert fill(tmp_path / "frames") == 5
    last = {s.id: s for one in frames() for s in one.segments}
    with FrameSpool(tmp_path / "frames") as spool:
        assert spool.n_frames == 5
        for _ in range(2):
            for found, one in zip(spool, frames(), strict=True):
                np.testing.assert_array_equal(found.id_map, one.id_map)
                assert found.id_map.dtype == one.id_map.dtype
                for a, b in zip(found.segments, one.segments, strict=True):
                    assert (a.category_id, a.score) == (last[b.id].category_id, last[b.id].score)
                    for name in ("id", "area", "bbox", "is_thing", "track_id", "parent_track_id"):
                        assert getattr(a, name) == getattr(b, name)


def test_frames_are_added_after_a_truncation(tmp_path):
    fill(tmp_path / "a")
    with FrameSpool(tmp_path / "a") as spool:
        spool.truncate(2)
        for one in list(frames())[2:]:
            spool.append(one)
    fill(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with FrameSpool(tmp_path / "a") as spool, pytest.raises(DataError, match="5 frames of 6"):
        spool.truncate(6)


def test_what_was_cut_short_is_not_there(tmp_path):
    path = tmp_path / "frames"
    fill(path)
    content = path.read_bytes()
    with FrameSpool(path) as spool:
        starts = spool._starts
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with FrameSpool(path) as spool:
            assert spool.n_frames == sum(start <= size for start in starts) - 1
    flipped = bytearray(content)
    flipped[starts[2] + 40] ^= 1
    path.write_bytes(flipped)
    with FrameSpool(path) as spool:
        assert spool.n_frames == 2
    with pytest.raises(OutputError, match="cannot be written"):
        FrameSpool(tmp_path / "nix" / "frames")
