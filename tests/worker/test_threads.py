"""How many threads the models get."""

from __future__ import annotations

import pytest

from napari_eomt.worker import threads


@pytest.mark.parametrize(
    ("cores", "asked", "expected"),
    [(1, "", 1), (2, "", 1), (4, "", 3), (64, "", 8), (64, "2", 2), (2, "16", 1), (4, "x", 3)],
)
def test_a_core_is_left_to_the_window(monkeypatch, cores, asked, expected):
    monkeypatch.setattr(threads, "_n_cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert threads.default_threads() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", None), ("150000 100000", 2), ("10000 100000", 1), ("nonsense", None)],
)
def test_the_quota_of_a_container_counts(tmp_path, text, expected):
    path = tmp_path / "cpu.max"
    path.write_text(text)
    assert threads._quota(path) == expected
    assert threads._quota(tmp_path / "none") is None
