"""Score a model on a folder of images with label TIFFs, as the microscopy field counts.

    python scripts/score_bundled_model.py FOLDER --object-size auto

FOLDER holds ``instances.json`` (COCO), whose images name their ``file_name``, ``label_file`` and,
optionally, ``type``. AP at an IoU is TP / (TP + FP + FN), averaged over images.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile
import torch

from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict
from napari_eomt.models.load import load_segmenter

IOUS = np.arange(0.5, 1.0, 0.05)


def precisions(truth: np.ndarray, found: np.ndarray) -> list[float]:
    """Return TP / (TP + FP + FN) at each IoU; matches above one half are one to one."""
    n_truth, n_found = int(truth.max()) + 1, int(found.max()) + 1
    pairs = truth.ravel().astype(np.int64) * n_found + found.ravel()
    shared = np.bincount(pairs, minlength=n_truth * n_found).reshape(n_truth, n_found)
    both = shared[1:, 1:]
    union = shared.sum(1)[1:, None] + shared.sum(0)[None, 1:] - both
    best = (both / np.maximum(union, 1)).max(1, initial=0)
    hits = [int((best > iou).sum()) for iou in IOUS]
    return [hit / max(1, n_truth - 1 + n_found - 1 - hit) for hit in hits]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="nuclei-nano")
    parser.add_argument("--object-size", default="auto", help="auto, as_is, or known: the truth's")
    args = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = load_segmenter(args.model, "cpu")
    scores = defaultdict(list)
    for entry in json.loads((args.folder / "instances.json").read_text())["images"]:
        image = iio.imread(args.folder / entry["file_name"])
        labels = tifffile.imread(args.folder / entry["label_file"])
        _, inverse = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
        truth = inverse[:-1].reshape(labels.shape)
        size: float | str = args.object_size
        if size == "known":
            size = float(np.median(np.sqrt(np.bincount(truth.ravel())[1:])))
        found = predict(image, segmenter, PredictParams(object_size=size)).id_map
        for group in ("all", entry.get("type", "")):
            scores[group].append(precisions(truth, found))
    for group, rows in sorted(scores.items()):
        per_iou = np.mean(rows, 0)
        print(f"{group or 'other':22s} {len(rows):4d} images  "
              f"AP@0.5 {per_iou[0]:.3f}  AP@[.5:.95] {per_iou.mean():.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
