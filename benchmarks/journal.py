"""What saving the work costs: each stroke in the thread that edits, and opening and saving.

    OMP_NUM_THREADS=1 python benchmarks/journal.py --size 4096 --objects 5000

A stroke is painted as a viewer does: pixels of one object, then the edit that is recorded. Its
cost is what `Autosave` adds to `Session.record` in that thread; beside it stand the edit itself
and its bytes in the journal. Times are medians and 99 % quantiles; on a busy machine
the processor time says more than the clock.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_eomt.annotation import operations
from napari_eomt.annotation.autosave import Autosave
from napari_eomt.annotation.content import Content
from napari_eomt.annotation.document import Document
from napari_eomt.annotation.files import load_document, save_document
from napari_eomt.annotation.generations import generations, journal_path, replay
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.label_pages import measured
from napari_eomt.annotation.session import Session
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation


def discs(size: int, n: int, seed: int = 0) -> Segmentation:
    """Draw discs on a grid, with a little noise in place and size."""
    rng = np.random.default_rng(seed)
    id_map = np.zeros((size, size), np.uint16)
    per_row = int(np.ceil(np.sqrt(n)))
    step = size / per_row
    radius = 0.42 * step
    y, x = np.ogrid[: int(step), : int(step)]
    for k in range(n):
        top, left = int(k // per_row * step), int(k % per_row * step)
        middle = step / 2 + rng.uniform(-0.05, 0.05, 2) * step
        disc = np.hypot(y - middle[0], x - middle[1]) < radius * rng.uniform(0.7, 1)
        part = id_map[top : top + int(step), left : left + int(step)]
        part[disc[: part.shape[0], : part.shape[1]]] = k + 1
    segments = (
        Segment(i, 1, float(rng.random()), area=area, bbox=box, source="nuclei-nano")
        for i, (area, box) in measured(id_map).items()
    )
    return Segmentation(id_map, tuple(segments))


def stroke(rng: np.random.Generator, session: Session) -> tuple[float, float]:
    """Paint a round brush of 24 pixels at one of the objects, as a part of it.

    Returns
    -------
    (float, float)
        Seconds that the edit took, of the clock and of this thread's processor time.
    """
    document = session.document
    id_map = document.id_map(0)
    segment = rng.choice(list(document.segments(0)))
    y0, x0, y1, x1 = document.segments(0)[segment].bbox
    y, x = int(rng.integers(y0, y1)), int(rng.integers(x0, x1))
    y, x = min(y, id_map.shape[0] - 24), min(x, id_map.shape[1] - 24)
    part = id_map[y : y + 24, x : x + 24]
    before = part.copy()
    rows, columns = np.ogrid[:24, :24]
    brush = np.hypot(rows - 11.5, columns - 11.5) < 12
    part[brush] = segment
    edit = operations.painted(document, 0, before ^ part, (y, x), 1)
    start, cpu = time.perf_counter(), time.thread_time()
    session.record(edit)
    return time.perf_counter() - start, time.thread_time() - cpu


def quantiles(seconds: list[tuple[float, float]]) -> str:
    clock, cpu = np.array(seconds).T * 1000
    low, high = (f"{np.median(ms):.3f} (99 %: {np.quantile(ms, 0.99):.3f})" for ms in (clock, cpu))
    return f"{low} ms, of which processor {high} ms"


def timed(name: str, what, n: int = 5):
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        result = what()
        seconds.append(time.perf_counter() - start)
    print(f"{name:44} {np.median(seconds) * 1000:7.0f} ms")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096, help="pixels")
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--strokes", type=int, default=1000)
    options = parser.parse_args()
    document = Document((), (options.size, options.size), [Category(1, "nucleus")])
    session = Session(document)
    proposed = discs(options.size, options.objects)
    edit = operations.propose(document, 0, proposed)
    image = ImageRef.of(document.id_maps, "benchmark.tif")
    print(f"{options.size}² pixels, {len(proposed.segments):,} objects")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "session"
        rng = np.random.default_rng(0)
        session.do(edit)
        plain = [stroke(rng, session) for _ in range(options.strokes)]
        start = time.perf_counter()
        autosave = Autosave(session, folder, image)
        print(f"{'begin, in the editing thread':44} {(time.perf_counter() - start) * 1000:7.0f} ms")
        assert autosave.flush(60)
        print(f"{'... until the disk has the snapshot':44}", end="")
        print(f" {(time.perf_counter() - start) * 1000:7.0f} ms")
        path = journal_path(folder, generations(folder)["journal"][-1])
        size = path.stat().st_size
        saved = []
        for _ in range(options.strokes):
            saved.append(stroke(rng, session))
            time.sleep(0.002)  # faster than any hand, but not without a breath for the thread
        assert autosave.flush()
        n_bytes = (path.stat().st_size - size) / options.strokes
        print(f"{'stroke: record, not saved':44} {quantiles(plain)}")
        print(f"{'stroke: record, saved':44} {quantiles(saved)}")
        print(f"{'bytes per stroke in the journal':44} {n_bytes:7.0f}")
        size = path.stat().st_size
        again = operations.propose(document, 0, discs(options.size, options.objects, 1))
        start = time.perf_counter()
        session.do(again)
        seconds = time.perf_counter() - start
        print(f"{'all proposals replaced: do, saved':44} {seconds * 1000:7.0f} ms")
        assert autosave.flush()
        print(f"{'... its bytes in the journal':44} {path.stat().st_size - size:7,}")
        timed("restore: snapshot and steps", lambda: replay(folder), 3)
        autosave.close(discard=True)
        out = Path(name) / "a.eomt"
        timed("copy for a snapshot", lambda: Content.of(document))
        timed("save", lambda: save_document(document, out, image, overwrite=True))
        timed("open", lambda: load_document(out))
        sizes = {p.name: f"{p.stat().st_size / 1e6:.2f} MB" for p in out.iterdir()}
        print(sizes)


if __name__ == "__main__":
    main()
