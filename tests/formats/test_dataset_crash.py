"""A process that exports is killed at any moment: the dataset is the old one or the new one.

    NAPARI_EOMT_KILLS=50 python -m pytest tests/formats/test_dataset_crash.py

kills more often than the tests do.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from napari_eomt.formats.coco_file import load_coco
from napari_eomt.formats.dataset import Dataset, load_dataset
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation

N_KILLS = int(os.environ.get("NAPARI_EOMT_KILLS", "4"))
SIZE = (96, 160)


def image(k: int) -> np.ndarray:
    return np.random.default_rng(k).integers(0, 255, SIZE, np.uint8)


def segmentation(step: int, k: int) -> Segmentation:
    """Return 60 objects in whose category the step is written."""
    y, x = np.indices(SIZE)
    id_map = (1 + y // 16 * 10 + x // 16).astype(np.uint16)
    id_map[(y % 16 > k % 12) | (x % 16 > 12)] = 0
    return Segmentation(id_map, tuple(Segment(i, step) for i in range(1, 61)))


def export_for_ever(folder: Path) -> None:
    """Each time add an image, and write the first one anew: two changes that belong together."""
    step = len(load_dataset(folder).file.images)
    tell("ready")
    while True:
        step += 1
        with load_dataset(folder) as dataset:
            now = [Category(step, f"step {step}")]
            for k in (step, 1):
                dataset.add(image(k), segmentation(step, k), name=f"image {k}", categories=now)
            dataset.save(val_fraction=0.3)
        tell(f"saved {step}")


def tell(text: str) -> None:
    """Write a line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def check(folder: Path, at_least: int) -> int:
    """Say how many images there are; everything has to fit to that number."""
    path = folder / "annotations.json"
    file, coco = load_coco(path), COCO(path)
    n = len(file.images)
    assert at_least <= n <= at_least + 1
    assert {len(file.annotations_of(r["id"])) for r in file.images} == {60}
    assert len(coco.anns) == 60 * n
    # The first image was written together with the last one.
    name = coco.cats[coco.imgToAnns[1][0]["category_id"]]["name"]
    assert name == f"step {n}"
    assert {coco.cats[a["category_id"]]["name"] for a in coco.imgToAnns[1]} == {name}
    for part in ("train", "val"):  # of before, if not of now
        load_coco(path.with_name(f"annotations_{part}.json"))
    dataset = load_dataset(folder)
    for k, record in enumerate(file.images, start=1):
        np.testing.assert_array_equal(dataset.image(record["id"]), image(k))
    parts = [load_coco(path.with_name(f"annotations_{part}.json")) for part in ("train", "val")]
    names = [r["file_name"] for part in parts for r in part.images]
    assert sorted(names) == sorted(r["file_name"] for r in file.images)
    return n


@pytest.mark.skipif(os.name == "nt", reason="the signal is POSIX's")
@pytest.mark.timeout(60 + 10 * N_KILLS)
def test_a_killed_export_leaves_the_old_dataset_or_the_new_one(tmp_path: Path) -> None:
    with Dataset.create(tmp_path) as dataset:
        dataset.add(
            image(1), segmentation(1, 1), name="image 1", categories=[Category(1, "step 1")]
        )
        dataset.save(val_fraction=0.3)
    rng, n, unfinished, moments = random.Random(N_KILLS), 1, 0, []
    for _ in range(N_KILLS):
        child = subprocess.Popen(
            [sys.executable, __file__, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, 0.5))
        child.kill()
        saved = child.communicate()[0].split()
        last = int(saved[-1]) if saved and saved[-1].isdigit() else n
        left = [*tmp_path.rglob(".dataset-*"), *tmp_path.glob(".writing-*.json")]
        unfinished += bool(left)
        n = check(tmp_path, last)
        moments.append(n - last)
    tell(
        f"{N_KILLS} kills, {n} images; {unfinished} left unfinished files, {sum(moments)} came "
        "after the dataset was replaced, before it was told"
    )


if __name__ == "__main__":
    export_for_ever(Path(sys.argv[1]))
