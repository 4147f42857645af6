import json
import logging
import os
import subprocess
import sys

import pytest

from napari_eomt.errors import OutputError, SettingsError
from napari_eomt.settings import (
    Settings,
    config_dir,
    load_settings,
    save_settings,
    settings_file,
)


def test_nothing_there_gives_defaults_and_writes_nothing(monkeypatch):
    assert load_settings() == Settings()
    assert not settings_file().exists()
    monkeypatch.delenv("NAPARI_EOMT_CONFIG_DIR")
    assert config_dir().name == "napari-eomt"


def test_file_goes_before_defaults_and_environment_before_file(monkeypatch):
    settings = Settings().model_copy(
        update={"device": "cpu", "compiled": ("a",), "predict": {"min_area": 3}}
    )
    save_settings(settings)
    assert load_settings() == settings
    monkeypatch.setenv("NAPARI_EOMT_DEVICE", "cuda:1")
    monkeypatch.setenv("NAPARI_EOMT_INPUT_SIZES", json.dumps({"nuclei-nano": 64}))
    read = load_settings()
    assert (read.device, read.input_sizes) == ("cuda:1", {"nuclei-nano": 64})
    assert read.predict == {"min_area": 3}
    # The environment is of this start: it does not reach the file, other changes do.
    save_settings(read.model_copy(update={"dtype": "bf16"}))
    stored = json.loads(settings_file().read_text())
    assert (stored["device"], stored["dtype"]) == ("cpu", "bf16")
    # A choice against the environment does.
    save_settings(read.model_copy(update={"device": "mps"}))
    assert json.loads(settings_file().read_text())["device"] == "mps"


def test_unknown_keys_are_kept():
    settings_file().parent.mkdir(exist_ok=True)
    settings_file().write_text('{"device": "cpu", "from_the_future": [1]}')
    save_settings(load_settings())
    assert json.loads(settings_file().read_text())["from_the_future"] == [1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe\x00",
        b'{"proposals_bytes": -1}',
        b'{"dtype": "fp8"}',
        b'{"predict": 3}',
        b'{"device": null}',
        b'{"input_sizes": {"nuclei-nano": 0}}',
        b"null",
    ],
)
def test_a_damaged_file_is_set_aside_with_one_line(content, caplog):
    path = settings_file()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert load_settings() == Settings()
    assert path.with_name("settings.json.bad").read_bytes() == content
    assert not path.exists()
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "settings.json.bad" in record.getMessage()
    save_settings(Settings())
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROPOSALS_BYTES", "many"),
        ("DTYPE", "fp8"),
        ("INPUT_SIZES", "not json"),
        ("PREDICT", "[1]"),
    ],
)
def test_a_bad_environment_is_an_error_and_the_file_stays(name, value, monkeypatch):
    save_settings(Settings())
    monkeypatch.setenv(f"NAPARI_EOMT_{name}", value)
    with pytest.raises(SettingsError, match="environment"):
        load_settings()
    assert settings_file().exists()


def test_saving_is_whole_or_not_at_all(monkeypatch):
    save_settings(Settings())
    before = settings_file().read_bytes()

    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save_settings(Settings().model_copy(update={"device": "cpu"}))
    assert settings_file().read_bytes() == before
    assert [p.name for p in config_dir().iterdir()] == ["settings.json"]


def test_a_folder_that_is_a_file_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAPARI_EOMT_CONFIG_DIR", str(tmp_path / "file"))
    assert load_settings() == Settings()
    with pytest.raises(OutputError, match="NAPARI_EOMT_CONFIG_DIR"):
        save_settings(Settings())


def test_settings_need_neither_torch_nor_the_rest():
    code = (
        "import sys, napari_eomt.settings; "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', 'napari')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
