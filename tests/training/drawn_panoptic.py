"""A small panoptic dataset, drawn: things on stuff, a crowd, and void, as COCO has them."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

CATEGORIES = [
    {"id": 7, "name": "cell", "isthing": 1},
    {"id": 3, "name": "glass", "isthing": 0},
    {"id": 5, "name": "medium", "isthing": 0},
]
SIZE = 64
VOID_ROWS = 4
CROWD, GLASS, MEDIUM = 900, 70_000, 5_000_000
"""Ids in the PNGs; those of cells are 1001 and so on, up to 16,777,215."""


def drawn_ids(seed):
    """Return segment ids (H, W) int64: void above, glass left, medium right, cells, a crowd."""
    rng = np.random.default_rng(seed)
    ids = np.full((SIZE, SIZE), GLASS, np.int64)
    ids[:, SIZE // 2 :] = MEDIUM
    ids[:VOID_ROWS] = 0
    y, x = np.mgrid[:SIZE, :SIZE]
    for k in range(4):
        cy, cx = 18 + 28 * (k // 2) + rng.integers(-5, 6), 16 + 30 * (k % 2) + rng.integers(-5, 6)
        ids[(y - cy) ** 2 + (x - cx) ** 2 < 49] = 1001 + k * 65_536
    ids[-6:, :20] = CROWD
    return ids


def pixels_of(ids):
    """Return (H, W, 3) uint8: what the segments look like."""
    rgb = np.zeros((*ids.shape, 3), np.uint8)
    for what, colour in ((GLASS, (40, 60, 40)), (MEDIUM, (90, 60, 120)), (CROWD, (200, 200, 90))):
        rgb[ids == what] = colour
    rgb[ids % 65_536 == 1001] = (220, 210, 200)
    return rgb


def save_panoptic_set(folder, n_images=4):
    """Write the dataset: images/, panoptic/ and panoptic.json, whose path is returned."""
    (folder / "images").mkdir(parents=True)
    (folder / "panoptic").mkdir()
    images, annotations = [], []
    for k in range(n_images):
        ids = drawn_ids(k)
        Image.fromarray(pixels_of(ids)).save(folder / "images" / f"im{k}.png")
        rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65_536], axis=2).astype(np.uint8)
        Image.fromarray(rgb).save(folder / "panoptic" / f"im{k}.png")
        images.append({"id": 10 + k, "file_name": f"im{k}.png", "height": SIZE, "width": SIZE})
        infos = []
        for i in np.unique(ids[ids > 0]).tolist():
            category_id = {GLASS: 3, MEDIUM: 5}.get(i, 7)
            infos.append(
                {"id": i, "category_id": category_id, "iscrowd": int(i == CROWD)}
                | {"area": int((ids == i).sum()), "bbox": [0, 0, SIZE, SIZE]}
            )
        annotations.append({"image_id": 10 + k, "file_name": f"im{k}.png", "segments_info": infos})
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    path = folder / "panoptic.json"
    path.write_text(json.dumps(content))
    return path
