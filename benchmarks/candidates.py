"""How soon the candidates under the cursor are known, in one process and through the worker.

Run ``python benchmarks/candidates.py`` on an otherwise idle machine; ``--help`` tells the options.

In one process: a cursor that jumps over 1024² pixels seen whole by a model of 640 px, and over
2048² in tiles of it, 200 queries a view with drawn masks; "first" is the first question of a
place, "again" the second; in CPU seconds of one thread. Through the worker: the bundled model over
drawn nuclei, from the question to the event, polled as often as possible, while the process is
idle and while it segments another image; in seconds of the clock.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_eomt.inference.candidates import candidate_mask, candidates_at, candidates_in
from napari_eomt.inference.decision import View
from napari_eomt.inference.hidden import hidden
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.plan import Plan
from napari_eomt.inference.proposals import Proposals
from napari_eomt.inference.split import best_split
from napari_eomt.models.catalog import DEFAULT_MODEL, find_model
from napari_eomt.models.segmenter import QueryOutput
from napari_eomt.structures.categories import Category
from napari_eomt.structures.tiles import Tile, tile_grid
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.worker.client import (
    CandidatesFound,
    Finished,
    JobProgress,
    ModelRef,
    WorkerClient,
    WorkerState,
)

if TYPE_CHECKING:
    from collections.abc import Callable

INPUT_SIZE, GRID, N_QUERIES, N_CLASSES = 640, 160, 200, 80
PARAMS = PredictParams(task="instance", score_threshold=0.5)


def drawn_proposals(shape: tuple[int, int], tiled: bool, n_objects: int) -> Proposals:
    """Return proposals of discs of all sizes: two queries see each, of two or more categories."""
    rng = np.random.default_rng(0)
    centres = rng.random((n_objects, 2)) * shape
    radii = np.exp(rng.uniform(np.log(12), np.log(250), n_objects))
    scores = rng.uniform(0.02, 0.99, n_objects)
    card = find_model(DEFAULT_MODEL).model_copy(
        update={
            "tasks": ("instance", "panoptic"),
            "categories": tuple(Category(k + 1, f"class {k}") for k in range(N_CLASSES)),
            "input_size": INPUT_SIZE,
            "n_queries": N_QUERIES,
            "object_size": None,
        }
    )
    canvas = shape if tiled else (INPUT_SIZE, INPUT_SIZE)
    tiles = tile_grid(*canvas, INPUT_SIZE, INPUT_SIZE // 4) if tiled else [Tile(0, 0, *canvas)]
    plan = Plan(shape, canvas, tuple(tiles), "tiles" if tiled else "padded")
    views = [_view(plan, tile, rng, centres, radii, scores) for tile in tiles]
    return Proposals(plan, card, PARAMS, views, None)


def _view(
    plan: Plan,
    tile: Tile,
    rng: np.random.Generator,
    centres: np.ndarray,
    radii: np.ndarray,
    scores: np.ndarray,
) -> View:
    region = plan.region(tile)
    cell = region.height / GRID
    y, x = np.mgrid[:GRID, :GRID] * cell + cell / 2
    masks = rng.normal(-9, 0.5, (1, N_QUERIES, GRID, GRID)).astype(np.float32)
    classes = rng.normal(-2, 1, (1, N_QUERIES, N_CLASSES + 1)).astype(np.float32)
    classes[..., -1] += 8
    gap = np.maximum(
        np.abs(centres - (region.y0 + region.height / 2, region.x0 + region.width / 2))
        - (region.height / 2, region.width / 2),
        0,
    )
    seen = np.flatnonzero(np.hypot(*gap.T) < radii)[: N_QUERIES // 2]
    for k, i in enumerate(seen):
        for q in (2 * k, 2 * k + 1):
            radius = radii[i] * rng.uniform(0.9, 1.1)
            cy, cx = centres[i] - (region.y0, region.x0)
            masks[0, q] = np.clip((radius - np.hypot(y - cy, x - cx)) / cell, -9, 9)
            share = scores[i] * (1 if q % 2 else 0.6)
            total = np.exp(classes[0, q]).sum()
            classes[0, q, rng.integers(N_CLASSES)] = np.log(total * share / (1 - share))
    return View.of(tile, QueryOutput(torch.from_numpy(classes), torch.from_numpy(masks)))


def tell(name: str, seconds: list[float]) -> None:
    p50, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
    print(f"{name:58} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   max {max(seconds) * 1e3:7.2f} ms")


def timed(
    do: Callable[..., Any], *args: Any, clock: Callable[[], float] = time.process_time
) -> tuple[float, Any]:
    start = clock()
    found = do(*args)
    return clock() - start, found


def in_process(name: str, proposals: Proposals, n: int) -> None:
    print(f"{name}: {len(proposals.views)} views, {proposals.nbytes / 2**20:.0f} MB")
    candidates_at(proposals, 1, 1, PARAMS)  # libraries warm
    rng, n_found = np.random.default_rng(1), []
    first, again, boxes, masks, splits = [], [], [], [], []
    for y, x in rng.random((n, 2)) * proposals.plan.shape:
        seconds, found = timed(candidates_at, proposals, y, x, PARAMS)
        first.append(seconds)
        n_found.append(len(found))
        again.append(timed(candidates_at, proposals, y, x, PARAMS)[0])
        boxes.append(timed(candidates_in, proposals, (y - 30, x - 30, y + 30, x + 30), PARAMS)[0])
        if found:
            seconds, patch = timed(candidate_mask, proposals, found[0].parts, PARAMS)
            masks.append(seconds)
            args = (proposals, patch.pixels, patch.origin, PARAMS)
            splits.append(timed(best_split, *args)[0])
    tell(f"  under the cursor, first ({np.mean(n_found):.1f} candidates)", first)
    tell("  under the cursor, again", again)
    tell("  in a box of 60 px", boxes)
    tell("  mask of the best", masks)
    tell("  split of the best", splits)
    proposals.decide(PARAMS)
    tell("  hidden", [timed(hidden, proposals, PARAMS)[0] for _ in range(3)])


class Nuclei:
    """Drawn nuclei, the same in every frame."""

    name = "nuclei"

    def __init__(self, side: int, n_frames: int = 1) -> None:
        self.n_frames = n_frames
        self.image = drawn_nuclei((side, side), n=side * side // 1200, seed=1)[0]

    def frame(self, index: int) -> np.ndarray:
        return self.image


def wait(client: WorkerClient, job: int, kind: type) -> Any:
    while True:
        for event in client.poll():
            if isinstance(event, kind) and getattr(event, "job", None) == job:
                return event
        time.sleep(0.0005)


def through_worker(side: int, n: int) -> None:
    client, model = WorkerClient(n_threads=1), ModelRef(DEFAULT_MODEL, "cpu")
    params = PredictParams()
    wait(client, client.segment(model, Nuclei(side), [0], params, "kept"), Finished)
    while client.state is not WorkerState.WARM:
        time.sleep(0.01)
    rng = np.random.default_rng(2)
    for name in ("idle", "idle again"):
        points = np.random.default_rng(3).random((n, 2)) * side
        seconds = [timed(ask, client, p, params, clock=time.perf_counter)[0] for p in points]
        tell(f"worker, {side}² nuclei, {name}", seconds)
    job = client.segment(model, Nuclei(2048, 50), range(50), params, "other")
    wait(client, job, JobProgress)
    seconds = [
        timed(ask, client, p, params, clock=time.perf_counter)[0] for p in rng.random((n, 2)) * side
    ]
    tell(f"worker, {side}² nuclei, while it segments", seconds)
    client.close()


def ask(client: WorkerClient, point: np.ndarray, params: PredictParams) -> CandidatesFound:
    question = client.candidates("kept", 0, params, point=(point[0], point[1]))
    found: CandidatesFound = wait(client, question, CandidatesFound)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--side", type=int, default=1024, help="of the nuclei, in px")
    options = parser.parse_args()
    torch.set_num_threads(1)
    whole = drawn_proposals((1024, 1024), tiled=False, n_objects=90)
    in_process("1024² whole", whole, options.questions)
    tiles = drawn_proposals((2048, 2048), tiled=True, n_objects=300)
    in_process("2048² in tiles", tiles, options.questions)
    through_worker(options.side, options.questions)


if __name__ == "__main__":
    main()
