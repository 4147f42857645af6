"""Tracking scores of linking, on drawn objects and on a real time-lapse with reference tracks.

    python benchmarks/tracking.py                                    # drawn objects
    python benchmarks/tracking.py --folder tracks/t98g_left --model nuclei-nano

The folder has `tracks.tif` (T, Y, X), track ids; `tracks.csv` with the columns `id` and `clean`, of
which those with clean = 1 are counted, the others ignored; and `frames/*.png` for models.

masks, counted    the true masks of the counted tracks, ids removed: linking alone
masks, all        those of all tracks
masks, holes      all, of which every tenth is missing, as a model misses objects
model             what a model finds in the frames

Each is linked frame by frame (ours; with centres, reach 30 px; by overlap where it was last, as
most linkers do), and by laptrack, which sees all frames, where it is installed. Times are CPU
seconds of linking, relative to ours. "perfect" is the IDF1 that linking could reach with these
masks: an object has the id of the true one with which its IoU is one half or more.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image

from napari_eomt.errors import DataError
from napari_eomt.evaluation.video import evaluate_tracks
from napari_eomt.inference.track_laptrack import link_with_laptrack
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.tracks import iter_linked
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.synthetic import moving_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from napari_eomt.evaluation.video import TrackReport

    Frames = list[Segmentation]

WAYS: dict[str, TrackParams] = {
    "ours": TrackParams(),
    "ours, reach 30 px": TrackParams(max_distance=30.0),
    "ours, still": TrackParams(motion="still"),
    "ours, still, no gap": TrackParams(motion="still", max_gap=0),
}


def without_ids(tracks: np.ndarray, missing: float = 0.0, seed: int = 0) -> Frames:
    """Number the objects of each frame anew, and leave some out."""
    rng = np.random.default_rng(seed)
    frames = []
    for labels in tracks:
        ids = np.unique(labels[labels > 0])
        ids = ids[rng.uniform(size=len(ids)) >= missing]
        table = np.zeros(int(labels.max(initial=0)) + 1, np.uint16)
        table[ids] = rng.permutation(len(ids)) + 1
        segments = tuple(Segment(i + 1, 1, score=1.0) for i in range(len(ids)))
        frames.append(Segmentation(table[labels], segments))
    return frames


def ours(params: TrackParams) -> Callable[[Frames], Frames]:
    return lambda frames: list(iter_linked(frames, params))


def laptrack(frames: Frames) -> Frames:
    return list(link_with_laptrack(frames).frames)


def show(name: str, truth: np.ndarray, frames: Frames, ignored: Collection[int] = ()) -> None:
    print(f"\n{name}: {len(frames)} frames, {sum(len(f.segments) for f in frames)} objects")
    print(f"  {'':20} IDF1   TRA    LNK    SEG    DET    HOTA   AssA   switches  tracks  time")
    first = 0.0
    for way, link in {**{k: ours(v) for k, v in WAYS.items()}, "laptrack": laptrack}.items():
        try:
            link(frames[:2])  # imports what it needs
            start = time.process_time()
            linked = link(frames)
        except DataError as error:
            print(f"  {way:20} {error}")
            continue
        seconds = time.process_time() - start
        first = first or seconds
        report = evaluate_tracks(truth, linked, ignored=ignored)
        print(f"  {way:20} {figures(report)}  {seconds / first:5.1f}x")
    report = evaluate_tracks(truth, perfect(truth, frames), ignored=ignored)
    print(f"  {'perfect':20} {report.idf1:.3f}")


def perfect(truth: np.ndarray, frames: Frames) -> np.ndarray:
    """Give what is found the ids of what it is; to what is nothing an id of its own."""
    found = np.zeros(truth.shape, np.uint32)
    next_id = int(truth.max()) + 1
    for labels, frame, out in zip(truth, frames, found, strict=True):
        for segment in frame.segments:
            mask = frame.id_map == segment.id
            ids, common = np.unique(labels[mask], return_counts=True)
            iou = common / (mask.sum() + np.bincount(labels.ravel())[ids] - common)
            good = ids[(ids > 0) & (iou >= 0.5)]
            # At exactly one half two may agree: the first has it.
            i = int(good[0]) if len(good) and not (out == good[0]).any() else next_id
            next_id += i == next_id
            out[mask] = i
    return found


def figures(report: TrackReport) -> str:
    names = ("idf1", "tra", "lnk", "seg", "det", "hota", "ass_a")
    values = "  ".join(f"{getattr(report, name):.3f}" for name in names)
    tracks = f"{report.n_found_tracks}/{report.n_truth_tracks}"
    return f"{values}  {report.switches:8}  {tracks:>6}"


def show_drawn(n_frames: int, n_objects: int) -> None:
    """Objects that move, cross and cover each other; some are not found in some frames."""
    stacks = [moving_objects(n_frames, (256, 256), n_objects, seed)[1] for seed in range(3)]
    for missing in (0.0, 0.1):
        for seed, truth in enumerate(stacks):
            frames = without_ids(truth, missing, seed)
            show(f"drawn, seed {seed}, {missing:.0%} missing", truth, frames)


def show_folder(folder: Path, models: list[str]) -> None:
    truth = tifffile.imread(folder / "tracks.tif")
    with (folder / "tracks.csv").open(encoding="utf-8", newline="") as file:
        ignored = {int(row["id"]) for row in csv.DictReader(file) if row["clean"] != "1"}
    counted = np.where(np.isin(truth, list(ignored)), 0, truth)
    show("masks, counted", counted, without_ids(counted))
    show("masks, all", truth, without_ids(truth), ignored)
    show("masks, holes", truth, without_ids(truth, 0.1), ignored)
    for model in models:
        found = predicted(folder, model)
        show(f"{model}, on counted tracks", truth, found, ignored)
        show(f"{model}, on all tracks", truth, found)


def predicted(folder: Path, model: str) -> Frames:
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.predict import predict
    from napari_eomt.models.load import load_segmenter

    segmenter = load_segmenter(model, device="cpu")
    images = [np.asarray(Image.open(path)) for path in sorted((folder / "frames").glob("*.png"))]
    return [predict(image, segmenter, PredictParams(task="instance")) for image in images]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--objects", type=int, default=12)
    args = parser.parse_args()
    if args.folder is None:
        show_drawn(args.frames, args.objects)
    else:
        show_folder(args.folder, args.model)


if __name__ == "__main__":
    main()
