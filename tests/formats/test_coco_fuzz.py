"""Thousands of damaged files: none does more than say what is wrong with it."""

from __future__ import annotations

import copy
import json
import os

import numpy as np
from tests.formats.drawn_coco import SIZE, drawn, same, video

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_file import load_coco, save_coco
from napari_eomt.formats.coco_instance import annotations_of, mask_of, read_document

N_FUZZ = int(os.environ.get("NAPARI_EOMT_FUZZ", "300"))
"""How many damaged files are read."""

VALUES = [
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(10**30),
    0.5,
    -0.0,
    1e308,
    "",
    "x",
    "\ud800",
    "0" * 50,
]
VALUES += [
    [],
    {},
    [[]],
    [None],
    [[1, 2]],
    {"size": [24, 32], "counts": "0"},
    {"counts": []},
    [1e9] * 8,
]


def nodes(value, found):
    """Collect every place of a value as (container, key)."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in list(keys):
        found.append((value, key))
        nodes(value[key], found)
    return found


def mutated(rng, value):
    """Return the bytes of a file of which some values, or some bytes, are others."""
    value = copy.deepcopy(value)
    if rng.random() < 0.7:
        for _ in range(rng.integers(1, 4)):
            places = nodes(value, [])
            container, key = places[rng.integers(len(places))]
            other, other_key = places[rng.integers(len(places))]
            what = rng.integers(5)
            if what == 0:
                del container[key]
            elif what == 1:
                container[key] = copy.deepcopy(other[other_key])
            elif what == 2 and isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            elif what == 3 and isinstance(container[key], (int, float)):
                container[key] = container[key] * float(rng.choice([-1, 0, 1.5, 1e3, 1e9]))
            else:
                container[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    data = bytearray(json.dumps(value).encode())
    if rng.random() < 0.5:
        for _ in range(rng.integers(1, 4)):
            at = rng.integers(len(data))
            what = rng.integers(4)
            if what == 0:
                data[at] = rng.integers(256)
            elif what == 1:
                del data[at : at + rng.integers(1, 30)]
            elif what == 2:
                data[at:at] = data[at : at + rng.integers(1, 30)]
            else:
                data[at : at + 1] = rng.choice(
                    [b"1e999", b"NaN", b"[", b'"', b"-", b"9" * 30, b"\xff"]
                )
            if not data:
                break
    return bytes(data)


def test_damaged_files_never_do_more_than_say_so(tmp_path):
    """Whatever is read can be opened, written, and read again, equal; all else is one error."""
    rng = np.random.default_rng(0)
    values = [drawn(), video()]
    path, out = tmp_path / "a.json", tmp_path / "b.json"
    n_read, told = 0, []
    for k in range(N_FUZZ):
        path.write_bytes(mutated(rng, values[k % 3 == 0]))
        try:
            file = load_coco(path, skip_invalid=bool(rng.random() < 0.5))
            for record in file.annotations:
                if "image_id" in record and "segmentations" not in record:
                    image = file.image_by_id[record["image_id"]]
                    mask_of(record, (image["height"], image["width"]))
            for image in file.images:
                if image["height"] * image["width"] > 100 * SIZE[0] * SIZE[1]:
                    continue  # allowed, but slow
                document = read_document(file, [image["id"]], origin_path=path)
                assert same(
                    annotations_of(document, 0, image["id"], file, file.next_annotation_id),
                    file.annotations_of(image["id"]),
                )
        except DataError as error:
            told.append(str(error))
            continue
        n_read += 1
        save_coco(file, out)
        again = load_coco(out)
        assert same(again.annotations, file.annotations)
        assert same(again.extra, file.extra)
    assert n_read > N_FUZZ // 10
    assert len(told) > N_FUZZ // 10
    assert [message for message in told if "\n" in message or len(message) > 700] == []
