from __future__ import annotations

import json
import logging
import shutil
from datetime import date

import pytest
from tests.tiny_models import save_tiny

from napari_eomt.errors import ModelError, OutputError
from napari_eomt.models.user_models import (
    add_user_model,
    models_file,
    remove_user_model,
    rename_user_model,
    user_models,
)


@pytest.fixture
def folder(tmp_path):
    return save_tiny(tmp_path / "cells")


def test_added_models_are_remembered(folder, tmp_path):
    assert user_models() == {}
    row = add_user_model(folder, note="of the second microscope")
    assert (row.name, row.folder, row.added) == ("cells", folder, date.today())
    other = add_user_model(save_tiny(tmp_path / "other"), "my own")
    assert list(user_models().values()) == [row, other]
    assert json.loads(models_file().read_text())["version"] == 1


def test_adding_a_folder_again_changes_nothing(folder):
    row = add_user_model(folder, "a")
    assert add_user_model(folder) == row
    assert add_user_model(folder / ".." / "cells", "a") == row
    with pytest.raises(ModelError, match="already there as 'a'"):
        add_user_model(folder, "b")
    assert list(user_models()) == ["a"]


def test_a_default_name_is_free(tmp_path):
    names = [add_user_model(save_tiny(tmp_path / k / "cells")).name for k in "abc"]
    assert names == ["cells", "cells-2", "cells-3"]
    assert add_user_model(save_tiny(tmp_path / "nuclei-nano")).name == "nuclei-nano-2"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nuclei-nano", "taken by a bundled"),
        ("EoMT-large-coco-panoptic-640", "taken by a published"),
        ("Cells", "taken by one of your"),
        ("", "1 to 100 printable"),
        (" a", "without spaces"),
        ("a\nb", "printable"),
        ("a/b", "has no /"),
        ("a\\b", "has no /"),
        ("--all", "does not begin with"),
        (".", "does not begin with"),
    ],
)
def test_names_that_cannot_be_are_one_clear_error(name, message, folder, tmp_path):
    add_user_model(save_tiny(tmp_path / "x"), "cells")
    for change in (
        lambda: add_user_model(folder, name),
        lambda: rename_user_model(add_user_model(folder, "b").name, name),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            change()
        assert "\n" not in str(caught.value)
    assert set(user_models()) == {"cells", "b"}


def test_only_models_are_added(tmp_path):
    with pytest.raises(ModelError, match="this is not a model"):
        add_user_model(tmp_path)
    assert not models_file().exists()


def test_models_are_renamed_and_forgotten(folder, tmp_path):
    first = add_user_model(folder, note="n")
    second = add_user_model(save_tiny(tmp_path / "b"))
    renamed = rename_user_model("cells", "Cells")  # only the case: no clash with itself
    assert renamed == first.model_copy(update={"name": "Cells"})
    assert list(user_models()) == ["Cells", "b"]
    assert remove_user_model("Cells") == renamed
    assert list(user_models().values()) == [second]
    assert (folder / "config.json").is_file()
    with pytest.raises(ModelError, match="no model 'Cells': expected one of b"):
        remove_user_model("Cells")


def test_a_missing_folder_stays_in_the_list(folder):
    add_user_model(folder)
    shutil.move(folder, folder.with_name("away"))
    assert user_models()["cells"].is_missing
    shutil.move(folder.with_name("away"), folder)
    assert not user_models()["cells"].is_missing


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"models": [{"name": "a"}]}', '{"colour": 1}', '{"models": 3}', "\x00\xff"],
)
def test_a_damaged_file_is_set_aside(content, folder, caplog):
    models_file().parent.mkdir(parents=True, exist_ok=True)
    models_file().write_bytes(content.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert user_models() == {}
    assert "set aside as models.json.bad" in caplog.text
    bad = models_file().with_name("models.json.bad")
    assert bad.read_bytes() == content.encode("latin-1")
    add_user_model(folder)
    assert list(user_models()) == ["cells"]


def test_the_file_of_a_newer_version_is_left_alone(folder, caplog):
    models_file().parent.mkdir(parents=True, exist_ok=True)
    content = '{"version": 2, "models": {"a": {}}}'
    models_file().write_text(content)
    with caplog.at_level(logging.WARNING):
        assert user_models() == {}
    assert "newer version" in caplog.text
    with pytest.raises(OutputError, match="newer version"):
        add_user_model(folder)
    assert models_file().read_text() == content


def test_a_list_that_cannot_be_written_is_one_clear_error(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAPARI_EOMT_CONFIG_DIR", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written"):
        add_user_model(folder)
