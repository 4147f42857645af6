from __future__ import annotations

import json
import time

import pytest

from napari_eomt.errors import ModelError
from napari_eomt.widgets.child_program import CancelledError, run_program


def test_a_child_process_converts(tiny_original, tmp_path):
    run_program(["convert", str(tiny_original), "--out", str(tmp_path / "m")], lambda: False)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "eomt"


def test_what_a_child_process_says_is_the_error(tmp_path):
    with pytest.raises(ModelError, match="There is no model 'nix'") as caught:
        run_program(["models", "nix"], lambda: False)
    assert "error:" not in str(caught.value)
    with pytest.raises(ModelError, match=r"ended with code 2.*No such command"):
        run_program(["nix"], lambda: False)


def test_a_child_process_is_stopped(tiny_original, tmp_path):
    start = time.monotonic()
    with pytest.raises(CancelledError):
        run_program(
            ["convert", str(tiny_original), "--out", str(tmp_path / "m")],
            lambda: time.monotonic() - start > 0.3,
        )
    assert time.monotonic() - start < 3
    assert not (tmp_path / "m").exists()
