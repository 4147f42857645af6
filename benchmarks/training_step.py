"""A training step beside transformers' own, and beside itself with a frozen trunk's tokens kept.

    python benchmarks/training_step.py                 # six minutes of a core
    python benchmarks/training_step.py --precision bf16  # as runs on CPUs that multiply it
    python benchmarks/training_step.py --device cuda --size 640 --width 384 --images 8
    # the shape of nuclei-nano, and of its batches
    python benchmarks/training_step.py --only step --size 128 --patch 8 --width 128 --layers 6 \
        --queries 64 --images 4 --objects 10 20

Random weights, discs as objects, the published loss (12,544 points) with AdamW.

step    forward, loss, backward and optimiser against transformers' forward with labels, backward
        and the same optimiser: the same weights and batch; P is the probability of masking, 1 as
        in the first sixth of a training, 0 as in its last; both in the same precision
kept    a step of the blocks that see queries alone, on the kept tokens of a frozen trunk, against
        a step that trains every weight with the same loss, without masking; and against one with
        the same trunk frozen and nothing kept. With the loss of the answer alone, as few images
        are learnt from, and with the auxiliary losses. Tokens are twice as wide here.

One run, alternating; the ratio of medians, and the smallest and largest ratio of neighbours. On a
CPU times are CPU seconds of the process, with one thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import EomtConfig, EomtForUniversalSegmentation

from napari_eomt.inference.trunk_cache import TrunkCache
from napari_eomt.training.heap import keep_freed_memory
from napari_eomt.training.loss_params import LossParams
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.parameter_groups import RateParams, make_optimizer
from napari_eomt.training.step import Batch, train_step
from napari_eomt.training.targets import ImageTargets
from napari_eomt.training.trunk import trunk_fingerprint, trunk_tokens, view_key

if TYPE_CHECKING:
    from collections.abc import Callable

N_LABELS = 20
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def make_model(args: argparse.Namespace, n_layers: int, n_blocks: int) -> Any:
    torch.manual_seed(0)
    config = EomtConfig(
        hidden_size=args.width,
        num_hidden_layers=n_layers,
        num_attention_heads=args.width // 64,
        num_blocks=n_blocks,
        num_queries=args.queries,
        num_labels=N_LABELS,
        image_size=args.size,
        patch_size=args.patch,
    )
    return EomtForUniversalSegmentation(config).train().to(args.device)


def make_objects(args: argparse.Namespace, n: int) -> tuple[list[Any], list[Any]]:
    generator = torch.Generator().manual_seed(1)
    y, x = torch.meshgrid(torch.arange(args.size), torch.arange(args.size), indexing="ij")
    masks, labels = [], []
    for _ in range(args.images):
        centre = args.size * torch.rand((n, 2, 1, 1), generator=generator)
        radius = args.size * (0.02 + 0.06 * torch.rand((n, 1, 1), generator=generator))
        inside = (y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2 < radius**2
        masks.append(inside.to(args.device))
        labels.append(torch.randint(0, N_LABELS, (n,), generator=generator).to(args.device))
    return masks, labels


def alternate(
    first: Callable[[], Any], second: Callable[[], Any], n_repeats: int, device: str
) -> dict[str, Any]:
    """Time two functions in turn, after one round to warm up."""

    def clock() -> float:
        if device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(n_repeats + 1):
        for function, into in zip((first, second), times, strict=True):
            start = clock()
            function()
            if repeat:
                into.append(clock() - start)
    medians = [statistics.median(one) for one in times]
    ratios = sorted(a / b for a, b in zip(*times, strict=True))
    return {
        "seconds": [round(median, 3) for median in medians],
        "ratio": round(medians[0] / medians[1], 2),
        "from_to": [round(ratios[0], 2), round(ratios[-1], 2)],
    }


def compare_steps(args: argparse.Namespace, n_objects: int, probability: float) -> dict[str, Any]:
    model = make_model(args, args.layers, n_blocks=3)
    network = TrainingNetwork(copy.deepcopy(model))
    network.set_mask_probabilities((probability,) * 3)
    model.attn_mask_probs.fill_(probability)
    pixels = torch.randn(args.images, 3, args.size, args.size, device=args.device)
    masks, labels = make_objects(args, n_objects)
    batch = Batch([ImageTargets(k, masks=m) for m, k in zip(masks, labels, strict=True)], pixels)
    as_floats = [mask.float() for mask in masks]
    optimizers = [make_optimizer(m, RateParams()) for m in (model, network.model)]
    precision = PRECISIONS[args.precision]

    def theirs() -> None:
        optimizers[0].zero_grad(set_to_none=True)
        with torch.autocast(args.device, torch.bfloat16, enabled=precision != torch.float32):
            loss = model(pixels, mask_labels=as_floats, class_labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        optimizers[0].step()

    def ours() -> None:
        train_step(
            network, [batch], optimizers[1], LossParams(), n_queries=args.queries,
            precision=precision,
        )  # fmt: skip

    return alternate(theirs, ours, args.repeats, args.device)


def compare_cached(
    args: argparse.Namespace, n_layers: int, n_blocks: int, has_auxiliary: bool
) -> dict[str, Any]:
    """Compare training on kept tokens with training every weight, and with a frozen trunk."""
    pixels = torch.randn(args.images, 3, args.size, args.size, device=args.device)
    masks, labels = make_objects(args, args.objects[0])
    targets = [ImageTargets(k, masks=m) for m, k in zip(masks, labels, strict=True)]
    networks = [
        TrainingNetwork(
            make_model(args, n_layers, n_blocks),
            is_trunk_frozen=is_frozen,
            has_auxiliary_losses=has_losses,
        )
        for is_frozen, has_losses in ((False, has_auxiliary), (True, has_auxiliary), (False, True))
    ]
    for network in networks:
        network.set_mask_probabilities((0,) * n_blocks)
    optimizers = [make_optimizer(network.model, RateParams()) for network in networks]
    cache = TrunkCache(2**30)
    fingerprint = trunk_fingerprint(networks[1])
    keys = [view_key(fingerprint, str(i), None) for i in range(args.images)]

    def step(which: int, batch: Batch) -> None:
        train_step(
            networks[which], [batch], optimizers[which], LossParams(), n_queries=args.queries,
            precision=PRECISIONS[args.precision],
        )  # fmt: skip

    def all_weights() -> None:
        step(0, Batch(targets, pixels))

    def published() -> None:
        step(2, Batch(targets, pixels))

    def frozen() -> None:
        step(1, Batch(targets, pixels))

    def kept() -> None:
        tokens = trunk_tokens(networks[1], keys, lambda which: pixels[list(which)], cache)
        step(1, Batch(targets, tokens=tokens))

    found = alternate(all_weights, kept, args.repeats, args.device)
    others = {"ratio_to_frozen": frozen, "ratio_to_published": published}
    return found | {
        name: alternate(other, kept, args.repeats, args.device)["ratio"]
        for name, other in others.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, help="fp32 on a CPU, else bf16")
    parser.add_argument("--size", type=int, default=320, help="side of the input, in px")
    parser.add_argument("--patch", type=int, default=16, help="side of a patch, in px")
    parser.add_argument("--width", type=int, default=192, help="channels of a token")
    parser.add_argument("--layers", type=int, default=12, help="blocks, of part step")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--images", type=int, default=2, help="in a batch")
    parser.add_argument("--objects", type=int, nargs="+", default=[10, 20, 50], help="in an image")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("step", "kept"))
    args = parser.parse_args()
    args.precision = args.precision or ("fp32" if args.device == "cpu" else "bf16")
    if args.device == "cpu":
        torch.set_num_threads(1)
        keep_freed_memory()
    if args.only != "kept":
        for n_objects in args.objects:
            for probability in (1.0, 0.0):
                found = compare_steps(args, n_objects, probability)
                print(json.dumps({"step": found, "objects": n_objects, "P": probability}))
    if args.only != "step":
        args.width *= 2
        for n_layers, n_blocks, has_auxiliary in ((12, 3, True), (12, 3, False), (24, 4, False)):
            found = compare_cached(args, n_layers, n_blocks, has_auxiliary)
            blocks = f"{n_blocks} of {n_layers}"
            print(json.dumps({"kept": found, "blocks": blocks, "auxiliary": has_auxiliary}))


if __name__ == "__main__":
    main()
