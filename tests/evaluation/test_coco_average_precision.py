"""To the last bit what pycocotools says of the same in files."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from napari_eomt.evaluation.coco_average_precision import (
    Detection,
    TrueObject,
    best_detections,
    coco_average_precision,
)
from napari_eomt.structures.rle import decode, encode_mask, from_coco

DATA = Path(__file__).parents[3] / "shared" / "data"
FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
FIGURES += ("ar1", "ar10", "ar", "ar_small", "ar_medium", "ar_large")


def by_pycocotools(gt, results, folder):
    """Return COCOeval's 12 figures of two files."""
    (folder / "gt.json").write_text(json.dumps(gt))
    (folder / "dt.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "gt.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "dt.json")), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def by_us(gt, results):
    sizes = {i["id"]: (i["height"], i["width"]) for i in gt["images"]}
    return coco_average_precision(
        sizes,
        [c["id"] for c in gt["categories"]],
        [
            TrueObject(
                a["image_id"],
                a["category_id"],
                from_coco(a["segmentation"], sizes[a["image_id"]]),
                bool(a["iscrowd"]),
                a["area"],
            )
            for a in gt["annotations"]
        ],
        [
            Detection(
                r["image_id"],
                r["category_id"],
                r["score"],
                from_coco(r["segmentation"], sizes[r["image_id"]]),
            )
            for r in results
        ],
    )


def compare(gt, results, folder):
    expected = by_pycocotools(gt, results, folder)
    found = by_us(gt, results)
    # −1 is pycocotools' word for nothing there.
    ours = [-1.0 if np.isnan(getattr(found, name)) else getattr(found, name) for name in FIGURES]
    assert ours == expected.tolist()
    return found


def box(rng, size):
    mask = np.zeros(size, bool)
    y, x = rng.integers(0, size[0] - 9), rng.integers(0, size[1] - 9)
    h, w = rng.integers(3, 90, 2)
    mask[y : y + h, x : x + w] = True
    return mask


def random_set(rng, n_images=4, n_objects=14, n_detections=130):
    """Return a set with crowds, equal scores, empty images, and over 100 detections in one."""
    size = (120, 130)
    gt = {
        "images": [{"id": i, "height": size[0], "width": size[1]} for i in range(5, 5 + n_images)],
        "categories": [{"id": 2, "name": "a"}, {"id": 9, "name": "b"}, {"id": 11, "name": "c"}],
        "annotations": [],
    }
    results = []
    for image in gt["images"][:-1]:
        for _ in range(n_objects):
            mask = box(rng, size)
            rle = encode_mask(mask).as_coco()
            gt["annotations"].append(
                {
                    "id": len(gt["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": int(rng.choice([2, 9])),
                    "segmentation": rle,
                    "area": float(mask.sum()) + 0.5,
                    "iscrowd": int(rng.random() < 0.15),
                    "bbox": [0, 0, 1, 1],
                }
            )
            for _ in range(n_detections // n_objects + 1):
                near = np.roll(mask, rng.integers(-4, 5, 2), (0, 1))
                results.append(
                    {
                        "image_id": image["id"],
                        "category_id": int(rng.choice([2, 9, 11])),
                        "segmentation": encode_mask(near).as_coco(),
                        "score": round(float(rng.random()), 1),
                    }
                )
    return gt, results


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_pycocotools_bit_by_bit(seed, tmp_path):
    found = compare(*random_set(np.random.default_rng(seed)), tmp_path)
    assert 0 < found.ap < 1
    assert np.isnan(found.ap_by_category[11])
    assert found.ap == pytest.approx(
        np.mean([v for v in found.ap_by_category.values() if v == v]), abs=1e-12
    )


@pytest.mark.skipif(
    not (DATA / "coco_panoptic_sample").exists(), reason="the COCO sample is not on this computer"
)
def test_figures_equal_pycocotools_on_real_annotations(tmp_path):
    gt = json.loads((DATA / "coco_panoptic_sample" / "instances.json").read_text())
    rng = np.random.default_rng(0)
    sizes = {i["id"]: (i["height"], i["width"]) for i in gt["images"]}
    results = []
    for a in gt["annotations"]:
        mask = from_coco(a["segmentation"], sizes[a["image_id"]])
        shifted = np.roll(decode(mask), rng.integers(-6, 7, 2), (0, 1))
        results.append(
            {
                "image_id": a["image_id"],
                "category_id": a["category_id"],
                "segmentation": encode_mask(shifted).as_coco(),
                "score": float(rng.random()),
            }
        )
    compare(gt, results, tmp_path)


def test_nothing_found_and_nothing_there():
    mask = encode_mask(np.ones((5, 5), bool))
    nothing = coco_average_precision([1], [1], [TrueObject(1, 1, mask)], [])
    assert (nothing.ap, nothing.ar) == (0, 0)
    assert np.isnan(coco_average_precision([1], [1], [], [Detection(1, 1, 0.5, mask)]).ap)
    assert np.isnan(coco_average_precision([], [1], [], []).ap)


def test_more_than_100_objects_are_found_if_asked_for():
    mask = np.zeros((2, 300), bool)
    truth, detections = [], []
    for k in range(150):
        one = mask.copy()
        one[:, 2 * k] = True
        truth.append(TrueObject(1, 1, encode_mask(one)))
        detections.append(Detection(1, 1, 1 - k / 1000, encode_mask(one)))
    assert coco_average_precision([1], [1], truth, detections).ar == pytest.approx(100 / 150)
    assert coco_average_precision([1], [1], truth, detections, max_detections=200).ap == 1


def test_the_best_of_an_image_keep_the_order_of_equals():
    mask = encode_mask(np.ones((2, 2), bool))
    found = [Detection(1, k, score, mask) for k, score in enumerate((0.5, 0.9, 0.5, 0.1))]
    assert [d.category_id for d in best_detections(found, 3)] == [1, 0, 2]
