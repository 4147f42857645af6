"""Reading a COCO file as large as val2017's, and all its masks, beside pycocotools.

    python benchmarks/coco_json.py

A file is drawn: 5,000 images of 640 × 480, 36,000 annotations, most of them polygons of about 80
numbers, some of compressed run lengths, some of crowds. In a child process each, by turns:
`load_coco` against `pycocotools.COCO(path)`, then every mask, image by image: `masks_of` against
`annToRLE`, and `paint_annotations`, all of an image at once, against `annToMask`, one by one into
an id map. Times are CPU seconds of the process, medians of the rounds; memory is the highest
resident set of the process after the file was read, less what it had before. `load_coco` checks
every field and every mask, pycocotools none. Areas, and the pixels painted, are compared.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask

HEIGHT, WIDTH = 480, 640


def outline(rng: np.random.Generator, n: int) -> list[float]:
    """Return a star-shaped polygon of n points, with two decimals as COCO's have."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    radius = rng.lognormal(3.3, 0.9) * rng.uniform(0.6, 1, n)
    x = np.clip(rng.uniform(0, WIDTH) + radius * np.cos(angle), 0, WIDTH)
    y = np.clip(rng.uniform(0, HEIGHT) + radius * np.sin(angle), 0, HEIGHT)
    return [round(v, 2) for v in np.stack((x, y), axis=1).ravel().tolist()]


def drawn(path: Path, n_images: int, n_annotations: int) -> None:
    """Write the file: 85 % polygons, of which one in five has two parts, 14 % RLE, 1 % crowds."""
    rng = np.random.default_rng(0)
    annotations = []
    for i in range(1, n_annotations + 1):
        kind = rng.random()
        parts = [outline(rng, int(rng.integers(8, 72))) for _ in range(1 + (rng.random() < 0.2))]
        rle = coco_mask.merge(coco_mask.frPyObjects(parts, HEIGHT, WIDTH))
        segmentation: Any = parts
        if kind > 0.85:
            segmentation = {"size": rle["size"], "counts": rle["counts"].decode()}
        if kind > 0.99:
            flat = coco_mask.decode(rle).ravel(order="F").astype(np.int8)
            edges = np.flatnonzero(np.diff(np.concatenate(([0], flat)), append=-1))
            segmentation = {"size": rle["size"], "counts": np.diff(edges, prepend=0).tolist()}
        annotations.append(
            {
                "segmentation": segmentation,
                "area": float(coco_mask.area(rle)),
                "iscrowd": int(kind > 0.99),
                "image_id": int(rng.integers(1, n_images + 1)),
                "bbox": coco_mask.toBbox(rle).tolist(),
                "category_id": int(rng.integers(1, 81)),
                "id": i,
            }
        )
    images = [
        {"id": i, "height": HEIGHT, "width": WIDTH, "file_name": f"{i:012}.jpg", "license": 1}
        for i in range(1, n_images + 1)
    ]
    categories = [{"id": i, "name": f"c{i}", "supercategory": "s"} for i in range(1, 81)]
    value = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(value), encoding="utf-8")


def peak() -> float:
    """Return the highest resident set of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(path: Path, n_painted: int) -> dict[str, Any]:
    from napari_eomt.formats.coco_file import load_coco
    from napari_eomt.formats.coco_masks import masks_of, paint_annotations
    from napari_eomt.structures.rle import areas

    size = (HEIGHT, WIDTH)
    before = peak()
    start = time.process_time()
    file = load_coco(path)
    read = time.process_time()
    memory = peak() - before
    masks = [
        mask
        for image in file.images
        for mask in masks_of(file.annotations_of(image["id"]), size).values()
    ]
    decoded = time.process_time()
    total = sum(
        int((paint_annotations(file.annotations_of(image["id"]), size).id_map > 0).sum())
        for image in file.images[:n_painted]
    )
    painted = time.process_time()
    found = areas(masks).tolist()
    return {
        "read": read - start, "masks": decoded - read, "paint": painted - decoded,
        "memory": memory, "areas": found, "painted": total,
    }  # fmt: skip


def theirs(path: Path, n_painted: int) -> dict[str, Any]:
    from pycocotools.coco import COCO

    before = peak()
    start = time.process_time()
    coco = COCO(str(path))
    read = time.process_time()
    memory = peak() - before
    masks = [
        coco.annToRLE(record)
        for image in coco.dataset["images"]
        for record in coco.imgToAnns[image["id"]]
    ]
    decoded = time.process_time()
    total = 0
    for image in coco.dataset["images"][:n_painted]:
        records = coco.imgToAnns[image["id"]]
        id_map = np.zeros((HEIGHT, WIDTH), np.uint16)
        for k, record in enumerate(records):
            id_map[coco.annToMask(record) > 0] = k + 1
        total += int((id_map > 0).sum())
    painted = time.process_time()
    found = [int(coco_mask.area(mask)) for mask in masks]
    return {
        "read": read - start, "masks": decoded - read, "paint": painted - decoded,
        "memory": memory, "areas": found, "painted": total,
    }  # fmt: skip


def child(path: Path, which: str, n_painted: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", which, str(path), "--painted", str(n_painted)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--annotations", type=int, default=36_000)
    parser.add_argument("--painted", type=int, default=1000, help="images that are painted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        which, path = args.child
        run = ours if which == "ours" else theirs
        print(json.dumps(run(Path(path), args.painted)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        # In a process of its own: a child's highest memory begins with that of its parent.
        drawing = multiprocessing.get_context("spawn").Process(
            target=drawn, args=(path, args.images, args.annotations)
        )
        drawing.start()
        drawing.join()
        megabytes = path.stat().st_size / 1e6
        print(f"{args.images} images, {args.annotations} annotations, {megabytes:.1f} MB")
        found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
        for _ in range(args.rounds):
            for which, runs in found.items():
                runs.append(child(path, which, args.painted))
    first, other = found["ours"][0], found["theirs"][0]
    assert first["areas"] == other["areas"], "the masks differ"
    assert first["painted"] == other["painted"], "the painted pixels differ"
    print(f"{'':>8} {'ours':>10} {'pycocotools':>12} {'ratio':>6}")
    for key, unit in (("read", "s"), ("masks", "s"), ("paint", "s"), ("memory", "MB")):
        a, b = (statistics.median(run[key] for run in runs) for runs in found.values())
        print(f"{key:>8} {a:>8.2f} {unit} {b:>10.2f} {unit} {a / b:>6.2f}")


if __name__ == "__main__":
    main()
