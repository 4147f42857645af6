import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_eomt.cli import predict_job
from napari_eomt.cli.main import app
from napari_eomt.errors import OutputError


def discs(n=3, size=96):
    """Draw an image of bright discs, about as large as the model likes."""
    y, x = np.mgrid[:size, :size]
    image = np.full((size, size), 20, np.uint8)
    for k in range(n):
        image[(y - 20 - 26 * k) ** 2 + (x - 20 - 22 * k) ** 2 < 100] = 200
    return image


@pytest.fixture
def image(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "discs.tif", discs())
    return folder / "discs.tif"


def run(*args):
    return CliRunner().invoke(app, ["predict", *map(str, args), "--device", "cpu"])


def errors(result):
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


def test_an_image_gives_labels_and_a_table(image, tmp_path):
    out = tmp_path / "out"
    result = run(image, "--out", out, "--model", "nuclei-nano", "--task", "instance")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    labels = tifffile.imread(out / "discs.tif")
    assert (labels.shape, labels.dtype) == ((96, 96), np.uint16)
    with (out / "discs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(1, labels.max() + 1))
    for row in rows:
        assert int(row["area"]) == (labels == int(row["id"])).sum()
    assert f"{len(rows)} segments" in result.stdout
    # The three discs are there, whatever else a nano model finds.
    assert all(labels[20 + 26 * k, 20 + 22 * k] > 0 for k in range(3))


def test_json_is_a_line_an_image(image, tmp_path):
    (image.parent / "bad.png").write_text("no image")
    result = run(image.parent, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 2
    bad, good = map(json.loads, result.stdout.splitlines())
    assert bad["image"].endswith("bad.png")
    assert "error" in bad
    assert (good["n_frames"], good["image"]) == (1, str(image))
    assert set(good) >= {"labels", "table", "n_segments", "n_tiles", "n_full_tiles", "seconds"}


def test_bad_images_are_a_line_each_and_the_others_are_done(image, tmp_path):
    folder = image.parent
    (folder / "text.png").write_text("no image")
    content = image.read_bytes()
    (folder / "cut.tif").write_bytes(content[: len(content) // 2])
    np.save(folder / "nan.npy", np.full((20, 20), np.nan))
    np.save(folder / "complex.npy", np.ones((20, 20), complex))
    result = run(folder, folder / "nix.png", "--out", tmp_path / "out")
    assert result.exit_code == 2
    said = errors(result)
    assert len(said) == 5
    for name in ("text.png", "cut.tif", "nan.npy", "complex.npy", "nix.png"):
        assert sum(str(folder / name) in line for line in said) == 1
    lines = result.stderr.splitlines()
    assert lines[-1] == "1 of 6 images segmented, 5 failed"
    assert len(lines) == 6
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["discs.csv", "discs.tif"]


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((5, 20, 30, 3), "YXC", "YXC are 3, but the image has 4"),
        ((5, 20, 30, 3), "ZZYX", "no axis twice"),
        ((20, 30, 3), "ABC", "Y and X"),
    ],
)
def test_axes_that_do_not_fit(shape, axes, message, tmp_path):
    np.save(tmp_path / "a.npy", np.ones(shape, np.uint8))
    result = run(tmp_path / "a.npy", "--out", tmp_path / "out", "--axes", axes)
    assert result.exit_code == 2
    assert message in errors(result)[0]


def test_channels_first_by_name_and_the_note_without(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([discs()] * 3))
    result = run(tmp_path / "a.npy", "--out", tmp_path / "out")
    assert "--axes CYX" in result.stderr
    assert tifffile.imread(tmp_path / "out" / "a.tif").shape == (3, 96, 96)
    result = run(tmp_path / "a.npy", "--out", tmp_path / "o2", "--axes", "CYX", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert tifffile.imread(tmp_path / "o2" / "a.tif").shape == (96, 96)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score-threshold", "2"], "--score-threshold 2: Input should be less"),
        (["--score-threshold", "high"], "--score-threshold high"),
        (["--task", "all"], "instance|semantic|panoptic"),
        (["--task", "semantic"], "semantic"),
        (["--channels", "0,1"], "one or three"),
        (["--contrast", "limits"], "contrast_limits"),
        (["--percentiles", "90,10"], "must rise"),
        (["--object-size", "0"], "above 0"),
        (["--model", "nix"], "no model 'nix'"),
        (["--model", "."], "config.json is missing"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_options_that_make_no_sense_are_one_line(options, message, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ["predict", str(image), "--out", str(tmp_path / "out"), *options]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) <= 2
    assert "Traceback" not in result.stderr


def test_what_is_there_is_skipped(image, tmp_path):
    out = tmp_path / "out"
    run(image, "--out", out)
    before = (out / "discs.tif").stat().st_mtime_ns
    result = run(image, "--out", out)
    assert (result.exit_code, (out / "discs.tif").stat().st_mtime_ns) == (0, before)
    assert "--overwrite" in result.stderr
    result = run(image, "--out", out, "--overwrite")
    assert (out / "discs.tif").stat().st_mtime_ns > before


def test_frames_and_contrast_limits(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([discs(k).astype(np.uint16) for k in (1, 2, 3, 1)]))
    result = run(
        *[tmp_path / "a.npy", "--out", tmp_path / "out", "--frames", "1:3", "--json"],
        *["--contrast-limits", "0,300"],
    )
    assert json.loads(result.stdout)["n_frames"] == 2
    result = run(tmp_path / "a.npy", "--out", tmp_path / "out", "--frames", "9", "--overwrite")
    assert result.exit_code == 2
    assert "it has 4" in errors(result)[0]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(image, tmp_path):
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    result = run(image, "--out", out)
    assert result.exit_code == 2
    assert "cannot be written" in errors(result)[0]


def test_a_folder_that_cannot_be_written_is_said_before_the_model_loads(
    image, tmp_path, monkeypatch
):
    def refuse(_out):
        raise OutputError("results cannot be written there")

    monkeypatch.setattr(predict_job, "check_writable", refuse)
    monkeypatch.setattr(predict_job, "open_segmenter", None)
    result = run(image, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert errors(result) == ["error: results cannot be written there"]


def test_a_full_disk_stops_and_says_so(image, tmp_path, monkeypatch):
    tifffile.imwrite(image.parent / "e.tif", discs())
    monkeypatch.setattr(
        "os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    result = run(image.parent, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert len(errors(result)) == 1
    assert "No space left" in errors(result)[0]
    assert "0 of 2 images segmented" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_full_tiles_are_said(image, tmp_path, monkeypatch):
    original = predict_job.iter_segment_file

    def full(*args):
        from dataclasses import replace

        return replace((yield from original(*args)), n_tiles=48, n_full_tiles=3)

    monkeypatch.setattr(predict_job, "iter_segment_file", full)
    result = run(image, "--out", tmp_path / "out")
    assert "3 of 48 tiles use over 80 % of the queries" in result.stderr


def test_debug_shows_the_traceback(tmp_path):
    result = run(tmp_path / "nix", "--out", tmp_path / "out", "--model", "nix", "--debug")
    assert result.exit_code == 2  # nothing to do is not unexpected
    (tmp_path / "a.png").write_text("")
    result = run(tmp_path / "a.png", "--out", tmp_path / "out", "--debug")
    assert result.exit_code == 1
    assert "cannot be read" in str(result.exception) or "not an image" in str(result.exception)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a child")
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_ctrl_c_keeps_what_is_finished_and_nothing_else(sent, code, tmp_path):
    stack = np.stack([discs()] * 400)
    np.save(tmp_path / "a.npy", stack[:1])
    np.save(tmp_path / "b.npy", stack)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "napari_eomt.cli.main", "predict", "--out", str(out)]
    child = subprocess.Popen(
        [*command, str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that put the tests into the background has them ignore Ctrl-C; children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 90
    while not (out / "a.csv").exists() or not list(out.glob(".writing*")):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(sent)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == code, stderr
    assert sorted(path.name for path in out.iterdir()) == ["a.csv", "a.tif"]
    assert "1 of 2 images segmented" in stderr
    assert "Traceback" not in stderr
