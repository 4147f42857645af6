"""A dataset whose images are slices of one stack file."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import tifffile

from napari_eomt.structures.rle import encode
from napari_eomt.synthetic import drawn_nuclei

SHAPE = (72, 90)


@cache
def slices(n=4, first_seed=0, n_objects=4):
    """Draw slices, once; return (n, H, W) pixels, and as many id maps."""
    drawn = [drawn_nuclei(SHAPE, n_objects, seed=first_seed + k) for k in range(n)]
    return np.stack([image for image, _ in drawn]), np.stack([ids for _, ids in drawn])


def save_slices(folder, n=4, *, name="stack.tif", frames=None, **drawn):
    """Save a stack, and a COCO file that says which slice each image is; return the COCO file."""
    pixels, id_maps = slices(n, **drawn)
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / name, pixels, compression="zlib", photometric="minisblack")
    frames = range(n) if frames is None else frames
    size = {"height": SHAPE[0], "width": SHAPE[1]}
    images = [{"id": 10 + k, "file_name": name, "frame": f, **size} for k, f in enumerate(frames)]
    annotations = []
    for image in images:
        for mask in encode(id_maps[image["frame"]]).values():
            row = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": 1}
            annotations.append(row | {"iscrowd": 0, "segmentation": mask.as_coco()})
    path = folder / "instances.json"
    content = {"categories": [{"id": 1, "name": "nucleus"}], "images": images}
    path.write_text(json.dumps(content | {"annotations": annotations}))
    return path


def change(path, edit):
    """Change what is in a JSON file."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
