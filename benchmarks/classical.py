"""Score a classical baseline on nuclei, image type by image type: what a model has to beat.

    python -m benchmarks.classical DSB2018              # about ten minutes of a core
    python -m benchmarks.classical DSB2018 --images 4   # fewer to choose the settings on

DSB2018 holds train/ and val/, as `scripts/score_bundled_model.py` reads them. Otsu's threshold, or
a local one, of the smoothed brightness; the peaks of its distance transform are grown by watershed
(scikit-image). *simple*: one setting for all images, dark nuclei where most of an image is bright.
*tuned*: the settings that are best on some images of the same type of train/, the type being known,
which a model is not told. AP at an IoU is TP / (TP + FP + FN), averaged over images.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage
from skimage import feature, filters, segmentation

from napari_eomt.evaluation.measures import Measured, Rules, measure_image
from napari_eomt.evaluation.summary import make_report
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation

RULES = Rules((Category(1, "nucleus"),))
LOCAL_SIDE = 101
"""Side of the window of a local threshold, in px."""


@dataclass(frozen=True)
class Settings:
    """Of the classical method; lengths in px."""

    smoothing: float = 1.0
    distance: int = 5
    is_local: bool = False
    is_red: bool = False
    is_dark: bool | None = None
    smallest: int = 40


@dataclass(frozen=True, eq=False)
class Example:
    """An image and its objects."""

    kind: str
    image: npt.NDArray[np.uint8]
    truth: Segmentation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=8, help="of a type, to choose settings on")
    args = parser.parse_args()
    of_train = by_kind(args.folder / "train", args.images)
    scored: dict[str, list[Measured]] = {"simple": [], "tuned": []}
    for kind, examples in by_kind(args.folder / "val").items():
        best = max(settings_of(kind), key=lambda one: score(of_train[kind], one))
        print(f"{kind}: {best}")
        for name, settings in (("simple", Settings()), ("tuned", best)):
            scored[name] += [measure(example, settings) for example in examples]
    for name, measured in scored.items():
        report = make_report(measured, RULES)
        for kind, scores in {"all": report.total, **report.by_kind}.items():
            print(f"{name:8s}{kind:22s}{scores.n_images:4d} images  "
                  f"AP@0.5 {scores.ap50:.3f}  AP@[.5:.95] {scores.ap:.3f}")  # fmt: skip


def by_kind(folder: Path, n_most: int | None = None) -> dict[str, list[Example]]:
    """Read the images of a folder, or so many of each type, evenly."""
    entries: dict[str, list[dict[str, str]]] = {}
    for entry in json.loads((folder / "instances.json").read_text())["images"]:
        entries.setdefault(entry["type"], []).append(entry)
    found = {}
    for kind, all_of_kind in entries.items():
        n = min(n_most or len(all_of_kind), len(all_of_kind))
        chosen = np.linspace(0, len(all_of_kind) - 1, n).round().astype(int)
        found[kind] = [read(folder, all_of_kind[i]) for i in chosen]
    return found


def read(folder: Path, entry: dict[str, str]) -> Example:
    labels = tifffile.imread(folder / entry["label_file"])
    return Example(entry["type"], iio.imread(folder / entry["file_name"]), as_objects(labels))


def settings_of(kind: str) -> list[Settings]:
    """Return the settings that are tried for a type: bright nuclei in fluorescence alone."""
    is_tissue, is_bright = kind.startswith("histo"), kind.startswith("fluo")
    return [
        Settings(smoothing, distance, is_local, is_red, not is_bright, smallest)
        for smoothing, distance, is_local, is_red, smallest in itertools.product(
            (0.5, 1.0, 2.0),
            (3, 5, 8, 12),
            (False, True),
            (False, True) if is_tissue else (False,),
            (20, 60),
        )
    ]


def score(examples: list[Example], settings: Settings) -> float:
    """Return AP@0.5 plus AP@[.5:.95]."""
    total = make_report([measure(example, settings) for example in examples], RULES).total
    return (total.ap50 or 0.0) + (total.ap or 0.0)


def measure(example: Example, settings: Settings) -> Measured:
    found = as_objects(segment(example.image, settings))
    return measure_image("", found, example.truth, RULES, kind=example.kind)


def segment(image: npt.NDArray[np.uint8], settings: Settings) -> npt.NDArray[np.int32]:
    """Segment an image, (H, W) or (H, W, 3), into ids from 1."""
    if image.ndim == 2:
        grey = image / 255.0
    else:
        grey = (image[..., 0] if settings.is_red else image[..., :3].mean(axis=-1)) / 255.0
    is_dark = np.median(grey) > 0.5 if settings.is_dark is None else settings.is_dark
    smooth = filters.gaussian(1 - grey if is_dark else grey, settings.smoothing)
    threshold = filters.threshold_otsu(smooth)
    if settings.is_local:
        threshold = np.maximum(filters.threshold_local(smooth, LOCAL_SIDE), threshold / 2)
    inside = ndimage.binary_fill_holes(smooth > threshold)
    depth = filters.gaussian(ndimage.distance_transform_edt(inside), 1)
    peaks = feature.peak_local_max(
        depth,
        min_distance=settings.distance,
        labels=ndimage.label(inside)[0],
        exclude_border=False,
    )
    markers = np.zeros(inside.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    ids: npt.NDArray[np.int32] = segmentation.watershed(-depth, markers, mask=inside)
    is_small = np.bincount(ids.ravel()) < settings.smallest
    ids[is_small[ids]] = 0
    return ids


def as_objects(labels: npt.NDArray[np.integer]) -> Segmentation:
    numbers = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
    return Segmentation(labels, tuple(Segment(int(i), RULES.categories[0].id) for i in numbers))


if __name__ == "__main__":
    main()
