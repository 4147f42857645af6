"""VidEoMT frame by frame: memory by the length of the video, speed beside the whole clip.

    OMP_NUM_THREADS=1 python benchmarks/video_stream.py
    OMP_NUM_THREADS=1 python benchmarks/video_stream.py --only memory --limit 200 --whole 10000
    python benchmarks/video_stream.py --device cuda --only speed --shape 640 1024 24 4 200

Randomly initialised models. Memory is the peak of a fresh process that makes each frame when it is
asked for and reads one query's class logits of each output; of transformers' call, which needs all
frames at once, the same. Its model is tiny, so that 10,000 frames take a minute. Speed is of
`iter_clip` and of transformers' `VideomtForUniversalSegmentation` on the same clip in one process,
in turns; a ratio of 2 is half the time. Its model is large enough that arithmetic counts for more
than calling it does. The largest difference of all logits is printed beside.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import VideomtConfig, VideomtForUniversalSegmentation

from napari_eomt.models.load import load_segmenter

if TYPE_CHECKING:
    from collections.abc import Iterator

N_LABELS = 40
# Input in px, channels of a token, blocks, blocks that see queries, queries.
TINY = (64, 64, 4, 2, 20)
SMALL = (320, 192, 6, 3, 100)


def save_model(folder: Path, shape: tuple[int, ...]) -> None:
    size, width, n_layers, n_blocks, n_queries = shape
    torch.manual_seed(0)
    config = VideomtConfig(
        hidden_size=width,
        num_hidden_layers=n_layers,
        num_attention_heads=max(1, width // 64),
        num_blocks=n_blocks,
        num_queries=n_queries,
        num_labels=N_LABELS,
        image_size=size,
    )
    VideomtForUniversalSegmentation(config).save_pretrained(folder)


def frames(n_frames: int, size: int, device: str) -> Iterator[torch.Tensor]:
    """Draw frames, each when it is asked for."""
    generator = torch.Generator().manual_seed(1)
    scene = torch.randn(1, 3, size, size, generator=generator)
    for _ in range(n_frames):
        noise = torch.randn(1, 3, size, size, generator=generator)
        yield (scene + 0.3 * noise).to(device)


def whole(model: Any, clip: torch.Tensor) -> Any:
    with torch.inference_mode():
        return model(pixel_values_videos=clip)


def in_kb(field: str) -> int:
    # Of this address space; what getrusage says is inherited from the parent.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure(folder: str, args: argparse.Namespace, method: str, n_frames: int, queue: Any) -> None:
    """Run one video in this fresh process; put its peaks and its speed into the queue."""
    torch.set_num_threads(args.threads)
    segmenter = load_segmenter(folder, device=args.device, dtype="fp32")
    loaded = in_kb("VmHWM")
    if args.limit:
        allowed = 1024 * in_kb("VmData") + args.limit * 10**6
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
    start = clock(args.device)
    source = frames(n_frames, segmenter.card.input_size, args.device)
    try:
        if method == "streaming":
            for output, _ in segmenter.iter_clip(source, look_ahead=args.look_ahead):
                output.class_logits[0, 0].tolist()
        else:
            whole(segmenter.model, torch.stack(list(source), dim=1))
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        queue.put({"failed": str(error).splitlines()[0][:80]})
        return
    found = {"peak_mb": round(in_kb("VmHWM") / 1e3, 1), "loaded_mb": round(loaded / 1e3, 1)}
    if args.device != "cpu":
        found["gpu_peak_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    queue.put(found | {"frames_per_s": round(n_frames / (clock(args.device) - start), 1)})


def report_memory(folder: str, args: argparse.Namespace) -> None:
    context = multiprocessing.get_context("spawn")
    key = "peak_mb" if args.device == "cpu" else "gpu_peak_mb"
    peaks = []
    jobs = [("streaming", n) for n in args.frames] + [("whole clip", n) for n in args.whole]
    for method, n_frames in jobs:
        queue = context.Queue()
        process = context.Process(target=measure, args=(folder, args, method, n_frames, queue))
        process.start()
        process.join()
        # A process that the system has killed for its memory says nothing.
        found = {"failed": f"exit {process.exitcode}"} if queue.empty() else queue.get()
        if method == "streaming":
            peaks.append(found.get(key, float("nan")))
        print(json.dumps({"memory": method, "frames": n_frames} | found), flush=True)
    print(json.dumps({"flat": round(max(peaks) / min(peaks) - 1, 4), "of": key}), flush=True)


def report_speed(folder: str, args: argparse.Namespace) -> None:
    segmenter: Any = load_segmenter(folder, device=args.device, dtype="fp32")
    source = frames(args.clip, segmenter.card.input_size, args.device)
    clip = torch.stack(list(source), dim=1)
    theirs = whole(segmenter.model, clip)
    for look_ahead in args.look_aheads:
        ours = [o for o, _ in segmenter.iter_clip(clip.unbind(1), look_ahead=look_ahead)]
        differences = [
            max(float((getattr(o, mine)[0] - rows[t]).abs().max()) for t, o in enumerate(ours))
            for mine, rows in (
                ("class_logits", theirs.class_queries_logits),
                ("mask_logits", theirs.masks_queries_logits),
            )
        ]
        del ours
        seconds: tuple[list[float], list[float]] = ([], [])
        for repeat in range(args.repeats):
            # Whichever comes second finds warmer caches: they take turns.
            for which in (0, 1) if repeat % 2 else (1, 0):
                start = clock(args.device)
                if which:
                    for _ in segmenter.iter_clip(clip.unbind(1), look_ahead=look_ahead):
                        pass
                else:
                    whole(segmenter.model, clip)
                seconds[which].append(clock(args.device) - start)
        ratios = sorted(a / b for a, b in zip(*seconds, strict=True))
        found = {
            "look_ahead": look_ahead,
            "frames": args.clip,
            "ratio": round(statistics.median(ratios), 3),
            "from_to": [round(ratios[0], 3), round(ratios[-1], 3)],
            "ms_a_frame": round(1000 * statistics.median(seconds[1]) / args.clip, 2),
            "difference": max(differences),
        }
        print(json.dumps({"speed": found}), flush=True)


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()  # on a busy machine it says more than the clock
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--shape", type=int, nargs=5, metavar=("PX", "WIDTH", "LAYERS", "BLOCKS", "QUERIES"),
        help="of the model of both parts",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument(
        "--whole", type=int, nargs="*", default=[100, 1000], help="frames of transformers' call"
    )
    parser.add_argument("--limit", type=int, help="MB that a process may take beside the model")
    parser.add_argument("--look-ahead", type=int, default=8, help="of the memory part")
    parser.add_argument("--look-aheads", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--clip", type=int, default=16, help="frames of the speed part")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("memory", "speed"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    parts = (("memory", TINY, report_memory), ("speed", SMALL, report_speed))
    for part, shape, report in parts:
        if args.only in (None, part):
            with tempfile.TemporaryDirectory() as folder:
                save_model(Path(folder), args.shape or shape)
                report(folder, args)


if __name__ == "__main__":
    main()
