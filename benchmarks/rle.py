"""Run lengths of an id map, there and back, beside pycocotools mask by mask, in one run.

    python benchmarks/rle.py --size 4096 --objects 5000

Encoding is compared with `mask.encode(np.asfortranarray(id_map == i))` for each id, and with the
same cut to each object's box, for which the counts are put together in numpy and compressed by
pycocotools. Decoding is compared with `id_map[mask.decode(rle) > 0] = i`. Times are CPU seconds of
the process, medians; `--ids` takes that many of the ids for pycocotools, evenly, and scales the
time. Strings and pixels are compared, bit by bit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pycocotools.mask as coco
from scipy import ndimage

from napari_eomt.structures import rle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Coco = dict[str, Any]


def drawn(size: int, n: int) -> np.ndarray:
    """Return an id map of n ellipses on a grid, with a rough edge."""
    rng = np.random.default_rng(0)
    id_map = np.zeros((size, size), np.uint16 if n < 65_536 else np.uint32)
    side = int(np.ceil(np.sqrt(n)))
    step = size / side
    for i in range(n):
        centre = (np.array(divmod(i, side)) + 0.5) * step
        radii = rng.uniform(0.25, 0.6, 2) * step
        (y0, x0), (y1, x1) = (np.clip(centre + s * radii, 0, size).astype(int) for s in (-1, 1))
        y, x = np.ogrid[y0:y1, x0:x1]
        distance = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2
        rough = rng.uniform(0.9, 1, distance.shape)
        id_map[y0:y1, x0:x1][distance < rough] = i + 1
    return id_map


def encode_each(id_map: np.ndarray, ids: Iterable[int]) -> dict[int, Coco]:
    return {i: coco.encode(np.asfortranarray(id_map == i, np.uint8)) for i in ids}


def encode_boxes(id_map: np.ndarray, ids: Iterable[int]) -> dict[int, Coco]:
    height, width = id_map.shape
    slices = ndimage.find_objects(id_map.astype(np.int32))
    found = {}
    for i in ids:
        rows, columns = slices[i - 1]
        inside = np.pad(id_map[rows, columns] == i, ((1, 1), (0, 0)))
        x, y = np.nonzero((inside[1:] != inside[:-1]).T)
        at = (x + columns.start) * height + y + rows.start
        # A run down to the last row that goes on at the top of the next column is one run.
        twice = np.flatnonzero(np.diff(at) == 0)
        at = np.delete(at, np.concatenate((twice, twice + 1)))
        counts = np.diff(at, prepend=0, append=height * width)
        counts = counts[:-1] if counts[-1] == 0 else counts
        plain = {"counts": counts.tolist(), "size": [height, width]}
        found[i] = coco.frPyObjects(plain, height, width)
    return found


def decode_each(rles: dict[int, Coco], out: np.ndarray) -> np.ndarray:
    for i, one in rles.items():
        out[coco.decode(one) > 0] = i
    return out


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--ids", type=int, default=250, help="ids for pycocotools mask by mask")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()

    id_map = drawn(args.size, args.objects)
    ours_encode, found = timed(lambda: rle.encode(id_map), args.repeats)
    ours_paint, painted = timed(
        lambda: rle.paint(found.items(), np.zeros_like(id_map)), args.repeats
    )
    ids = list(found)
    some = ids[:: max(1, len(ids) // args.ids)]
    scale = len(ids) / len(some)
    each, masks = timed(lambda: encode_each(id_map, some), args.repeats)
    boxes, boxed = timed(lambda: encode_boxes(id_map, ids), args.repeats)
    back, theirs = timed(lambda: decode_each(masks, np.zeros_like(id_map)), args.repeats)

    n_runs = sum(len(one.counts) for one in found.values())
    print(f"{args.size}², {len(ids)} objects, {n_runs} bytes; pycocotools on {len(some)} of them")
    same = all(found[i].counts == masks[i]["counts"] for i in some)
    print(f"encode: ours {ours_encode:.3f} s")
    print(f"  mask by mask {each * scale:8.2f} s  {each * scale / ours_encode:7.1f}x  equal {same}")
    same = all(found[i].counts == boxed[i]["counts"] for i in ids)
    print(f"  box by box   {boxes:8.2f} s  {boxes / ours_encode:7.1f}x  equal {same}")
    same = np.array_equal(painted, id_map)
    same &= np.array_equal(np.where(np.isin(painted, some), painted, 0), theirs)
    print(f"decode into an id map: ours {ours_paint:.3f} s")
    print(f"  mask by mask {back * scale:8.2f} s  {back * scale / ours_paint:7.1f}x  equal {same}")


if __name__ == "__main__":
    main()
