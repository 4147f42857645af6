"""How quickly the worker stops, whether it grows, and what the way to it costs.

Run ``python benchmarks/worker.py`` on an otherwise idle machine; ``--help`` tells the options.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from napari_eomt.inference.params import PredictParams
from napari_eomt.worker.arrays import Slots
from napari_eomt.worker.client import (
    Cancelled,
    Event,
    Failed,
    Finished,
    FrameDone,
    JobProgress,
    ModelRef,
    WorkerClient,
)

POLL_S = 0.02
"""As the dock does."""

WHOLE = PredictParams(tiling="whole", object_size="as_is")
TILES = PredictParams(tiling="tiles", object_size="as_is")


class Frames:
    """One drawn frame, again and again."""

    name = "drawn"

    def __init__(self, side: int, n_frames: int) -> None:
        self.n_frames = n_frames
        rng = np.random.default_rng(0)
        coarse = rng.random((side // 16, side // 16)) > 0.8
        image = np.kron(coarse, np.full((16, 16), 120)) + rng.normal(30, 5, (side, side))
        self.image = image.clip(0, 255).astype(np.uint8)

    def frame(self, index: int) -> np.ndarray:
        return self.image


def wait(client: WorkerClient, job: int, what: tuple[type, ...] = (Finished,)) -> Event:
    """Return the first event of a kind about a job."""
    while True:
        for event in client.poll():
            if isinstance(event, Failed):
                sys.exit(f"{event.message}\n{event.details}")
            if isinstance(event, what) and getattr(event, "job", job) == job:
                return event
        time.sleep(0.002)


def wait_for_tile(client: WorkerClient, job: int) -> None:
    while True:
        event = wait(client, job, (JobProgress,))
        if isinstance(event, JobProgress) and event.what == "tile" and event.done:
            return


def cancel_latency(client: WorkerClient, model: ModelRef, n: int) -> None:
    source, rng, seconds = Frames(2048, 1), random.Random(0), []
    for _ in range(n):
        job = client.segment(model, source, [0], TILES, "cancel")
        wait_for_tile(client, job)
        time.sleep(rng.uniform(0, 0.5))
        start = time.perf_counter()
        client.cancel(job)
        while not any(isinstance(event, Cancelled) for event in client.poll()):
            time.sleep(POLL_S)
        seconds.append(time.perf_counter() - start)
    print(
        f"cancel between tiles of 2048²: p50 {statistics.median(seconds) * 1e3:.0f} ms, "
        f"max {max(seconds) * 1e3:.0f} ms over {n}"
    )


def growth(client: WorkerClient, model: ModelRef, n: int) -> None:
    source = Frames(256, 1)
    print(f"{'jobs':>6} {'worker MB':>10} {'client MB':>10} {'files':>6} {'threads':>8}")
    print(f"{0:>6} {usage(client)}")
    start = time.perf_counter()
    for i in range(1, n + 1):
        # More frames than are kept, so that proposals come and go.
        wait(client, client.segment(model, source, [0], WHOLE, f"image {i % 300}"))
        wait(client, client.decide(f"image {i % 300}", [0], WHOLE))
        if i % 100 == 0:
            print(f"{i:>6} {usage(client)}")
    seconds = time.perf_counter() - start
    print(f"{n} times segment and decide, 256²: {seconds / max(n, 1) * 1e3:.1f} ms each time")


def usage(client: WorkerClient) -> str:
    """Return memory of the worker and of this process, and files and threads of this one."""
    pids = (client.pid, os.getpid())
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    sizes = [n * os.sysconf("SC_PAGE_SIZE") / 2**20 for n in pages]
    n_files, n_threads = (len(os.listdir(f"/proc/self/{name}")) for name in ("fd", "task"))
    return f"{sizes[0]:>10.1f} {sizes[1]:>10.1f} {n_files:>6} {n_threads:>8}"


def transfer() -> None:
    for dtype, shape in ((np.uint8, (2048, 2048)), (np.uint8, (2048, 2048, 3))):
        slots, image = Slots.create(1), np.ones(shape, dtype)
        seconds = []
        for _ in range(30):
            start = time.perf_counter()
            slots.read(slots.write(0, image))
            seconds.append(time.perf_counter() - start)
        slots.close()
        best = statistics.median(seconds)
        print(
            f"{shape} {np.dtype(dtype)} in and out: {best * 1e3:.2f} ms, "
            f"{image.nbytes / best / 2**30:.1f} GiB/s"
        )


def throughput(client: WorkerClient, model: ModelRef, n: int, n_threads: int) -> None:
    # Imported here: the client's own memory is measured without torch.
    import torch

    from napari_eomt.inference.predict import predict
    from napari_eomt.models.load import load_segmenter

    torch.set_num_threads(n_threads)
    segmenter = load_segmenter(model.model, model.device)
    for name, params, n_frames in (("whole", WHOLE, n), ("tiles", TILES, max(1, n // 10))):
        source = Frames(2048, n_frames)
        wait(client, client.segment(model, source, [0], params, "warm"))
        predict(source.frame(0), segmenter, params)
        # In turns, because other programs come and go.
        there, here = [], []
        for _ in range(3):
            start = time.perf_counter()
            job = client.segment(model, source, range(n_frames), params, "throughput")
            wait(client, job)
            there.append(time.perf_counter() - start)
            start = time.perf_counter()
            for i in range(n_frames):
                predict(source.frame(i), segmenter, params)
            here.append(time.perf_counter() - start)
        print(
            f"2048², {name}: {min(there) / n_frames * 1e3:.1f} ms a frame in the worker, "
            f"{min(here) / n_frames * 1e3:.1f} ms in process, "
            f"ratio {min(there) / min(here):.3f}"
        )


def n_named(client: WorkerClient) -> int:
    """Count the files in /dev/shm that the worker and this process use."""
    used: list[str] = []
    for pid in (client.pid, os.getpid()):
        used += Path(f"/proc/{pid}/maps").read_text().split()
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed by now, as the one that lists this folder
                used.append(os.readlink(link))
    return sum(name.startswith("/dev/shm/") for name in used)


def n_shared() -> int:
    """Count what lies in /dev/shm, less the semaphores of other programs."""
    folder = Path("/dev/shm")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sum(not name.startswith("sem.") for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nuclei-nano", help="name or folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in both processes")
    parser.add_argument("--cancels", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=20, help="of the throughput")
    options = parser.parse_args()

    model = ModelRef(options.model, options.device)
    before = n_shared()
    client = WorkerClient(proposals_bytes=64 * 2**20, n_threads=options.threads)
    start = time.perf_counter()
    client.start()
    print(f"start() returned after {(time.perf_counter() - start) * 1e3:.1f} ms")
    wait(client, client.load(model))
    print(f"model warm after {time.perf_counter() - start:.1f} s")
    source = Frames(512, 1)
    wait(client, client.segment(model, source, [0], TILES, "warm"), (FrameDone,))
    cancel_latency(client, model, options.cancels)
    growth(client, model, options.jobs)
    transfer()
    print(f"files in /dev/shm used by worker and client: {n_named(client)}")
    throughput(client, model, options.frames, options.threads)
    start = time.perf_counter()
    client.close()
    print(f"closed in {(time.perf_counter() - start) * 1e3:.0f} ms")
    print(f"entries in /dev/shm: {before} before, {n_shared()} after")


if __name__ == "__main__":
    main()
