"""Proposals kept within a number of bytes."""

from __future__ import annotations

from dataclasses import dataclass

from napari_eomt.worker.kept import Kept, Recent


@dataclass
class Item:
    nbytes: int


def test_the_least_recently_used_goes_first():
    kept: Kept[Item] = Kept(100)
    for frame in range(3):
        kept.put("a", frame, Item(30))
    assert kept.get("a", 0) is not None
    kept.put("b", 0, Item(40))
    assert [kept.get("a", frame) is not None for frame in range(3)] == [True, False, True]
    assert kept.nbytes == 100


def test_a_frame_has_one_entry_and_large_ones_are_not_kept():
    kept: Kept[Item] = Kept(100)
    kept.put("a", 0, Item(60))
    kept.put("a", 0, Item(70))
    assert kept.nbytes == 70
    kept.put("b", 0, Item(101))
    assert kept.get("b", 0) is None
    assert kept.get("a", 0) is not None
    # What was kept belongs to an older result than the one that cannot be kept.
    kept.put("a", 0, None)
    assert kept.get("a", 0) is None
    assert (kept.nbytes, len(kept)) == (0, 0)


def test_a_key_is_forgotten_with_all_its_frames():
    kept: Kept[Item] = Kept(100)
    for key in "ab":
        for frame in range(2):
            kept.put(key, frame, Item(10))
    kept.forget("a")
    kept.forget("unknown")
    assert (kept.nbytes, len(kept)) == (20, 2)


def test_what_was_used_long_ago_falls_out_and_nothing_is_held():
    recent: Recent[Item] = Recent(2)
    a, b, c, d = (Item(1) for _ in range(4))
    assert [recent.use(one) for one in (a, b, a)] == [[], [], []]
    (gone,) = recent.use(c)
    assert gone is b
    del a  # nobody else has it: it is no longer there to fall out
    assert recent.use(d) == []
    (gone,) = recent.use(b)
    assert gone is c
