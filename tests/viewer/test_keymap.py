"""The table of actions, and keys that come and go with the dock."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.key_bindings import coerce_keybinding

from napari_eomt.viewer.keymap import ACTIONS, TAKEN_BY_NAPARI, KeyBindings


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((5, 5)), name="ours")
    viewer.add_image(np.zeros((5, 5)), name="other")
    return viewer


def press(owner, key):
    owner.keymap[coerce_keybinding(key)](owner)


def keys_of(owner):
    return {str(key) for key in owner.keymap}


def test_names_and_keys_are_unique_and_none_is_naparis():
    assert max(Counter(a.name for a in ACTIONS).values()) == 1
    keys = [key for action in ACTIONS for key in action.keys]
    assert max(Counter(keys).values()) == 1
    assert not set(keys) & TAKEN_BY_NAPARI
    # What cannot be read is bound to nothing.
    assert all(str(coerce_keybinding(key)) for key in keys)
    for action in ACTIONS:
        assert action.tooltip.endswith(".")
        assert action.keys
        assert action.keys[0] in action.hint


def test_keys_come_and_go(viewer):
    def mine(_):
        pass

    viewer.bind_key("Q", mine)
    viewer.bind_key("G", mine)
    ran = []
    keys = KeyBindings(viewer, ran.append)
    press(viewer, "A")
    press(viewer, "Shift+N")
    press(viewer, "G")
    assert ran == ["accept", "previous", "merge"]
    keys.close()
    assert keys_of(viewer) == {"Q", "G"}
    assert viewer.keymap[coerce_keybinding("G")] is mine


def test_undo_is_ours_only_with_a_layer_of_ours(viewer):
    ran = []
    keys = KeyBindings(viewer, ran.append)
    assert "Ctrl+Z" not in keys_of(viewer)
    keys.follow([viewer.layers["ours"]])
    press(viewer, "Ctrl+Z")
    assert ran == ["undo"]
    keys.follow([])
    assert "Ctrl+Z" not in keys_of(viewer)


def test_a_layers_own_key_is_ours_on_our_layers_only(viewer, monkeypatch):
    monkeypatch.setattr(Image, "class_keymap", {coerce_keybinding("C"): lambda layer: None})
    ran = []
    keys = KeyBindings(viewer, ran.append)
    keys.follow([viewer.layers["ours"]])
    press(viewer.layers["ours"], "C")
    assert ran == ["next_candidate"]
    assert keys_of(viewer.layers["ours"]) == {"C"}
    assert keys_of(viewer.layers["other"]) == set()
    keys.close()
    assert keys_of(viewer.layers["ours"]) == set()


def test_keys_of_a_tool_last_as_long_as_it(viewer):
    ran = []
    keys = KeyBindings(viewer, ran.append)
    keys.add({"Escape": lambda: ran.append("escape")})
    press(viewer, "Escape")
    keys.remove(["Escape"])
    assert ran == ["escape"]
    assert "Escape" not in keys_of(viewer)


def test_a_key_in_a_text_field_is_not_for_us(viewer):
    ran, typing = [], [True]
    KeyBindings(viewer, ran.append, lambda: typing[0])
    press(viewer, "D")
    assert ran == []
    typing[0] = False
    press(viewer, "D")
    assert ran == ["delete"]
