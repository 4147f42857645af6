"""Reading the frames of a job, in a thread of its own: a lazy one may take minutes."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.errors import DataError, EomtError
from napari_eomt.worker import protocol

if TYPE_CHECKING:
    from napari_eomt.structures.frames import Frame, FrameSource
    from napari_eomt.worker.desk import Desk
    from napari_eomt.worker.job import Job

_one_reader = threading.Lock()
"""A read cannot be interrupted: it goes on after a cancel, while the next job already begins.
Files and lazy arrays are not all made for two readers at once."""


def start_feeder(desk: Desk, job: Job) -> None:
    """Read and send the frames of `job` until they are sent, or it is over.

    With two slots, and a frame in hand that waits for one of them, the reader is at most two
    frames ahead of the frame that is being worked on.
    """
    threading.Thread(
        target=_feed, args=(desk, job), name=f"napari-eomt feeder {job.id}", daemon=True
    ).start()


def _feed(desk: Desk, job: Job) -> None:
    slot: int | None = None
    try:
        for index in job.all_frames:
            frame = None
            if job.source is not None:
                with _one_reader:
                    if desk.is_over(job):
                        return
                    frame = _read(job.source, index)
            slot = desk.take_slot(job)
            if slot is None:
                return
            stored = None if frame is None else desk.slots.write(slot, frame)
            given = job.given.get(index)
            desk.send(job, protocol.Frame(job.id, index, slot, stored, given))
            slot = None
        desk.send(job, protocol.End(job.id))
    except EomtError as error:
        desk.fail(job, str(error), traceback.format_exc(), slot)
    except Exception as error:  # noqa: BLE001 - what reads the frames is not ours
        first = (str(error).strip().splitlines() or [""])[0]
        message = f"{job.name}: frame {index} could not be read ({type(error).__name__}: {first})."
        desk.fail(job, message, traceback.format_exc(), slot)


def _read(source: FrameSource, index: int) -> Frame:
    frame: Frame = np.asarray(source.frame(index))
    if frame.dtype.hasobject:
        raise DataError(
            f"{source.name}: frame {index} is not an array of numbers (its dtype is "
            f"{frame.dtype}). Choose an image layer with integer or floating-point pixels."
        )
    return frame
