"""Tracking through `iter_video`: memory by the length of the video, and identities that last.

    OMP_NUM_THREADS=1 python -m benchmarks.video_tracker
    OMP_NUM_THREADS=1 python -m benchmarks.video_tracker --frames 100 1000 10000 --only memory

Memory is the peak of a fresh process that draws each frame when it is asked for: of a tiny VidEoMT
with random weights whose every query is taken for a thing, and of the bundled model, linked by
overlap. Identities are of the bundled model on drawn discs: IDF1 of its tracks, and of the same
model's frames one by one, whose ids say nothing of the frame before.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tests.tiny_models import save_tiny

from napari_eomt.evaluation.video import evaluate_tracks
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict
from napari_eomt.inference.video import iter_video
from napari_eomt.models.load import load_segmenter
from napari_eomt.synthetic import moving_objects

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY = PredictParams(score_threshold=0.05, overlap_threshold=0)


def frames(n_frames: int) -> Iterator[np.ndarray]:
    """Yield drawn discs that come and go, in a loop of 50 frames."""
    clip, _ = moving_objects(50, (96, 128), 5, seed=1)
    rng = np.random.default_rng(0)
    for t in range(n_frames):
        noise = rng.integers(0, 8, clip.shape[1:], np.uint8)
        yield np.maximum(clip[t % 50], noise)


def measure(model: str, n_frames: int, queue: Any) -> None:
    torch.set_num_threads(1)
    segmenter = load_segmenter(model, device="cpu")
    params = PredictParams() if model == "nuclei-nano" else ANY
    highest = 0
    for found in iter_video(frames(n_frames), segmenter, params):
        highest = max(highest, max((s.id for s in found.segments), default=0))
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    queue.put({"peak_mb": round(peak / 1e3, 1), "tracks": highest})


def report_memory(args: argparse.Namespace, folder: str) -> None:
    context = multiprocessing.get_context("spawn")
    for name, model in (("videomt", folder), ("linked", "nuclei-nano")):
        peaks = []
        for n_frames in args.frames:
            queue = context.Queue()
            process = context.Process(target=measure, args=(model, n_frames, queue))
            process.start()
            found = queue.get()
            process.join()
            peaks.append(found["peak_mb"])
            print(json.dumps({"memory": name, "frames": n_frames} | found), flush=True)
        print(json.dumps({"flat": round(max(peaks) / min(peaks) - 1, 4), "of": name}), flush=True)


def report_identities(args: argparse.Namespace) -> None:
    segmenter = load_segmenter("nuclei-nano", device="cpu")
    for seed in range(args.seeds):
        clip, truth = moving_objects(24, (160, 200), 5, seed=seed)
        tracks = [f.id_map for f in iter_video(clip, segmenter, max_gap=4)]
        alone = [predict(frame, segmenter).id_map for frame in clip]
        one, other = (evaluate_tracks(truth, found) for found in (tracks, alone))
        row: dict[str, Any] = {"seed": seed}
        for name, report in (("tracks", one), ("frames alone", other)):
            row[name] = {"idf1": round(report.idf1 or 0, 3), "switches": report.switches}
        print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=["memory", "identities"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "identities":
            report_memory(args, str(save_tiny(Path(folder) / "m", "videomt")))
        if args.only != "memory":
            report_identities(args)


if __name__ == "__main__":
    main()
