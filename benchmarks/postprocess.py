"""Time and memory of post-processing beside that of transformers, in one run, alternating.

    python benchmarks/postprocess.py --size 640 2048 --repeats 3

Two kinds of logits: those of a randomly initialised ViT-S-like EoMT, whose masks are noise from
one grid cell to the next, the worst case; and drawn regions that share the image, as those of a
trained model do. Class logits are set so that exactly `--kept` queries pass the score threshold.
Times are CPU seconds of the process, medians; memory is how much a fresh process's peak rises
during one call. Both results of each pair are compared.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import EomtConfig, EomtForUniversalSegmentation
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil

from napari_eomt.inference.postprocess import (
    SemanticView,
    instance_segments,
    panoptic_segments,
    semantic_map,
)
from napari_eomt.structures.tiles import Tile

INPUT_SIZE, GRID = 640, 160
THRESHOLD = 0.5
TASKS = ("panoptic", "instance", "semantic")

Logits = tuple[torch.Tensor, torch.Tensor]


def random_logits(n_queries: int, n_classes: int) -> tuple[Logits, float]:
    """Return what a randomly initialised model says, and its forward pass in CPU seconds."""
    torch.manual_seed(0)
    config = EomtConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        num_blocks=3,
        num_queries=n_queries,
        num_labels=n_classes,
        image_size=INPUT_SIZE,
    )
    model = EomtForUniversalSegmentation(config).eval()
    # At inference no mask keeps queries from looking, as in trained models.
    model.attn_mask_probs.zero_()
    pixels = torch.randn(1, 3, INPUT_SIZE, INPUT_SIZE)
    with torch.inference_mode():
        model(pixels)
        start = time.process_time()
        out = model(pixels)
        seconds = time.process_time() - start
    return (out.class_queries_logits[0].clone(), out.masks_queries_logits[0].clone()), seconds


def drawn_logits(n_queries: int, n_classes: int, n_kept: int) -> Logits:
    """Return logits of regions that share the image with soft, rough borders; others are faint."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(GRID) + 0.5, torch.arange(GRID) + 0.5, indexing="ij")
    centre = torch.rand(2, n_queries, 1, 1, generator=generator) * GRID
    size = 0.5 + torch.rand(n_queries, 1, 1, generator=generator)
    rough = torch.randn(n_queries, 1, GRID // 8, GRID // 8, generator=generator)
    rough = F.interpolate(rough, (GRID, GRID), mode="bicubic")[:, 0]
    distance = torch.hypot(y - centre[0], x - centre[1]) / size + rough * 2
    # Positive where a region is nearer than the next; its border is some two grid cells wide.
    first, second = distance[:n_kept].topk(2, dim=0, largest=False).values
    masks = torch.where(distance == first, second, first) - distance
    masks = masks.clamp(-12, 10) + torch.randn(masks.shape, generator=generator) * 0.3
    masks[n_kept:] -= 6
    return torch.randn(n_queries, n_classes + 1, generator=generator), masks


def keep(logits: Logits, n_kept: int) -> Logits:
    """Set class logits so that the first queries are sure, and the others see no object."""
    classes, masks = logits
    classes = classes.clone()
    best = classes[:, :-1].argmax(1)
    classes[torch.arange(len(classes)), best] += 12
    classes[n_kept:, -1] += 30
    return classes, masks


def ours(task: str, logits: Logits, size: int) -> Any:
    square, shape = (INPUT_SIZE, INPUT_SIZE), (size, size)
    if task == "semantic":
        view = SemanticView(Tile(0, 0, *square), *logits)
        return semantic_map([view], canvas_shape=square, input_size=INPUT_SIZE, shape=shape)
    place = {"input_size": INPUT_SIZE, "content": square, "shape": shape}
    if task == "instance":
        return instance_segments(
            *logits, **place, score_threshold=THRESHOLD, overlap="query_order"
        ).id_map
    return panoptic_segments(*logits, **place, score_threshold=THRESHOLD).id_map


def theirs(task: str, logits: Logits, size: int) -> Any:
    processor = EomtImageProcessorPil()
    out = SimpleNamespace(
        class_queries_logits=logits[0][None],
        masks_queries_logits=logits[1][None],
        patch_offsets=[torch.tensor([0, 0, INPUT_SIZE])],
    )
    shapes = [(size, size)]
    if task == "semantic":
        whole = {"shortest_edge": INPUT_SIZE, "longest_edge": None}
        return processor.post_process_semantic_segmentation(out, shapes, size=whole)[0].numpy() + 1
    post_process = getattr(processor, f"post_process_{task}_segmentation")
    return post_process(out, shapes, threshold=THRESHOLD)[0]["segmentation"].numpy() + 1


def is_same(one: Any, other: Any) -> bool:
    """Whether two maps are equal up to the numbering."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]).astype(np.int64), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def _peak() -> int:
    # The peak of this address space, in kB; what getrusage says is inherited from the parent.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure(name: str, task: str, arrays: tuple[Any, Any], size: int) -> float:
    """Return how much one call in this fresh process raises its peak, in GB."""
    torch.set_num_threads(1)
    logits = torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])
    before = _peak()
    {"ours": ours, "theirs": theirs}[name](task, logits, size)
    return (_peak() - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[640, 2048])
    parser.add_argument("--task", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--kept", type=int, default=100)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--classes", type=int, default=133)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    random, forward = random_logits(args.queries, args.classes)
    kinds = {
        "random": keep(random, args.kept),
        "drawn": keep(drawn_logits(args.queries, args.classes, args.kept), args.kept),
    }
    print(f"forward pass of a ViT-S-like model: {forward:.2f} s")
    print(f"{'task':9} {'logits':7} {'px':>5} {'ours':>8} {'theirs':>8} {'ratio':>6} ", end="")
    print(f"{'with forward':>12} {'memory, GB':>13}  equal")
    context = multiprocessing.get_context("spawn")
    for task in args.task:
        for kind, logits in kinds.items():
            for size in args.size:
                seconds: dict[Any, list[float]] = {ours: [], theirs: []}
                maps = {}
                for _ in range(args.repeats):
                    for method, times in seconds.items():
                        start = time.process_time()
                        maps[method] = method(task, logits, size)
                        times.append(time.process_time() - start)
                gigabytes = []
                for method in (ours, theirs):
                    with context.Pool(1) as pool:
                        shared = tuple(part.numpy() for part in logits)
                        job = (method.__name__, task, shared, size)
                        gigabytes.append(pool.apply(measure, job))
                mine, other = (statistics.median(times) for times in seconds.values())
                whole = (other + forward) / (mine + forward)
                print(
                    f"{task:9} {kind:7} {size:5} {mine:6.3f} s {other:6.2f} s {other / mine:5.0f}x "
                    f"{whole:11.1f}x {gigabytes[0]:5.2f} {gigabytes[1]:7.2f}  "
                    f"{is_same(maps[ours], maps[theirs])}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
