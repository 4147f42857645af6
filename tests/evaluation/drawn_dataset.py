"""A small annotated dataset on disk, drawn: two types of image, a crowd, an empty image."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image
from tests.evaluation.drawn import disturbed, random_map

from napari_eomt.structures.rle import encode

CATEGORIES = [{"id": 4, "name": "cell"}, {"id": 9, "name": "debris"}]


def maps(n=4, seed=0):
    """Return true id maps and predicted ones; the last of both is empty."""
    rng = np.random.default_rng(seed)
    truth = [random_map(rng) for _ in range(n - 1)]
    pred = [disturbed(rng, one) for one in truth]
    return [*truth, np.zeros_like(truth[0])], [*pred, np.zeros_like(truth[0])]


def records(id_maps, *, scores=False):
    """Return COCO's annotations of id maps: odd ids are cells, even ones debris."""
    found = []
    for image_id, id_map in enumerate(id_maps, 1):
        for i, rle in encode(id_map).items():
            y0, x0, y1, x1 = rle.bbox
            found.append(
                {
                    "id": len(found) + 1,
                    "image_id": image_id,
                    "category_id": 4 if i % 2 else 9,
                    "segmentation": rle.as_coco(),
                    "area": rle.area,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                }
            )
            if scores:
                found[-1]["score"] = 0.5 + 0.5 / (i + 1)
    return found


def coco(id_maps, **options):
    height, width = id_maps[0].shape
    return {
        "images": [
            {
                "id": k,
                "file_name": f"im{k}.png",
                "height": height,
                "width": width,
                "type": ("dark", "bright")[k % 2],
            }
            for k in range(1, len(id_maps) + 1)
        ],
        "categories": CATEGORIES,
        "annotations": records(id_maps, **options),
    }


def write_dataset(folder, id_maps):
    """Write a dataset with images whose objects are bright."""
    (folder / "images").mkdir(parents=True)
    for k, id_map in enumerate(id_maps, 1):
        pixels = np.where(id_map > 0, 200, 20).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"im{k}.png")
    (folder / "annotations.json").write_text(json.dumps(coco(id_maps)))
    return folder
