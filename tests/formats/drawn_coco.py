"""A small COCO file with an annotation of every kind, and what pycocotools makes of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pycocotools.mask as coco_mask

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (24, 32)


def mask_of(record: dict[str, Any], size: tuple[int, int] = SIZE) -> np.ndarray | None:
    """Return the mask of an annotation by pycocotools, as its `annToMask` does."""
    value = record.get("segmentation")
    if not value:
        return None
    if isinstance(value, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(value, *size))
    elif isinstance(value["counts"], list):
        rle = coco_mask.frPyObjects(value, *size)
    else:
        rle = value
    return coco_mask.decode(rle).astype(bool)


def box(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def rle(mask: np.ndarray, form: str = "str") -> dict[str, Any]:
    """Return a mask as run lengths: "str", "bytes" or "counts", which are not compressed."""
    if form == "counts":
        flat = mask.ravel(order="F").astype(np.int8)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], flat)), append=-1))
        return {"size": list(mask.shape), "counts": np.diff(edges, prepend=0).tolist()}
    found = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {
        "size": list(mask.shape),
        "counts": found["counts"] if form == "bytes" else found["counts"].decode(),
    }


def drawn() -> dict[str, Any]:
    """Return a file: overlaps, a crowd, a hole, parts, one pixel, a duplicate, boxes, keypoints."""
    ring = box(2, 2, 10, 12) & ~box(4, 4, 8, 8)
    parts = box(14, 2, 18, 6) | box(20, 2, 23, 9)
    masks: dict[int, Any] = {
        5: rle(ring),
        3: rle(box(5, 5, 7, 7)),
        90: [[14.5, 3.0, 29.25, 3.0, 29.25, 11.0, 14.5, 12.5], [20.0, 13.0, 25.0, 13.0, 22.5, 17]],
        11: rle(parts, "counts"),
        2**40: rle(box(3, 18, 6, 22)),
        7: rle(box(9, 10, 21, 31), "counts"),  # a crowd
        8: rle(box(22, 30, 23, 31)),  # one pixel
        9: rle(box(3, 18, 6, 22)),  # 2⁴⁰ again, on top of it
        12: [],
        13: None,
        15: rle(box(0, 0, 0, 0)),
    }
    annotations = []
    for k, (i, value) in enumerate(masks.items()):
        record = {"id": i, "image_id": 4, "category_id": 7 if k % 2 else -3, "iscrowd": int(i == 7)}
        record |= {"segmentation": value, "area": 12.345678901234567, "bbox": [0.5, 1.5, 3, 4]}
        if i == 13:
            del record["segmentation"]
            record |= {"keypoints": [1, 2, 2], "num_keypoints": 1}
        annotations.append(record | {"own": {"a": [1, 2.5, None, True], "ü": "🧬\ud83d"}})
    annotations[1]["attributes"] = {"occluded": True, "note": "a note", "status": "edited"}
    annotations[2] |= {"score": 0.25, "track_id": 6}
    annotations[3]["attributes"] = {"status": "done", "score": "high", "note": 3}
    annotations[6]["attributes"] = None
    return {
        "licenses": [],
        "info": {"year": 2026, "big": 12345678901234567890123, "small": 1e-300, "e": 1.0},
        "images": [
            {"id": 4, "height": 24, "width": 32, "file_name": "a b.png", "date": None},
            {"id": -1, "height": 24, "width": 32, "file_name": "ü.png"},
            {"id": 6, "height": 9, "width": 9},
        ],
        "annotations": annotations,
        "own": [{"deep": [[[]]]}, 0.1],
        "categories": [
            {"id": 7, "name": "cell", "supercategory": "x", "color": [1, 2, 255], "keypoints": []},
            {"id": -3, "name": "", "isthing": 0},
        ],
    }


def video() -> dict[str, Any]:
    """Return a file of one video of three frames, as YouTube-VIS has them."""
    record = {"id": 1, "video_id": 2, "category_id": 1, "iscrowd": 0, "areas": [9, None, 9]}
    record |= {"segmentations": [rle(box(0, 0, 3, 3)), None, rle(box(0, 0, 3, 3), "counts")]}
    record |= {"bboxes": [[0, 0, 3, 3], None, [0, 0, 3, 3]]}
    return {
        "videos": [{"id": 2, "height": 24, "width": 32, "length": 3, "file_names": list("abc")}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [record],
    }


def same(a: Any, b: Any) -> bool:
    """Whether two values of JSON are equal in everything: types, and the order of keys as well."""
    return json.dumps(a) == json.dumps(b)


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path
