import csv
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.tiny_models import save_tiny
from typer.testing import CliRunner

from napari_eomt.cli import track_job
from napari_eomt.cli.main import app
from napari_eomt.errors import OutputError
from napari_eomt.evaluation.video import evaluate_tracks
from napari_eomt.formats.coco_file import load_coco
from napari_eomt.formats.ytvis import read_video
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.video import VideoTracker, iter_video
from napari_eomt.models.load import load_segmenter
from napari_eomt.synthetic import moving_objects


@pytest.fixture(scope="module")
def clip():
    return moving_objects(8, (96, 120), 4, seed=5)[0]


@pytest.fixture(scope="module")
def video_model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("video") / "m", "videomt")


@pytest.fixture
def stack(clip, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "cells.tif", clip, photometric="minisblack", metadata={"axes": "TYX"})
    return folder / "cells.tif"


def run(*args):
    return CliRunner().invoke(app, ["track", *map(str, args), "--device", "cpu"])


def errors(result):
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_stack_gives_labels_and_a_table(stack, clip, tmp_path):
    out = tmp_path / "out"
    result = run(stack, "--out", out, "--model", "nuclei-nano", "--max-gap", 3, "--min-area", 9)
    assert result.exit_code == 0, result.stderr
    labels = tifffile.imread(out / "cells.tif")
    found = iter_video(clip, load_segmenter("nuclei-nano", device="cpu"), max_gap=3, min_area=9)
    np.testing.assert_array_equal(labels, [one.id_map for one in found])
    with tifffile.TiffFile(out / "cells.tif") as tiff:
        assert tiff.series[0].axes == "TYX"
    rows = rows_of(out / "cells.csv")
    there = {(t, i) for t, one in enumerate(labels) for i in np.unique(one) if i}
    assert {(int(row["frame"]), int(row["track_id"])) for row in rows} == there
    for row in rows:
        assert int(row["area"]) == (labels[int(row["frame"])] == int(row["track_id"])).sum()
    # What a track is said to be is said in all of its frames.
    assert len({(row["track_id"], row["score"], row["category"]) for row in rows}) == len(
        {row["track_id"] for row in rows}
    )
    n_tracks = len({row["track_id"] for row in rows})
    assert f"{n_tracks} tracks in 8 frames" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == ["cells.csv", "cells.tif"]


