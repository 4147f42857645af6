"""From pixels to id map: the plugin beside transformers' processor, model and post-processing.

    python benchmarks/pipeline.py --size 640 2048

The same randomly initialised ViT-S-sized EoMT (input 640 px, 200 queries, 133 categories) in one
run, alternating; its class head is scaled until about `--kept` queries pass the score threshold.
Its masks are noise from cell to cell, which is the worst case for our post-processing. Times are
CPU seconds of the process, medians; memory is a fresh process's peak above what the loaded model
takes. The id maps are compared as partitions of the image.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EomtConfig, EomtForUniversalSegmentation
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil

from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict
from napari_eomt.models.load import load_segmenter

SIZE, N_QUERIES, N_LABELS, THRESHOLD = 640, 200, 133, 0.5
TASKS = ("panoptic", "instance", "semantic")


def save_model(folder: Path, n_kept: int) -> None:
    torch.manual_seed(0)
    config = EomtConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        num_blocks=3,
        num_queries=N_QUERIES,
        num_labels=N_LABELS,
        image_size=SIZE,
    )
    model = EomtForUniversalSegmentation(config).eval()
    model.attn_mask_probs.zero_()
    with torch.inference_mode():
        logits = model(torch.randn(1, 3, SIZE, SIZE)).class_queries_logits[0]
        low, high = 1.0, 1e4
        for _ in range(40):
            scale = (low * high) ** 0.5
            kept = (logits * scale).softmax(-1)[:, :-1].max(-1).values > THRESHOLD * 1.5
            low, high = (scale, high) if kept.sum() < n_kept else (low, scale)
    with torch.no_grad():
        model.class_predictor.weight.mul_(scale)
        model.class_predictor.bias.mul_(scale)
    model.save_pretrained(folder)
    (folder / "napari_eomt.json").write_text('{"tasks": ["panoptic", "instance", "semantic"]}')


def ours(segmenter: Any, image: np.ndarray, task: str) -> np.ndarray:
    params = PredictParams(
        task=task, tiling="whole", contrast="none", overlap="query_order",
        score_threshold=THRESHOLD,
    )  # fmt: skip
    result = predict(image, segmenter, params)
    if task != "semantic":
        return result.id_map
    table = np.zeros(int(result.id_map.max()) + 1, np.int64)
    for segment in result.segments:
        table[segment.id] = segment.category_id
    return table[result.id_map]


def theirs(segmenter: Any, image: np.ndarray, task: str) -> np.ndarray:
    is_semantic = task == "semantic"
    size = {"shortest_edge": SIZE, "longest_edge": None if is_semantic else SIZE}
    processor = EomtImageProcessorPil(size=size, do_split_image=is_semantic, do_pad=not is_semantic)
    inputs = processor(image, return_tensors="pt", input_data_format="channels_last")
    with torch.inference_mode():
        outputs = segmenter.model(**inputs)
    shapes = [image.shape[:2]]
    if is_semantic:
        return processor.post_process_semantic_segmentation(outputs, shapes)[0].numpy() + 1
    post = getattr(processor, f"post_process_{task}_segmentation")
    result = post(outputs, shapes, threshold=THRESHOLD)[0]["segmentation"]
    return np.asarray(result).astype(np.int64) + 1


METHODS = {"ours": ours, "transformers": theirs}


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return the part of the pixels whose segments correspond one to one."""
    pairs, counts = np.unique(
        np.stack([one.ravel().astype(np.int64), other.ravel()]), axis=1, return_counts=True
    )
    partner = {a: b for a, b, _ in sorted(zip(*pairs, counts, strict=True), key=lambda p: p[2])}
    same = sum(n for a, b, n in zip(*pairs, counts, strict=True) if partner[a] == b)
    return same / one.size


def peak_kb() -> int:
    # Of this address space; what getrusage says is inherited from the parent.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def peak(folder: str, method: str, task: str, size: int, queue: Any) -> None:
    torch.set_num_threads(1)
    segmenter, image = load_segmenter(folder, "cpu"), picture(size)
    before = peak_kb()
    METHODS[method](segmenter, image, task)
    queue.put((peak_kb() - before) / 1e6)


def measure_peak(*args: Any) -> float:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=peak, args=(*args, queue))
    process.start()
    gigabytes = queue.get()
    process.join()
    return float(gigabytes)


def picture(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=[640, 2048])
    parser.add_argument("--kept", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), args.kept)
        segmenter = load_segmenter(folder, "cpu")
        print(f"{'task':10s} {'px':>5s} {'ours':>9s} {'theirs':>9s} {'ratio':>6s}   peak memory")
        for size in args.size:
            image = picture(size)
            for task in TASKS:
                seconds: dict[str, list[float]] = {name: [] for name in METHODS}
                results = {}
                for _ in range(args.repeats):
                    for name, method in METHODS.items():
                        start = time.process_time()
                        results[name] = method(segmenter, image, task)
                        seconds[name].append(time.process_time() - start)
                a, b = (statistics.median(seconds[name]) for name in METHODS)
                memory = [measure_peak(folder, name, task, size) for name in METHODS]
                same = agreement(results["ours"], results["transformers"])
                print(
                    f"{task:10s} {size:5d} {a:7.2f} s {b:7.2f} s {b / a:5.1f}x   "
                    f"{memory[0]:.2f} against {memory[1]:.2f} GB   "
                    f"{int(results['ours'].max())} segments, same in {same:.4%} of the pixels",
                    flush=True,
                )


if __name__ == "__main__":
    main()
