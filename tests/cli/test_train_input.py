"""What `napari-eomt train` is given: wrong is one clear line, odd but legal is learnt from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file
from tests.cli.drawn_input import SHAPE, Draft, picture, runs, square
from tests.tiny_models import N_QUERIES, save_tiny
from typer.testing import CliRunner

import napari_eomt as ne
from napari_eomt.cli.main import app
from napari_eomt.models.load import load_network
from napari_eomt.models.locate import locate
from napari_eomt.training.params import TrainParams
from napari_eomt.training.setup import set_up

SHORT = ["--device", "cpu", "--batch-size", "2", "--steps", "2", "--validation-interval", "2"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tasks = ["instance", "panoptic", "semantic"]
    return {
        "whole": save_tiny(folder / "whole", "eomt", 2, tasks=tasks),
        "tiles": save_tiny(folder / "tiles", "eomt", 1, tasks=tasks[:1], object_size=12),
    }


def run(*args):
    return CliRunner().invoke(app, ["train", *SHORT, *map(str, args)])


def learnt(result, out):
    """Check that a run came to its end, and return what was said on the way."""
    assert result.exit_code == 0, result.output
    assert ne.load_run(out).status() == "finished"
    ne.load_segmenter(ne.load_run(out).model_folder, "cpu")
    return " ".join(result.stderr.split())


def no_images(draft):
    draft.content.update(images=[], annotations=[])


def no_annotations(draft):
    draft.content["annotations"] = []


def only_boxes(draft):
    for record in draft.content["annotations"]:
        record.update(segmentation=[], bbox=[1, 1, 9, 9])


def only_crowds(draft):
    for record in draft.content["annotations"]:
        record["iscrowd"] = 1


def nothing_accepted(draft):
    for record in draft.content["annotations"]:
        record["score"] = 0.9


def all_stuff(draft):
    draft.content["categories"][0] = {"id": 1, "name": "cell", "isthing": 0}


def no_file(draft):
    draft.image(1).unlink()


def no_image(draft):
    draft.image(1).write_bytes(b"this is no image")


def half_an_image(draft):
    for k in range(3):
        data = draft.image(k).read_bytes()
        draft.image(k).write_bytes(data[: len(data) // 2])


def another_size(draft):
    tall = picture([], (70, 50))
    draft.image(1).unlink()
    Draft.add(draft, tall, [], name="im1.png")
    draft.content["images"].pop()


def mask_of_another_size(draft):
    draft.annotate(2, {"size": [100, 64], "counts": [0, 6400]})


def runs_beyond_the_end(draft):
    draft.annotate(2, {"size": list(SHAPE), "counts": [10, 10_000]})


def polygon_of_two_points(draft):
    draft.annotate(2, [[1, 2, 30, 40]])


def polygon_of_no_number(draft):
    draft.annotate(2, [[1, 2, 30, 40, float("nan"), 5]])


def unknown_category(draft):
    draft.annotate(2, [[1, 2, 30, 2, 30, 40]], category_id=7)


def unknown_image(draft):
    draft.annotate(9, [[1, 2, 30, 2, 30, 40]])


def id_twice(draft):
    draft.content["images"][2]["id"] = 1


def name_twice(draft):
    draft.content["images"][2]["file_name"] = "im0.png"


def all_nan(draft):
    for k in range(3):
        name = f"nan{k}.tif"
        tifffile.imwrite(draft.folder / "images" / name, np.full(SHAPE, np.nan, np.float32))
        draft.content["images"][k]["file_name"] = name


def outside_of_the_folder(draft):
    draft.content["images"][1]["file_name"] = "../../secret.png"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_images, "has no images: there is nothing to learn from. Add images"),
        (no_annotations, "has an object that can be learnt. Annotate some objects first"),
        (only_boxes, "has an object that can be learnt. Annotate some objects first"),
        (only_crowds, "all are crowds or undecided. Accept or correct some"),
        (nothing_accepted, "all are crowds or undecided. Accept or correct some"),
        (all_stuff, "all categories are stuff. Choose the task semantic or panoptic"),
        (no_file, "1 of 3 images cannot be found. The first: Image 2: there is no file 'im1.png'"),
        (no_image, "1 of 3 images cannot be used. im1.png is not an image in a known format"),
        (half_an_image, "cannot be read as an image (image file is truncated)"),
        (another_size, "1 of 3 images cannot be used. im1.png "),
        (
            mask_of_another_size,
            "annotation 7 of image 2: segmentation: The run lengths are of size [100, 64]; ",
        ),
        (runs_beyond_the_end, "segmentation: The run lengths cover more than the 3072 pixels"),
        (polygon_of_two_points, "annotation 7 of image 2: segmentation: polygon 0 has 2 points"),
        (polygon_of_no_number, "annotations.json: it holds NaN, which JSON does not know"),
        (
            unknown_category,
            "annotation 7 of image 2: category_id is 7, not one of [1] in 'categories'",
        ),
        (unknown_image, "annotation 7 of image 9: image_id is 9, which 'images' does not have"),
        (id_twice, "image 1: the id 1 is there twice"),
        (name_twice, "im0.png, as the images 1, 3"),
        (all_nan, ".tif: The image has no finite pixel: all are NaN or infinite"),
        (outside_of_the_folder, "../../secret.png"),
    ],
)
def test_what_is_wrong_is_one_clear_line_and_2(tmp_path, models, spoil, message):
    draft = Draft(tmp_path / "set")
    spoil(draft)
    out = tmp_path / "run"
    result = run(draft.save(), "--model", models["whole"], "--out", out)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in result.output
    # What can be seen before a step is: no run is begun.
    if spoil not in (half_an_image, all_nan):
        assert not out.exists()


def test_a_single_image_learns_and_nothing_checks(tmp_path, models):
    out = tmp_path / "run"
    result = run(Draft(tmp_path / "set", 1).save(), "--model", models["whole"], "--out", out)
    assert "One image learns: none is left to check" in learnt(result, out)


def test_a_category_without_objects_is_told(tmp_path, models):
    draft = Draft(tmp_path / "set")
    draft.content["categories"] += [{"id": k, "name": f"debris {k}"} for k in range(2, 30)]
    out = tmp_path / "run"
    said = learnt(run(draft.save(), "--model", models["whole"], "--out", out), out)
    assert "No image that learns has 'debris 2', 'debris 3'" in said
    assert "'debris 7' and 22 others" in said


def odd_images():
    """Yield pixels and masks: every kind of pixel, and sizes from 1 × 1 to several tiles."""
    mask = square((40, 52), 10, 12, 15)
    grey = picture([mask], (40, 52))
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    hole = grey.astype(np.float32) / 255
    hole[:3], hole[4, :5], hole[5, :5] = np.nan, np.inf, -np.inf
    for pixels in (
        *(grey, grey > 100, grey.astype(np.uint16) * 200, grey / np.float32(255), hole),
        *(rgb, np.dstack((rgb, grey)), rgb.astype(np.uint16) * 200),
        np.full_like(grey, 7),
    ):
        yield pixels, [mask]
    for size in ((1, 1), (1, 90), (3, 2), (150, 210)):
        whole = np.ones(size, bool)
        yield picture([whole], size), [whole]
    yield picture([], (30, 30)), []  # there is nothing: legal


@pytest.mark.parametrize("model", ["whole", "tiles"])
@pytest.mark.parametrize("preset", ["quick", "full"])
def test_images_of_all_kinds_and_sizes_learn_and_check(tmp_path, models, model, preset):
    draft = Draft(tmp_path / "set", 0)
    for pixels, masks in odd_images():
        draft.add(pixels, masks)
    out = tmp_path / "run"
    args = ["--model", models[model], "--out", out, "--preset", preset, "--val-fraction", "0.5"]
    learnt(run(draft.save(), *args, "--steps", "8"), out)
    # Each of them is seen once.
    setup = set_up(draft.folder, TrainParams(preset=preset, val_fraction=0), models[model])
    assert "1 of 14 images have no objects: all is background." in setup.notes
    seen = {setup.samples.at(k).key for k in range(len(setup.samples))}
    assert seen == {str(record["id"]) for record in draft.content["images"]}


def test_an_outline_beyond_the_border_is_clipped(tmp_path, models):
    draft = Draft(tmp_path / "set", 2)
    draft.content["annotations"].clear()
    draft.annotate(1, [[-20.5, -9, 12, -9, 12, 9.0, -20.5, 9]])
    draft.annotate(1, [[200.0, 200, 300, 200, 300, 300]])  # nothing of it can be seen
    draft.annotate(2, [[-1e6, -1e6, 1e6, -1e6, 1e6, 1e6, -1e6, 1e6]])
    out = tmp_path / "run"
    learnt(run(draft.save(), "--model", models["whole"], "--out", out), out)
    setup = set_up(draft.folder, TrainParams(val_fraction=0, object_size="as_is"), models["whole"])
    samples = {sample.key: sample for sample in map(setup.samples.at, range(2))}
    assert all(len(sample.labels) == 1 for sample in samples.values())
    corner = np.zeros(SHAPE, bool)
    corner[:9, :12] = True
    # The whole is fitted into 64 × 64 pixels, which is its size.
    np.testing.assert_array_equal(samples["1"].id_map[: SHAPE[0]] == 1, corner)
    assert (samples["2"].id_map[: SHAPE[0]] == 1).all()


def test_images_that_are_learnt_from_cannot_check(tmp_path, models):
    """Another JSON with the same images says nothing about whether learning helped."""
    draft = Draft(tmp_path / "set")
    folder = draft.save()
    other = folder / "val.json"
    other.write_text(json.dumps(draft.content))
    out = tmp_path / "run"
    result = run(folder, "--val", other, "--model", models["whole"], "--out", out)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert "3 of the 3 images that check are learnt from as well" in line
    assert f"with --leave-out-copies, or take them out of {other}" in line
    assert not out.exists()
    # Drawn alike, the one that checks is the first of those that learn.
    check = Draft(tmp_path / "check", 1).save()
    args = ["--val", check, "--leave-out-copies", "--model", models["whole"], "--out", out]
    said = learnt(run(folder, *args), out)
    assert (
        "Of 3 images that were to learn 1 is the same as one that checks, left out: im0.png."
        in said
    )
    split = json.loads((out / "split.json").read_text())
    assert sorted(split["names"].values()) == ["im1.png", "im2.png"]
    assert list(split["val_names"].values()) == ["im0.png"]


def test_files_of_one_name_in_several_folders_are_several_images(tmp_path, models):
    draft = Draft(tmp_path / "set", 0)
    for folder in "ab":
        masks = [square(SHAPE, 9, 9, 20)]
        draft.add(picture(masks, seed=ord(folder)), masks, name=f"{folder}/im.png")
    out = tmp_path / "run"
    learnt(run(draft.save(), "--model", models["whole"], "--out", out), out)
    split = json.loads((out / "split.json").read_text())
    assert sorted(split["names"].values()) == ["a/im.png", "b/im.png"]


def test_more_objects_than_queries_are_learnt_in_crops(tmp_path, models):
    masks = [square((96, 96), 2 + 8 * (k // 12), 2 + 8 * (k % 12), 5) for k in range(144)]
    draft = Draft(tmp_path / "set", 0)
    for seed in range(2):
        draft.add(picture(masks, (96, 96), seed), masks)
    args = ["--model", models["whole"], "--preset", "full"]
    out = tmp_path / "run"
    learnt(run(draft.save(), *args, "--out", out), out)
    params = TrainParams(preset="full", val_fraction=0, empty_views=0)
    samples = set_up(draft.folder, params, models["whole"]).samples
    found = [samples.at(k) for k in range(60)]
    assert max(len(sample.labels) for sample in found) <= N_QUERIES
    assert sum(sample.n_surplus for sample in found) == 0
    assert len({i for sample in found for i in sample.ids}) > 100


def test_what_is_ignored_is_learnt_in_no_way(tmp_path, models):
    """Crowds, and proposals, of whatever kind and number: the weights are the same to the bit."""
    whole, halves = square(SHAPE, 2, 40, 20), [square(SHAPE, 2, 40, 20), square(SHAPE, 2, 40, 20)]
    halves[0][:, 50:], halves[1][:, :50] = False, False
    results = []
    for name, masks, fields in (
        ("crowd", [whole], {"iscrowd": 1}),
        ("crowds", halves, {"iscrowd": 1, "category_id": 2}),
        ("proposals", halves, {"score": 0.4}),
        ("learnt", halves, {}),
    ):
        draft = Draft(tmp_path / name, 1)
        draft.content["categories"] = [{"id": k + 1, "name": f"class {k}"} for k in range(2)]
        draft.add(picture([whole], seed=9), [square(SHAPE, 30, 4, 10)])
        for mask in masks:
            draft.annotate(2, runs(mask), **fields)
        out = tmp_path / f"run {name}"
        options = ["--model", models["whole"], "--out", out, "--val-fraction", "0"]
        learnt(run(draft.save(), *options), out)
        results.append(load_file(ne.load_run(out).model_folder / "model.safetensors"))
    crowd, crowds, proposals, others = results
    for name, weight in crowd.items():
        assert torch.equal(weight, crowds[name])
        assert torch.equal(weight, proposals[name])
    assert not all(torch.equal(weight, others[name]) for name, weight in crowd.items())


def test_rows_of_the_class_head_follow_names_not_ids_nor_order(tmp_path, models):
    draft = Draft(tmp_path / "set")
    names = {50: "class 1", 3: "new", 7: " Class 0 "}
    draft.content["categories"] = [{"id": i, "name": name} for i, name in names.items()]
    for record, category_id in zip(draft.content["annotations"], [50, 3, 7] * 2, strict=True):
        record["category_id"] = category_id
    before = load_network(locate(models["whole"])).class_predictor
    setup = set_up(draft.save(), TrainParams(val_fraction=0), models["whole"], device="cpu")
    after = setup.learner.network.model.class_predictor
    assert [c.name for c in setup.learner.categories] == ["class 0", "class 1", "new"]
    assert after.weight.shape[0] == 4
    for mine, theirs in ((0, 0), (1, 1), (3, 2)):  # the last is of no object
        assert torch.equal(after.weight[mine], before.weight[theirs])
        assert torch.equal(after.bias[mine], before.bias[theirs])
    labels = np.concatenate([setup.samples.at(k).labels for k in range(len(setup.samples))])
    assert np.bincount(labels).tolist() == [2, 2, 2]
    out = tmp_path / "run"
    said = learnt(run(draft.folder, "--model", models["whole"], "--out", out), out)
    assert "New to the model: 'new'." in said