def test_all_formats_say_the_same(clip, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for t, frame in enumerate(clip):
        Image.fromarray(frame).save(folder / f"{t}.png")
    out = tmp_path / "out"
    result = run(
        folder, "--out", out, "--format", "tiff,csv,ctc,ytvis", "--frames", "1:7", "--json"
    )
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["n_frames"] == 6
    assert {Path(path).name for path in said["results"].values()} == {
        "frames.tif", "frames.csv", "frames_RES", "frames.json",
    }  # fmt: skip
    labels = tifffile.imread(out / "frames.tif")
    file = load_coco(out / "frames.json")
    assert file.videos[0]["file_names"] == [f"{t}.png" for t in range(1, 7)]
    document = read_video(file, 1, origin_path=out / "frames.json")
    np.testing.assert_array_equal(document.id_maps, labels)
    assert said["n_tracks"] == len(file.annotations) == len({*np.unique(labels)} - {0})
    challenge = [tifffile.imread(path) for path in sorted((out / "frames_RES").glob("mask*.tif"))]
    np.testing.assert_array_equal(np.array(challenge) > 0, labels > 0)
    assert (out / "frames_RES" / "res_track.txt").exists()


def test_a_video_model_follows_its_queries(stack, clip, video_model, tmp_path):
    options = ("--score-threshold", 0.05, "--overlap-threshold", 0)
    result = run(stack, "--out", tmp_path / "out", "--model", video_model, *options)
    assert result.exit_code == 0, result.stderr
    params = PredictParams(score_threshold=0.05, overlap_threshold=0)
    found = iter_video(clip, load_segmenter(video_model, device="cpu"), params)
    labels = tifffile.imread(tmp_path / "out" / "cells.tif")
    np.testing.assert_array_equal(labels, [one.id_map for one in found])
    assert labels.max() > 1


@pytest.mark.skipif(find_spec("av") is None, reason="av, of the extra video, is missing")
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_film(clip, tmp_path, name):
    import imageio.v3 as iio

    frames = np.repeat(clip[..., None], 3, -1)
    iio.imwrite(tmp_path / name, frames, plugin="pyav", codec="libx264", fps=10)
    result = run(tmp_path / name, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert tifffile.imread(tmp_path / "out" / "film.tif").shape == (8, 96, 120)


@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_run_that_was_stopped_goes_on_bit_equal(stack, video_model, tmp_path, monkeypatch, at):
    whole, out = tmp_path / "whole", tmp_path / "out"
    options = ("--model", video_model, "--score-threshold", 0.05, "--overlap-threshold", 0)
    options += ("--format", "tiff,csv,ytvis")
    assert run(stack, "--out", whole, *options).exit_code == 0
    real = VideoTracker.iter_frame
    n_begun = 0

    def stops(self, *args, **kwargs):
        nonlocal n_begun
        n_begun += 1
        if n_begun > at:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    def fails(*args, **kwargs):
        raise OutputError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(VideoTracker, "iter_frame", stops)
        if at == 8:  # all frames are done, and the results cannot be written
            patch.setattr(track_job, "write_results", fails)
        result = run(stack, "--out", out, *options)
    assert result.exit_code == (2 if at == 8 else 130)
    assert not [path for path in out.iterdir() if not path.name.startswith(".")]
    again = run(stack, "--out", out, *options)
    assert again.exit_code == 2
    assert "Go on with --resume" in errors(again)[0]
    other = run(stack, "--out", out, *options, "--resume", "--min-area", 5)
    assert other.exit_code == 2
    assert "another min_area" in errors(other)[0]
    other = run(stack, "--out", out, *options, "--resume", "--frames", "0:3")
    assert other.exit_code == 2
    assert "another frames: all" in errors(other)[0]
    result = run(stack, "--out", out, *options, "--resume")
    assert result.exit_code == 0, result.stderr
    assert f"goes on from frame {at}" in result.stderr
    for name in ("cells.csv", "cells.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    labels, expected = (tifffile.imread(folder / "cells.tif") for folder in (out, whole))
    np.testing.assert_array_equal(labels, expected)
    assert labels.max() > 1
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a child")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_goes_on(sent, tmp_path):
    clip = moving_objects(30, (96, 120), 4, seed=5)[0]
    np.save(tmp_path / "a.npy", clip)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "napari_eomt.cli.main", "track", str(tmp_path / "a.npy")]
    child = subprocess.Popen(
        [*command, "--out", str(out), "--device", "cpu", "--save-every", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that put the tests into the background has them ignore Ctrl-C; children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (out / ".a.tracking" / "state.safetensors").exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(sent)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == (130 if sent == signal.SIGINT else -signal.SIGKILL), stderr
    assert "Traceback" not in stderr
    assert [path.name for path in out.iterdir()] == [".a.tracking"]
    result = run(tmp_path / "a.npy", "--out", out, "--resume")
    assert result.exit_code == 0, result.stderr
    assert "goes on from frame" in result.stderr
    found = iter_video(clip, load_segmenter("nuclei-nano", device="cpu"))
    np.testing.assert_array_equal(tifffile.imread(out / "a.tif"), [f.id_map for f in found])
    assert sorted(path.name for path in out.iterdir()) == ["a.csv", "a.tif"]


def test_results_that_are_there_are_left(stack, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "cells.tif").write_text("a")
    (out / "cells.csv").write_text("b")
    result = run(stack, "--out", out, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["skipped"] is True
    assert (out / "cells.tif").read_text() == "a"
    (out / "cells_RES").mkdir()
    result = run(stack, "--out", out, "--format", "tiff,ctc", "--frames", "0:1")
    assert "skipped" in result.stderr
    result = run(stack, "--out", out, "--format", "ctc,ytvis", "--frames", "0:1")
    assert result.exit_code == 2
    assert "--overwrite" in errors(result)[0]
    assert run(stack, "--out", out, "--frames", "0:2", "--overwrite", "-q").exit_code == 0
    assert tifffile.imread(out / "cells.tif").shape == (2, 96, 120)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "tif"], "no format tif"),
        (["--format", ","], "no format"),
        (["--max-gap", "-1"], "--max-gap -1: Input should be greater"),
        (["--iou-threshold", "much"], "--iou-threshold much"),
        (["--score-threshold", "2"], "--score-threshold 2"),
        (["--frames", "20:30"], "frames 20:30 were asked for, but it has 8"),
        (["--axes", "CYX"], ""),
        (["--model", "nix"], "nix"),
    ],
)
def test_what_makes_no_sense_is_one_line(stack, tmp_path, options, message):
    result = run(stack, "--out", tmp_path / "out", *options)
    if options[0] == "--axes":  # one frame of channels is a video of one frame
        assert result.exit_code in (0, 2)
        return
    assert result.exit_code == 2
    assert len(errors(result)) == 1
    assert message in errors(result)[0]


def test_bad_frames_are_named_and_the_others_kept(clip, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for t, frame in enumerate(clip[:3]):
        np.save(folder / f"{t}.npy", frame)
    np.save(folder / "1.npy", clip[1, :50])
    result = run(folder, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "frame 1: The frame is (50, 120) px" in errors(result)[0]
    np.save(folder / "1.npy", clip[1])
    result = run(folder, "--out", tmp_path / "out", "--resume")
    assert result.exit_code == 0, result.stderr
    assert "goes on from frame 1" in result.stderr
    result = run(tmp_path / "nix", "--out", tmp_path / "out")
    assert (result.exit_code, "no such file" in errors(result)[0]) == (2, True)


def test_help_has_both_kinds_of_params():
    shown = CliRunner().invoke(app, ["track", "--help"], env={"COLUMNS": "200"}).stdout
    for name in (*PredictParams.model_fields, *TrackParams.model_fields, "resume", "save_every"):
        assert f"--{name.replace('_', '-')}" in shown


def test_a_real_film_of_two_children(data_dir, video_model, tmp_path):
    folder = data_dir / "video_bedroom" / "frames"
    if not folder.is_dir():
        pytest.skip("video_bedroom is not there")
    options = ("--frames", "0:3", "--model", video_model, "--score-threshold", 0.05)
    result = run(folder, "--out", tmp_path, *options, "--format", "tiff,csv,ytvis")
    assert result.exit_code == 0, result.stderr
    labels = tifffile.imread(tmp_path / "frames.tif")
    assert labels.shape == (3, 540, 960)
    shared = [set(np.unique(one)) - {0} for one in labels]
    assert shared[0] & shared[1] & shared[2]


def test_real_cells(data_dir, tmp_path):
    folder = data_dir / "tracks" / "t98g_left"
    if not folder.is_dir():
        pytest.skip("tracks/t98g_left is not there")
    result = run(
        folder / "frames", "--out", tmp_path, "--frames", "0:4", "--max-gap", 3,
        "--object-size", 25, "--looks", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    labels = tifffile.imread(tmp_path / "frames.tif")
    truth = tifffile.imread(folder / "tracks.tif")[:4]
    report = evaluate_tracks(list(truth), list(labels))
    assert labels.shape == truth.shape
    assert report is not None
