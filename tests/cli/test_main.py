import subprocess
import sys

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_eomt import __version__
from napari_eomt.cli.main import app
from napari_eomt.inference.params import PredictParams


def run(*args):
    return CliRunner().invoke(app, list(args), terminal_width=200)


def test_version():
    assert run("--version").stdout.strip() == f"napari-eomt {__version__}"


@pytest.mark.parametrize("args", [["--help"], ["predict", "--help"], ["models"], ["--version"]])
def test_help_answers_without_torch_or_napari(args):
    code = (
        "import sys; from napari_eomt.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'napari', 'qtpy', 'zarr', 'dask', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, *args], check=True, capture_output=True)


def test_every_param_is_an_option_with_its_default_and_range():
    text = " ".join(run("predict", "--help").stdout.split())
    for name, field in PredictParams.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert field.description.split()[0] in text
    assert "NUMBER ≥0,≤1" in text
    assert "[default: 0.8]" in text
    assert "INT ≥0 px²" in text


def test_a_bad_setting_in_the_environment_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_EOMT_DTYPE", "fp8")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8))
    result = run("predict", str(tmp_path / "a.tif"), "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "NAPARI_EOMT_" in result.stderr


def test_demo_passes_its_option_on(monkeypatch, tmp_path):
    from napari_eomt.widgets import demo

    seen = []
    monkeypatch.setattr(demo, "run_demo", seen.append)
    assert run("demo", "--screenshot", str(tmp_path / "a.png")).exit_code == 0
    assert seen == [tmp_path / "a.png"]
