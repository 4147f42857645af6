"""Files of predictions, each kind, on a drawn dataset: all tell the same."""

import csv
import json

import numpy as np
import pytest
import tifffile
from tests.evaluation.drawn import segmentation
from tests.evaluation.drawn_dataset import coco, maps, records, write_dataset

from napari_eomt.errors import DataError
from napari_eomt.evaluation.average_precision import IOU_THRESHOLDS
from napari_eomt.evaluation.evaluate import evaluate
from napari_eomt.formats.id_png import write_id_png

TRUE, PREDICTED = maps()


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "set", TRUE)


def by_definition(truth, pred):
    """Return AP at 0.5, and over all IoUs, with a mask for every pair."""
    rows = []
    for t, p in zip(truth, pred, strict=True):
        ids_t, ids_p = ([i for i in np.unique(m) if i] for m in (t, p))
        # Odd ids are cells, even ones debris.
        ious = np.array(
            [
                [
                    ((t == i) & (p == j)).sum() / ((t == i) | (p == j)).sum() * (i % 2 == j % 2)
                    for j in ids_p
                ]
                for i in ids_t
            ]
        ).reshape(len(ids_t), len(ids_p))
        row = []
        for threshold in IOU_THRESHOLDS:
            tp = (ious.max(1, initial=0) >= threshold).sum()
            whole = len(ids_t) + len(ids_p) - tp
            row.append(tp / whole if whole else 1)
        rows.append(row)
    return np.mean(rows, 0)


def label_folder(folder):
    folder.mkdir()
    for k, id_map in enumerate(PREDICTED, 1):
        tifffile.imwrite(folder / f"im{k}.tif", id_map)
        with (folder / f"im{k}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["frame", "id", "category_id", "category", "score"])
            for i in np.unique(id_map):
                if i:
                    name = "cell" if i % 2 else "debris"
                    rows.writerow([0, i, 1 if i % 2 else 2, name, 0.5 + 0.5 / (i + 1)])
    return folder


def panoptic_file(folder, id_maps=PREDICTED):
    (folder / "panoptic").mkdir(parents=True)
    content = coco(id_maps)
    content["annotations"] = []
    for k, id_map in enumerate(id_maps, 1):
        write_id_png(folder / "panoptic" / f"im{k}.png", id_map)
        infos = [
            {"id": int(i), "category_id": 4 if i % 2 else 9, "iscrowd": 0}
            for i in np.unique(id_map)
            if i
        ]
        content["annotations"].append(
            {"image_id": k, "file_name": f"im{k}.png", "segments_info": infos}
        )
    (folder / "panoptic.json").write_text(json.dumps(content))
    return folder / "panoptic.json"


def test_each_kind_of_file_tells_the_same(dataset, tmp_path):
    results = tmp_path / "results.json"
    results.write_text(json.dumps(records(PREDICTED, scores=True)))
    whole = tmp_path / "coco.json"
    whole.write_text(json.dumps(coco(PREDICTED, scores=True)))
    kinds = {
        "results": evaluate(dataset, results),
        "coco": evaluate(dataset, whole),
        "labels": evaluate(dataset, label_folder(tmp_path / "labels")),
        "panoptic": evaluate(dataset, panoptic_file(tmp_path / "p")),
        "memory": evaluate(
            dataset,
            {
                k: segmentation(m, {int(i): 4 if i % 2 else 9 for i in np.unique(m)})
                for k, m in enumerate(PREDICTED, 1)
            },
        ),
    }
    expected = by_definition(TRUE, PREDICTED)
    for kind, report in kinds.items():
        assert report.total.ap50 == pytest.approx(expected[0]), kind
        assert report.total.ap == pytest.approx(expected.mean()), kind
        assert report.total == kinds["results"].total, kind
        assert report.images == kinds["results"].images, kind
        assert report.by_kind == kinds["results"].by_kind, kind
    assert 0.1 < expected[0] < 0.9
    assert kinds["results"].coco == kinds["coco"].coco == kinds["labels"].coco
    assert 0 < kinds["results"].coco.ap < 1
    # Without scores there is no curve.
    assert kinds["panoptic"].coco is None
    assert kinds["memory"].coco is None


def test_the_truth_is_as_good_as_can_be(dataset):
    report = evaluate(dataset, dataset / "annotations.json")
    total = report.total
    assert (total.ap50, total.ap, total.f1, total.pq, total.miou, total.n_edits) == (1,) * 5 + (0,)
    assert set(report.by_kind) == {"bright", "dark"}
    assert sum(s.n_images for s in report.by_kind.values()) == total.n_images == 4
    assert [c.name for c in report.by_category] == ["cell", "debris"]
    assert total.n_truth == sum(c.n_truth for c in report.by_category)


def test_void_counts_in_annotated_objects_and_not_in_panoptic_ones(dataset, tmp_path):
    """A segment on void alone is wrong in one and nobody's in the other."""
    content = coco([np.pad(m[:-3], ((0, 3), (0, 0))) for m in TRUE])
    extra = [m.copy() for m in TRUE]
    for m in extra:
        m[-3:] = 0
        m[-2:, :5] = m.max() + 1
    (tmp_path / "pred.json").write_text(json.dumps(coco(extra)))
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "annotations.json").write_text(json.dumps(content))
    objects = evaluate(tmp_path / "truth", tmp_path / "pred.json")
    assert (objects.void, objects.total.n_edits) == ("background", 4)
    assert objects.total.precision < 1
    cut = [np.pad(m[:-3], ((0, 3), (0, 0))) for m in TRUE]
    panoptic = evaluate(panoptic_file(tmp_path / "p", cut), tmp_path / "pred.json")
    assert (panoptic.void, panoptic.task) == ("unlabelled", "panoptic")
    assert (panoptic.total.pq, panoptic.total.miou, panoptic.total.n_edits) == (1, 1, 0)


