"""Score a model on a folder of images with label TIFFs, as the microscopy field counts.

    python scripts/score_bundled_model.py FOLDER --object-size auto

FOLDER holds ``instances.json`` (COCO), whose images name their ``file_name``, ``label_file`` and,
optionally, ``type``. AP at an IoU is TP / (TP + FP + FN), averaged over images. ``known`` tells the
model the size of each image's objects, which `napari-eomt evaluate` cannot.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import tifffile
import torch

from napari_eomt.evaluation.measures import Measured, Rules, measure_image
from napari_eomt.evaluation.summary import make_report
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict
from napari_eomt.models.load import load_segmenter
from napari_eomt.structures.segments import Segment, Segmentation

if TYPE_CHECKING:
    from napari_eomt.models.segmenter import Segmenter


def score(
    folder: Path,
    entry: dict[str, str],
    segmenter: Segmenter,
    object_size: str | float,
    rules: Rules,
    looks: int | None = None,
) -> Measured:
    """Segment an image, and count its objects."""
    image = iio.imread(folder / entry["file_name"])
    labels = tifffile.imread(folder / entry["label_file"])
    counts = np.bincount(labels.ravel())[1:]
    if object_size == "known":
        object_size = float(np.median(np.sqrt(counts[counts > 0])))
    segments = tuple(Segment(int(i), rules.categories[0].id) for i in np.flatnonzero(counts) + 1)
    found = predict(image, segmenter, PredictParams(object_size=object_size, looks=looks))
    truth = Segmentation(labels, segments)
    return measure_image(entry["file_name"], found, truth, rules, kind=entry.get("type", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="nuclei-nano")
    parser.add_argument("--object-size", default="auto", help="auto, as_is, or known: the truth's")
    parser.add_argument("--looks", type=int, help="how often; by default as the model's card says")
    args = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = load_segmenter(args.model, "cpu")
    rules = Rules(segmenter.card.categories, any_category=True)
    entries = json.loads((args.folder / "instances.json").read_text())["images"]
    report = make_report(
        [
            score(args.folder, entry, segmenter, args.object_size, rules, args.looks)
            for entry in entries
        ],
        rules,
    )
    for kind, scores in {"all": report.total, **report.by_kind}.items():
        print(f"{kind:22s} {scores.n_images:4d} images  "
              f"AP@0.5 {scores.ap50:.3f}  AP@[.5:.95] {scores.ap:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
