"""Export of many images with many objects, beside pycocotools mask by mask, in one run.

    python benchmarks/export.py --images 200 --objects 30000

Both write the same images as PNG and one COCO file with compressed run lengths, areas and boxes.
The baseline encodes `id_map == i` for each id and ends with `json.dump`; ours is `Dataset.add` for
each image and one `save`, which flushes everything to the disk and checks names, ids and the lock.
Each runs in a process of its own: CPU seconds, seconds by the clock, and the largest resident
memory beyond that after the imports. In the end the two files are compared by pycocotools.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pycocotools.mask as coco
from PIL import Image
from pycocotools.coco import COCO


def drawn(k: int, size: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image, and an id map of n ellipses with a rough edge on a grid."""
    rng = np.random.default_rng(k)
    id_map = np.zeros((size, size), np.uint16)
    side = int(np.ceil(np.sqrt(n)))
    step = size / side
    for i in range(n):
        centre = (np.array(divmod(i, side)) + 0.5) * step
        radii = rng.uniform(0.25, 0.6, 2) * step
        (y0, x0), (y1, x1) = (np.clip(centre + s * radii, 0, size).astype(int) for s in (-1, 1))
        y, x = np.ogrid[y0:y1, x0:x1]
        distance = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2
        id_map[y0:y1, x0:x1][distance < rng.uniform(0.9, 1, distance.shape)] = i + 1
    return (id_map % 200 + 20).astype(np.uint8), id_map


def ours(folder: Path, drawings: list[tuple[np.ndarray, np.ndarray]]) -> None:
    from napari_eomt.formats.dataset import Dataset
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Segment, Segmentation

    with Dataset.create(folder) as dataset:
        for k, (image, id_map) in enumerate(drawings):
            ids = np.unique(id_map[id_map > 0]).tolist()
            result = Segmentation(id_map, tuple(Segment(i, 1) for i in ids))
            dataset.add(image, result, name=f"image_{k}", categories=[Category(1, "object")])
        dataset.save()


def baseline(folder: Path, drawings: list[tuple[np.ndarray, np.ndarray]]) -> None:
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for k, (image, id_map) in enumerate(drawings):
        name = f"image_{k}.png"
        Image.fromarray(image).save(folder / "images" / name, compress_level=1)
        height, width = id_map.shape
        images.append({"id": k + 1, "file_name": name, "height": height, "width": width})
        for i in np.unique(id_map[id_map > 0]).tolist():
            rle = coco.encode(np.asfortranarray(id_map == i, np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": k + 1,
                    "category_id": 1,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "area": int(coco.area(rle)),
                    "bbox": coco.toBbox(rle).tolist(),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 1, "name": "object"}]
    with (folder / "annotations.json").open("w") as file:
        json.dump({"images": images, "annotations": annotations, "categories": categories}, file)


def measure(kind: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Run one of the two in a process of its own."""
    command = [
        sys.executable, __file__, "--images", str(args.images), "--objects", str(args.objects),
        "--size", str(args.size), "--child", kind, "--folder", str(folder),
    ]  # fmt: skip
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(answer)
    return found


def child(args: argparse.Namespace) -> None:
    # A few drawings over and over: their memory is the same for both, and not what is measured.
    few = [drawn(k, args.size, args.objects // args.images) for k in range(4)]
    drawings = [few[k % 4] for k in range(args.images)]
    run = {"ours": ours, "baseline": baseline}[args.child]
    warm_up = args.folder / "warm-up"
    run(warm_up, drawings[:1])  # and with it the imports
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time(), time.perf_counter()
    run(args.folder / "data", drawings)
    cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    print(json.dumps({"cpu": cpu, "wall": wall, "grown": grown / 1024, "peak": memory / 1024}))


def same(a: Path, b: Path) -> bool:
    found = [
        sorted(
            (r["image_id"], r["segmentation"]["counts"], r["area"], tuple(r["bbox"]))
            for r in COCO(path / "data" / "annotations.json").dataset["annotations"]
        )
        for path in (a, b)
    ]
    return found[0] == found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--objects", type=int, default=30_000)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--child", choices=["ours", "baseline"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return
    with tempfile.TemporaryDirectory() as name:
        folders = {kind: Path(name) / kind for kind in ("ours", "baseline")}
        found = {kind: measure(kind, folder, args) for kind, folder in folders.items()}
        n = len(COCO(folders["ours"] / "data" / "annotations.json").anns)
        size = (folders["ours"] / "data" / "annotations.json").stat().st_size / 2**20
        print(f"{args.images} images of {args.size}², {n} objects, {size:.1f} MiB of JSON")
        for kind, row in found.items():
            print(
                f"{kind:9s} {row['cpu']:7.2f} s CPU  {row['wall']:7.2f} s  "
                f"{n / row['wall']:9.0f} objects/s  +{row['grown']:.0f} MiB at most, on "
                f"{row['peak']:.0f} MiB"
            )
        ratio = found["baseline"]["cpu"] / found["ours"]["cpu"]
        print(f"ratio {ratio:.1f}x CPU, equal {same(folders['ours'], folders['baseline'])}")


if __name__ == "__main__":
    main()
