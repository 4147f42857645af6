import json
import signal
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tests.evaluation.drawn_dataset import coco, maps, write_dataset
from typer.testing import CliRunner

import napari_eomt as ne
from napari_eomt.cli.main import app
from napari_eomt.evaluation.report import Report

REPO = Path(__file__).parents[2]
DSB = REPO.parent / "shared" / "data" / "dsb2018" / "val"
TRUE, PREDICTED = maps()


def run(*args):
    return CliRunner().invoke(app, ["evaluate", *map(str, args)])


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "set", TRUE)


@pytest.fixture
def predictions(tmp_path):
    path = tmp_path / "pred.json"
    path.write_text(json.dumps(coco(PREDICTED, scores=True)))
    return path


def test_files_give_a_table_a_report_and_json(dataset, predictions, tmp_path):
    out = tmp_path / "report.json"
    result = run(dataset, "--predictions", predictions, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    report = Report.load(out)
    assert f"{report.total.ap50:.3f}" in result.stdout
    assert report == ne.evaluate(dataset, predictions)
    printed = run(dataset, "--predictions", predictions, "--json")
    assert json.loads(printed.stdout) == json.loads(out.read_text())
    quiet = run(dataset, "--predictions", predictions, "--quiet", "--redraw-below", "0.5")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_what_has_changed_since_a_report(dataset, predictions, tmp_path):
    out = tmp_path / "before.json"
    run(dataset, "--predictions", predictions, "--out", out)
    better = run(dataset, "--predictions", dataset / "annotations.json", "--before", out)
    assert better.exit_code == 0
    assert "→ 1.000 (+" in better.stdout
    assert "0 worse" in better.stdout
    as_json = run(dataset, "--predictions", predictions, "--before", out, "--json")
    assert json.loads(as_json.stdout)["format"] == "napari-eomt report"
    assert "0 images are better, 0 worse" in as_json.stderr


def test_images_that_cannot_be_evaluated_are_a_line_each(dataset, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    for k, id_map in enumerate(PREDICTED[1:], 2):
        tifffile.imwrite(folder / f"im{k}.tif", id_map)
    (folder / "im3.tif").write_bytes(b"no image")
    result = run(dataset, "--predictions", folder, "--ignore-categories")
    assert result.exit_code == 2
    errors = result.stderr.splitlines()
    assert len(errors) == 2
    assert "im1.png: there is no im1.tif" in errors[0]
    assert "2 images" in result.stdout
    assert result.stdout.count("Note: left out") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--predictions", "nix.json"], "There is no nix.json"),
        (["--before", "nix.json"], "nix.json"),
        (["--model", "nix"], "no model 'nix'"),
        (["--task", "semantic"], "does not serve the task 'semantic'"),
        (["--score-threshold", "2"], "--score-threshold 2"),
        (["--redraw-below", "0.1"], "--redraw-below"),
    ],
)
def test_what_makes_no_sense_is_one_line(dataset, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(dataset, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    if "--redraw-below" not in options:
        assert len(result.stderr.splitlines()) == 1


def test_a_folder_without_annotations(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "annotations.json" in result.stderr


def test_files_are_evaluated_without_torch(dataset, predictions):
    code = (
        "import sys; from napari_eomt.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'napari', 'qtpy', 'pandas', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "evaluate", str(dataset)]
    subprocess.run([*command, "--predictions", str(predictions)], check=True, capture_output=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child")
def test_ctrl_c_is_130(tmp_path):
    dataset = write_dataset(tmp_path / "set", [TRUE[0]] * 300)
    (dataset / "images" / "im1.png").unlink()
    out = tmp_path / "report.json"
    child = subprocess.Popen(
        [
            *[sys.executable, "-m", "napari_eomt.cli.main", "evaluate", str(dataset)],
            *["--device", "cpu", "--ignore-categories", "--out", str(out)],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that put the tests into the background has them ignore Ctrl-C; children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # What it says of the first image tells that it is at work.
    assert "im1.png" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert "stopped" in stderr
    assert not out.exists()


@pytest.mark.skipif(not DSB.exists(), reason="the nuclei of dsb2018 are not on this computer")
def test_the_bundled_model_on_real_nuclei(tmp_path):
    """The command, the function, the script, and the formula that scored the model say the same."""
    whole = json.loads((DSB / "instances.json").read_text())
    whole["images"] = sorted(whole["images"], key=lambda i: i["height"] * i["width"])[:2]
    kept = {i["id"] for i in whole["images"]}
    whole["annotations"] = [a for a in whole["annotations"] if a["image_id"] in kept]
    for image in whole["images"]:
        for name in ("file_name", "label_file"):
            target = tmp_path / "set" / image[name]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((DSB / image[name]).read_bytes())
    (tmp_path / "set" / "instances.json").write_text(json.dumps(whole))
    out = tmp_path / "report.json"
    result = run(tmp_path / "set", "--model", "nuclei-nano", "--device", "cpu", "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    report = Report.load(out)
    segmenter = ne.load_segmenter("nuclei-nano", "cpu")
    assert ne.evaluate(tmp_path / "set", segmenter) == report
    spec = spec_from_file_location("score", REPO / "scripts" / "score_bundled_model.py")
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    rules = script.Rules(segmenter.card.categories, any_category=True)
    rows = []
    for entry in whole["images"]:
        measured = script.score(tmp_path / "set", entry, segmenter, "auto", rules)
        rows.append([counts.ap for counts in measured.objects])
        pixels = tifffile.imread(tmp_path / "set" / entry["label_file"])
        found = ne.predict(ne.load_dataset(tmp_path / "set").image(entry["id"]), segmenter).id_map
        assert rows[-1] == pytest.approx(best_overlaps(pixels, found))
    assert report.total.ap50 == pytest.approx(np.mean(rows, 0)[0])
    assert report.total.ap == pytest.approx(np.mean(rows))
    assert report.total.ap50 > 0.3
    assert report.coco.ap > 0.1
    assert report.total.n_truth == len(whole["annotations"])


def best_overlaps(truth, found):
    """Return TP / (TP + FP + FN) at each IoU, by the best overlap of each true object."""
    _, truth = np.unique(np.append(truth, 0), return_inverse=True)
    truth = truth[:-1]
    n_truth, n_found = int(truth.max()) + 1, int(found.max()) + 1
    pairs = truth.astype(np.int64) * n_found + found.ravel()
    shared = np.bincount(pairs, minlength=n_truth * n_found).reshape(n_truth, n_found)
    both = shared[1:, 1:]
    union = shared.sum(1)[1:, None] + shared.sum(0)[None, 1:] - both
    best = (both / np.maximum(union, 1)).max(1, initial=0)
    hits = [int((best >= k / 20).sum()) for k in range(10, 20)]
    return [hit / max(1, n_truth - 1 + n_found - 1 - hit) for hit in hits]
