"""What the cache keeps, where, and what it gives up."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from napari_eomt.inference.trunk_cache import TrunkCache, open_trunk_cache
from napari_eomt.inference.trunk_files import HEADER_BYTES
from napari_eomt.settings import cache_dir

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
    cache = TrunkCache(0, tmp_path, 3 * (BYTES + HEADER_BYTES))
    for i in range(5):
        cache.put(str(i), tokens(i))
        cache.get("0")
    assert [str(i) in cache for i in range(5)] == [True, False, False, True, True]
    assert len(list(tmp_path.iterdir())) == 3
    assert cache.disk_used <= 3 * (BYTES + HEADER_BYTES)


def test_a_later_run_finds_the_files_and_bounds_them(tmp_path):
    first = TrunkCache(0, tmp_path, 10**6)
    for i in range(4):
        first.put(str(i), tokens(i))
    for name, age in (("old", 7200), ("young", 0)):
        partial = tmp_path / f".writing-{name}.tokens"
        partial.write_bytes(b"cut off")
        os.utime(partial, (partial.stat().st_mtime - age,) * 2)
    again = TrunkCache(0, tmp_path, 10**6)
    assert torch.equal(again.get("2"), tokens(2))
    # Somebody else may be writing the younger one.
    assert [path.name for path in tmp_path.glob(".writing*")] == [".writing-young.tokens"]
    (tmp_path / ".writing-young.tokens").unlink()
    smaller = TrunkCache(0, tmp_path, 2 * (BYTES + HEADER_BYTES))
    assert len(smaller) == 2
    assert len(list(tmp_path.iterdir())) == 2


def cut_off(content):
    return content[:-10]


def turned(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"not an array, though long enough for a header",
        cut_off,
        lambda content: content + b"more",
        lambda content: turned(content, -BYTES // 2),
        *(lambda content, at=at: turned(content, at) for at in (0, 4, 8, 12, 16)),
    ],
)
def test_a_damaged_file_is_made_again(damage, tmp_path):
    cache = TrunkCache(0, tmp_path, 10**6)
    cache.put("a", tokens(1))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get("a") is None
    assert not path.exists()
    assert cache.disk_used == 0
    cache.put("a", tokens(1))
    assert torch.equal(cache.get("a"), tokens(1))


def test_what_is_durable_is_in_files_at_once_and_in_memory(tmp_path):
    cache = TrunkCache(10**6, tmp_path, 10**6, dtype=None, is_durable=True)
    cache.put("a", tokens(1))
    cache.put("half", tokens(2).half())
    cache.flush()
    other = TrunkCache(10**6, tmp_path, 10**6, dtype=None, is_durable=True)
    for one in (cache, other):
        assert torch.equal(one.get("a"), tokens(1))
        assert torch.equal(one.get("half"), tokens(2).half())
    assert cache.memory_used == BYTES * 3 // 2
    cache.release_memory()
    assert cache.memory_used == 0
    assert torch.equal(cache.get("a"), tokens(1))


def test_files_of_others_are_found_and_bounded_together(tmp_path):
    bound = 8 * (BYTES + HEADER_BYTES)
    one, other = (TrunkCache(0, tmp_path, bound) for _ in range(2))
    one.put("a", tokens(1))
    assert torch.equal(other.get("a"), tokens(1))
    for i in range(40):
        (one, other)[i % 2].put(str(i), tokens(i))
    # Each looks at the folder after an eighth of the bound.
    assert len(list(tmp_path.iterdir())) <= 10
    assert torch.equal(one.get("39"), tokens(39))


def test_a_job_does_not_push_out_its_own(tmp_path):
    cache = TrunkCache(0, tmp_path, 3 * (BYTES + HEADER_BYTES))
    cache.put("old", tokens(0))
    cache.begin_job()
    for i in range(5):
        cache.put(str(i), tokens(i))
    assert [str(i) in cache for i in range(5)] == [True, True, True, False, False]
    assert "old" not in cache
    cache.begin_job()
    cache.put("new", tokens(0))
    assert "new" in cache


def test_files_that_may_not_replace_others_take_what_is_free(tmp_path):
    bound = 3 * (BYTES + HEADER_BYTES)
    TrunkCache(0, tmp_path, bound).put("old", tokens(0))
    cache = TrunkCache(0, tmp_path, bound, may_replace=False)
    for i in range(4):
        cache.put(str(i), tokens(i))
    assert [key in cache for key in ("old", "0", "1", "2", "3")] == [True] * 3 + [False] * 2


def test_zero_is_off(tmp_path):
    assert open_trunk_cache(0) is None
    assert not cache_dir().joinpath("trunk").exists()
    opened = open_trunk_cache(10**6)
    opened.put("a", tokens(1))
    opened.flush()
    assert len(list((cache_dir() / "trunk").iterdir())) == 1


def test_a_folder_that_cannot_be_made_leaves_memory(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = TrunkCache(10**6, tmp_path / "file", 10**6)
    cache.put("a", tokens(1))
    assert cache.get("b") is None
    assert torch.equal(cache.get("a"), tokens(1))
    assert len(cache.notes) == 1


def test_a_full_disk_ends_writing_and_says_so(tmp_path, monkeypatch):
    cache = TrunkCache(0, tmp_path, 10**6)
    cache.put("a", tokens(1))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
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
