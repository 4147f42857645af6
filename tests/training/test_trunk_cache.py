"""What the cache keeps, where, and what it gives up."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from napari_eomt.training.trunk_cache import TrunkCache

BYTES = 4 * 6 * 4  # of one entry


def tokens(value):
    return torch.full((4, 6), float(value)) + torch.arange(6) / 8


def test_memory_is_bounded_and_the_least_recently_used_goes():
    cache = TrunkCache(2 * BYTES)
    cache.put("a", tokens(1))
    cache.put("b", tokens(2))
    assert cache.get("a") is not None
    cache.put("c", tokens(3))
    assert cache.get("b") is None
    assert torch.equal(cache.get("a"), tokens(1))
    assert torch.equal(cache.get("c"), tokens(3))
    assert cache.memory_used == 2 * BYTES
    assert len(cache) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_memory_has_no_room_for_comes_from_files(dtype, tmp_path):
    cache = TrunkCache(BYTES, tmp_path, 10**6, dtype=dtype)
    for i in range(6):
        cache.put(str(i), tokens(i))
    for i in range(6):
        found = cache.get(str(i))
        assert found.dtype == dtype
        assert torch.equal(found.float(), tokens(i))
    assert cache.memory_used <= BYTES
    assert cache.disk_used == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_files_are_bounded_too(tmp_path):
    cache = TrunkCache(0, tmp_path, 3 * (BYTES + 128))
    for i in range(5):
        cache.put(str(i), tokens(i))
        cache.get("0")
    assert [str(i) in cache for i in range(5)] == [True, False, False, True, True]
    assert len(list(tmp_path.iterdir())) == 3
    assert cache.disk_used <= 3 * (BYTES + 128)


def test_a_later_run_finds_the_files_and_bounds_them(tmp_path):
    first = TrunkCache(0, tmp_path, 10**6)
    for i in range(4):
        first.put(str(i), tokens(i))
    (tmp_path / ".writing-0123.npy").write_bytes(b"cut off")
    again = TrunkCache(0, tmp_path, 10**6)
    assert torch.equal(again.get("2"), tokens(2))
    assert not (tmp_path / ".writing-0123.npy").exists()
    smaller = TrunkCache(0, tmp_path, 2 * (BYTES + 128))
    assert len(smaller) == 2
    assert len(list(tmp_path.iterdir())) == 2
    # Of another precision they are others' files.
    assert len(TrunkCache(0, tmp_path, 10**6, dtype=torch.float16)) == 0


@pytest.mark.parametrize("damage", [b"", b"not an array", None])
def test_a_damaged_file_is_made_again(damage, tmp_path):
    cache = TrunkCache(0, tmp_path, 10**6)
    cache.put("a", tokens(1))
    (path,) = tmp_path.iterdir()
    if damage is None:
        path.write_bytes(path.read_bytes()[:-10])
    else:
        path.write_bytes(damage)
    assert cache.get("a") is None
    cache.put("a", tokens(1))
    assert torch.equal(cache.get("a"), tokens(1))


def test_a_full_disk_ends_writing_and_says_so(tmp_path, monkeypatch):
    cache = TrunkCache(0, tmp_path, 10**6)
    cache.put("a", tokens(1))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    cache.put("b", tokens(2))
    monkeypatch.undo()
    cache.put("c", tokens(3))
    assert len(cache.notes) == 1
    assert "No space left" in cache.notes[0]
    assert torch.equal(cache.get("a"), tokens(1))
    assert cache.get("b") is None
    assert cache.get("c") is None
    assert len(list(tmp_path.iterdir())) == 1


def test_an_entry_does_not_keep_its_batch_alive():
    cache = TrunkCache(10**6)
    batch = torch.zeros(100, 4, 6)
    cache.put("a", batch[0])
    assert cache.get("a").untyped_storage().nbytes() == BYTES
    batch += 1
    assert not cache.get("a").any()


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match="float32, float16 or bfloat16"):
        TrunkCache(1, dtype=torch.int8)