def test_categories_are_told_by_name_or_ignored(dataset, tmp_path):
    content = coco(TRUE)
    content["categories"] = [{"id": 1, "name": "Debris"}, {"id": 2, "name": "cell"}]
    for record in content["annotations"]:
        record["category_id"] = 2 if record["category_id"] == 4 else 1
    path = tmp_path / "pred.json"
    path.write_text(json.dumps(content))
    assert evaluate(dataset, path).total.ap == 1
    content["categories"] = [{"id": 1, "name": "star"}, {"id": 2, "name": "planet"}]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"'star', 'planet'.*'cell', 'debris'.*ignore"):
        evaluate(dataset, path)
    report = evaluate(dataset, path, any_category=True)
    assert (report.total.ap, len(report.by_category), report.coco) == (1, 1, None)


def test_overlapping_results_are_painted_best_on_top(tmp_path):
    dataset = write_dataset(tmp_path / "set", [np.repeat([[1, 1, 0, 0]], 4, 0).astype(np.uint16)])
    masks = np.zeros((3, 4, 4), np.uint16)
    masks[0, :, :2], masks[1, :, :3], masks[2] = 1, 1, 1
    rows = []
    for mask, score in zip(masks, (0.9, 0.7, 0.2), strict=True):
        (row,) = records([mask])
        rows.append(row | {"score": score})
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    # The second is mostly hidden by the first, the third scores too little.
    report = evaluate(dataset, path)
    assert (report.total.n_found, report.total.ap) == (1, 1)
    assert evaluate(dataset, path, overlap_threshold=0.1).total.n_found == 2
    assert evaluate(dataset, path, overlap_threshold=0.1, score_threshold=0).total.n_found == 3
    # COCO's curve is of all of them, as they are.
    assert report.coco.ap == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 77}, "image_id is 77"),
        ({"category_id": True}, "category_id is True"),
        ({"score": None}, "score is None"),
        ({"segmentation": {"size": [2, 2], "counts": "04"}}, "size"),
        (None, "an object was expected"),
    ],
)
def test_results_that_make_no_sense_are_named(dataset, tmp_path, change, message):
    rows = records(PREDICTED, scores=True)
    rows[1] = None if change is None else rows[1] | change
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=message):
        evaluate(dataset, path)


def test_what_is_missing_is_said(dataset, tmp_path):
    folder = label_folder(tmp_path / "labels")
    (folder / "im2.tif").unlink()
    with pytest.raises(DataError, match=r"im2\.png: there is no im2\.tif"):
        evaluate(dataset, folder)
    with pytest.raises(DataError, match="There is no"):
        evaluate(dataset, tmp_path / "nix.json")
    other = coco(PREDICTED)
    for image in other["images"]:
        image["id"] += 50
        image["file_name"] = f"other{image['id']}.png"
    other["annotations"] = []
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(DataError, match="none of the images"):
        evaluate(dataset, tmp_path / "other.json")
    tifffile.imwrite(folder / "im2.tif", np.zeros((3, 3), np.uint16))
    (folder / "im2.csv").unlink()
    with pytest.raises(DataError, match=r"im2\.png: .*differ in size"):
        evaluate(dataset, folder)


def test_semantic_predictions_have_an_miou_and_nothing_else(tmp_path):
    truth = panoptic_file(tmp_path / "t", TRUE)
    report = evaluate(truth, panoptic_file(tmp_path / "p"), task="semantic")
    assert (report.total.ap, report.total.pq, report.total.n_edits) == (None, None, None)
    common, union = np.zeros(2), np.zeros(2)
    for t, p in zip(TRUE, PREDICTED, strict=True):
        for k in range(2):
            a = (t > 0) & (t % 2 != k)
            b = (p > 0) & (p % 2 != k) & (t > 0)
            common[k] += (a & b).sum()
            union[k] += (a | b).sum()
    assert report.total.miou == pytest.approx((common / union).mean())
    assert [c.iou for c in report.by_category] == pytest.approx((common / union).tolist())
