"""Datasets as somebody else may have written them, right or wrong, a few small images each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (48, 64)
CATEGORIES = [{"id": 1, "name": "cell"}]


def square(size, y, x, side):
    """Return a mask (H, W) bool."""
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def runs(mask):
    """Return COCO's uncompressed run lengths, column by column, by their definition."""
    counts, value, n = [], False, 0
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(n)
            value, n = pixel, 0
        n += 1
    return {"size": list(mask.shape), "counts": [*counts, n]}


def picture(masks, shape=SHAPE, seed=0):
    """Return (H, W) uint8: noise, brighter where there is an object."""
    grey = np.random.default_rng(seed).integers(0, 40, shape)
    for mask in masks:
        grey[mask] += 180
    return grey.astype(np.uint8)


class Draft:
    """A dataset that is being written: its content can be spoilt before, its files after.

    Parameters
    ----------
    folder : Path
        To make.
    n_images : int
        Each with two objects.
    """

    def __init__(self, folder: Path, n_images: int = 3) -> None:
        self.folder = folder
        (folder / "images").mkdir(parents=True)
        self.content = {"images": [], "annotations": [], "categories": list(CATEGORIES)}
        for k in range(n_images):
            masks = [square(SHAPE, 5 + k, 8, 12), square(SHAPE, 25, 30 + k, 14)]
            self.add(picture(masks, seed=k), masks)

    def add(self, pixels, masks, name="", category_id=1, **fields):
        """Add an image and its objects; floats and 16 bits become TIFF, the rest PNG."""
        images = self.content["images"]
        is_png = pixels.dtype in (np.uint8, bool)
        name = name or f"im{len(images)}.{'png' if is_png else 'tif'}"
        path = self.folder / "images" / name
        path.parent.mkdir(exist_ok=True)
        if is_png:
            Image.fromarray(pixels).save(path)
        else:
            kind = "minisblack" if pixels.ndim == 2 else "rgb"
            tifffile.imwrite(path, pixels, photometric=kind)
        height, width = pixels.shape[:2]
        image_id = len(images) + 1
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for mask in masks:
            self.annotate(image_id, runs(mask), category_id, **fields)

    def annotate(self, image_id, segmentation, category_id=1, **fields):
        """Add an annotation."""
        annotations = self.content["annotations"]
        known = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category_id}
        annotations.append(known | {"segmentation": segmentation, "iscrowd": 0} | fields)

    def image(self, k):
        """Return the path of an image."""
        return self.folder / "images" / self.content["images"][k]["file_name"]

    def save(self):
        """Write the JSON, and return the dataset's folder."""
        (self.folder / "annotations.json").write_text(json.dumps(self.content))
        return self.folder
