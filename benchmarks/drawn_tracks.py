"""Whether a VidEoMT that learns from videos keeps identities where linking by overlap loses them.

    OMP_NUM_THREADS=1 python -m benchmarks.drawn_tracks --out runs/drawn
    OMP_NUM_THREADS=1 python -m benchmarks.drawn_tracks --model runs/drawn/run/checkpoints/best

Drawn objects run through each other, hide each other, are gone for 2 to 4 frames and come back
somewhere else (`napari_eomt.synthetic_video`). A tiny VidEoMT, from random weights, learns from
some videos, and tracks others that it has not seen. Printed are IDF1 and switches, at IoU 0.5, of

queries        the tracks of `VideoTracker`: an object is who its query follows
linked         the same masks, of which the identities are removed, linked by `Linker`: by overlap
               where motion leads, over gaps of 2 frames, as it does by itself; over "any gap", as
               queries may; and "still", by overlap with the frame before alone
true, linked   the true masks, linked likewise: what no better masks would mend

for videos in which things only run through each other (cross), and for those in which each also
is gone for a while (return). The objects of a video differ clearly in colour. With --alike the same
model tracks the same ways of objects of one colour, form and size as well; --teach-alike lets every
other video that it learns from be of such.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tests.training.drawn_videos import write_videos
from transformers import VideomtConfig, VideomtForUniversalSegmentation

from napari_eomt.evaluation.video import evaluate_tracks
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.tracks import iter_linked
from napari_eomt.inference.video import VideoTracker
from napari_eomt.models.load import load_segmenter
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.synthetic_video import DrawnVideo, drawn_tracks
from napari_eomt.training.params import full
from napari_eomt.training.train import train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.training.train_progress import TrainProgress

SIZE, N_FRAMES = 64, 16
FIRST_TEST_SEED = 100_000
ANY_GAP = TrackParams(max_gap=N_FRAMES)
WAYS = {
    "linked": TrackParams(),
    "linked, any gap": ANY_GAP,
    "linked, still": TrackParams(motion="still", max_gap=0),
}


def draw(
    n_videos: int, first_seed: int, n_objects: int, absent: float, *, alike: bool = False
) -> list[DrawnVideo]:
    return [
        drawn_tracks(
            N_FRAMES, (SIZE, SIZE), n_objects, absent=absent, alike=alike, seed=first_seed + k
        )
        for k in range(n_videos)
    ]


def save_model(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    config = VideomtConfig(
        image_size=SIZE,
        patch_size=8,
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=3,
        num_blocks=2,
        num_queries=8,
        num_upscale_blocks=1,
        layerscale_value=1.0,
        id2label={0: "thing"},
        label2id={"thing": 0},
    )
    VideomtForUniversalSegmentation(config).save_pretrained(folder)
    (folder / "napari_eomt.json").write_text(json.dumps({"tasks": ["instance"]}))


def teach(out: Path, args: argparse.Namespace) -> Path:
    n_alike = args.videos // 2 if args.teach_alike else 0
    videos = draw(args.videos - n_alike, 0, args.objects, 0.5)
    videos += draw(n_alike, args.videos, args.objects, 0.0, alike=True)
    write_videos(out / "set", videos)
    save_model(out / "start", args.seed)
    start = time.perf_counter()

    def show(progress: TrainProgress) -> None:
        if progress.what == "checked":
            seconds = time.perf_counter() - start
            print(
                f"  step {progress.step}: IDF1 {progress.scores} after {seconds:.0f} s", flush=True
            )

    run = train(
        out / "set",
        full(
            steps=args.steps,
            batch_size=args.batch,
            clip_length=args.clip,
            clip_stride=args.stride,
            learning_rate=args.rate,
            layer_decay=1.0,
            clip_norm=args.clip_norm,
            scale_jitter=(1.0, 1.0),
            flips="rotations",
            brightness=0.0,
            contrast_jitter=0.0,
            saturation=0.0,
            hue=0.0,
            points=512,
            auxiliary_losses=False,
            val_fraction=0.05,
            validation_interval=args.steps // 5,
            seed=args.seed,
        ),
        model=out / "start",
        out=out / "run",
        device="cpu",
        on_progress=show,
    )
    assert run.model_folder is not None
    print(f"{args.steps} steps took {time.perf_counter() - start:.0f} s")
    return run.model_folder


def tracked(model: Path, videos: Sequence[DrawnVideo], score: float) -> list[list[Segmentation]]:
    segmenter = load_segmenter(model, device="cpu")
    found = []
    for video in videos:
        tracker = VideoTracker(segmenter, PredictParams(score_threshold=score), ANY_GAP)
        frames = []
        for frame in video.frames:
            steps = tracker.iter_frame(frame)
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    frames.append(stop.value.segmentation)
                    break
        found.append(frames)
    return found


def without_ids(id_maps: Sequence[np.ndarray], seed: int) -> list[Segmentation]:
    """Number the objects of each frame anew."""
    rng = np.random.default_rng(seed)
    frames = []
    for labels in id_maps:
        ids = np.unique(labels[labels > 0])
        table = np.zeros(int(labels.max(initial=0)) + 1, np.uint16)
        table[ids] = rng.permutation(len(ids)) + 1
        segments = tuple(Segment(i + 1, 1, score=1.0) for i in range(len(ids)))
        frames.append(Segmentation(table[labels], segments))
    return frames


def show(title: str, videos: Sequence[DrawnVideo], found: Sequence[Sequence[Segmentation]]) -> None:
    ways: dict[str, list[list[Segmentation]]] = {"queries": [list(frames) for frames in found]}
    for name, params in WAYS.items():
        ways[name] = [
            list(iter_linked(without_ids([f.id_map for f in frames], k), params))
            for k, frames in enumerate(found)
        ]
        ways[f"true, {name}"] = [
            list(iter_linked(without_ids(list(video.ids), k), params))
            for k, video in enumerate(videos)
        ]
    reports = [evaluate_tracks(v.ids, f) for v, f in zip(videos, found, strict=True)]
    n_found, n_hit = sum(r.n_found for r in reports), sum(r.tp for r in reports)
    n_truth = sum(r.n_truth for r in reports)
    print(
        f"\n{title}: {len(videos)} videos; {n_hit} of {n_truth} objects of a frame found, ", end=""
    )
    print(f"{n_found - n_hit} that are none")
    for name, tracks in ways.items():
        reports = [evaluate_tracks(v.ids, f) for v, f in zip(videos, tracks, strict=True)]
        idf1 = float(np.mean([r.idf1 or 0.0 for r in reports]))
        print(f"  {name:24} IDF1 {idf1:.3f}   {sum(r.switches for r in reports):4} switches")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="trained before; else one is trained")
    parser.add_argument("--out", type=Path, default=Path("drawn_tracks"))
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--tests", type=int, default=30)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--clip", type=int, default=8)
    parser.add_argument("--stride", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--clip-norm", type=float, default=1.0)
    parser.add_argument("--score", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alike", action="store_true", help="also track objects that look alike")
    parser.add_argument("--teach-alike", action="store_true", help="also learn from such")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = args.model or teach(args.out, args)
    for name, absent in (("cross", 0.0), ("return", 1.0)):
        videos = draw(args.tests, FIRST_TEST_SEED, args.objects, absent)
        show(name, videos, tracked(model, videos, args.score))
    if args.alike:
        # Nobody could tell which one comes back.
        videos = draw(args.tests, FIRST_TEST_SEED, args.objects, 0.0, alike=True)
        show("cross, alike", videos, tracked(model, videos, args.score))


if __name__ == "__main__":
    main()
