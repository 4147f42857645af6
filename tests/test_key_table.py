"""The page of keys says what the keys do."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from napari_eomt.viewer.keymap import ACTIONS


def test_the_page_of_keys_is_the_table_of_actions():
    path = Path(__file__).parents[1] / "scripts" / "make_key_table.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.page()
    assert script.PAGE.read_text(encoding="utf-8") == page, "Run scripts/make_key_table.py"
    for action in ACTIONS:
        assert action.name.startswith("category_") or all(f"**{k}**" in page for k in action.keys)
    assert "| **Y** | Learn… |" in page
