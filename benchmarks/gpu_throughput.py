"""Images per second of whole models, ours beside transformers' pipeline on the same weights.

    python benchmarks/gpu_throughput.py                       # EoMT S, B, L and DINOv3-L, on CUDA
    python benchmarks/gpu_throughput.py --device cpu --models nano --dtype fp32 --repeats 3

For each model (random weights, COCO's 133 categories, 200 queries, 20 of them kept) and batch:

forward   the forward pass alone, pixels already on the device
pipeline  from uint8 images on the host to panoptic id maps on the host

each of ours, of ours compiled, and of transformers (its forward as it is; for the pipeline its
image processor, model and post-processing). One run, alternating; medians of wall-clock time,
after warm-up, with the device synchronised. Memory is the device's peak, on CUDA.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import (
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
)
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil

from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict
from napari_eomt.models.load import load_segmenter

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.models.segmenter import Segmenter

N_LABELS, N_QUERIES, N_KEPT, THRESHOLD = 133, 200, 20, 0.8
IMAGE_SHAPE = (960, 1280)


@dataclass(frozen=True)
class Size:
    architecture: str
    width: int
    depth: int
    n_heads: int
    n_query_blocks: int
    input_size: int


MODELS = {
    "nano": Size("eomt", 192, 6, 3, 3, 320),
    "nano-dinov3": Size("eomt_dinov3", 192, 6, 3, 3, 320),
    "S-640": Size("eomt", 384, 12, 6, 3, 640),
    "B-640": Size("eomt", 768, 12, 12, 3, 640),
    "L-640": Size("eomt", 1024, 24, 16, 4, 640),
    "L-1280": Size("eomt", 1024, 24, 16, 4, 1280),
    "DINOv3-L-640": Size("eomt_dinov3", 1024, 24, 16, 4, 640),
}


def save_model(size: Size, folder: Path) -> None:
    torch.manual_seed(0)
    common = {
        "hidden_size": size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.n_heads,
        "num_blocks": size.n_query_blocks,
        "num_queries": N_QUERIES,
        "num_labels": N_LABELS,
        "image_size": size.input_size,
    }
    if size.architecture == "eomt":
        model = EomtForUniversalSegmentation(EomtConfig(**common))
    else:
        model = EomtDinov3ForUniversalSegmentation(
            EomtDinov3Config(**common, intermediate_size=4 * size.width, num_register_tokens=4)
        )
    model.attn_mask_probs.zero_()
    with torch.no_grad():
        # Queries that differ, of which a few are sure: as many as an image has objects.
        model.query.weight.normal_()
        model.class_predictor.weight.mul_(0)
        model.class_predictor.bias.zero_()
        model.class_predictor.bias[-1] = 20.0
    model.save_pretrained(folder)
    (folder / "napari_eomt.json").write_text(json.dumps({"tasks": ["panoptic"]}))


def keep_some(model: Any) -> None:
    """Let the class logits of some queries be sure: random weights cannot be steered to that."""
    predict_all = model.predict

    def steered(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask_logits, class_logits = predict_all(tokens)
        sure = torch.zeros_like(class_logits)
        kept = torch.arange(N_KEPT, device=class_logits.device)
        sure[:, kept, kept % N_LABELS] = 40.0
        return mask_logits, class_logits + sure

    model.predict = steered


def median(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    call()
    synchronize()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def theirs_pipeline(model: Any, images: list[np.ndarray], segmenter: Segmenter) -> None:
    side = segmenter.card.input_size
    processor = EomtImageProcessorPil(
        size={"shortest_edge": side, "longest_edge": side}, do_split_image=False, do_pad=True
    )
    inputs = processor(images, return_tensors="pt", input_data_format="channels_last")
    pixels = inputs["pixel_values"].to(segmenter.device, segmenter.dtype)
    with torch.inference_mode():
        outputs = model(pixel_values=pixels)
    # As float32, which it needs: half-precision maps cannot be resized on every device.
    outputs.masks_queries_logits = outputs.masks_queries_logits.float()
    outputs.class_queries_logits = outputs.class_queries_logits.float()
    results = processor.post_process_panoptic_segmentation(
        outputs, target_sizes=[image.shape[:2] for image in images], threshold=THRESHOLD
    )
    for result in results:
        np.asarray(result["segmentation"].cpu())


def ours_pipeline(segmenter: Segmenter, images: list[np.ndarray]) -> None:
    params = PredictParams(
        task="panoptic", tiling="whole", contrast="none", score_threshold=THRESHOLD
    )
    for image in images:
        predict(image, segmenter, params)


def measure(name: str, args: argparse.Namespace, folder: Path) -> None:
    size = MODELS[name]
    save_model(size, folder)
    plain = load_segmenter(folder, args.device, args.dtype)
    device = plain.device
    fast = load_segmenter(folder, args.device, args.dtype, compiled=True)
    module = {
        "eomt": EomtForUniversalSegmentation,
        "eomt_dinov3": EomtDinov3ForUniversalSegmentation,
    }[size.architecture]
    reference = module.from_pretrained(folder).to(device, plain.dtype).eval()
    for model in (plain.model, fast.model, reference):
        keep_some(model)
    rng = np.random.default_rng(0)
    for batch in args.batches:
        images = [rng.integers(0, 256, (*IMAGE_SHAPE, 3), np.uint8) for _ in range(batch)]
        pixels = torch.randn(batch, 3, size.input_size, size.input_size).to(device, plain.dtype)

        @torch.inference_mode()
        def theirs_forward(pixels: torch.Tensor = pixels) -> object:
            return reference(pixel_values=pixels)

        calls: dict[str, dict[str, Callable[[], object]]] = {
            "forward": {
                "transformers": theirs_forward,
                "ours": lambda pixels=pixels: plain.forward(pixels),
                "ours, compiled": lambda pixels=pixels: fast.forward(pixels),
            },
            "pipeline": {
                "transformers": lambda images=images: theirs_pipeline(reference, images, plain),
                "ours": lambda images=images: ours_pipeline(plain, images),
                "ours, compiled": lambda images=images: ours_pipeline(fast, images),
            },
        }
        for what, of_what in calls.items():
            base = 0.0
            for who, call in of_what.items():
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats(device)
                rate = batch / median(call, args.repeats, device)
                base = base or rate
                memory = (
                    f"{torch.cuda.max_memory_allocated(device) / 2**30:6.2f} GiB"
                    if device.type == "cuda"
                    else ""
                )
                print(
                    f"{name:14} batch {batch:<2} {what:9} {who:15} {rate:8.2f} images/s "
                    f"{rate / base:6.2f}x {memory}",
                    flush=True,
                )
        for note in fast.notes:
            print(f"{name}: {note}")
        fast.notes.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS)[2:])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bf16", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    print(f"{where}, {args.dtype}, torch {torch.__version__}, images of {IMAGE_SHAPE}")
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, args, Path(folder))


if __name__ == "__main__":
    main()
