"""A linker on disk, so that a video can go on where it was left."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_eomt.atomic import replacing
from napari_eomt.damaged import first_problem
from napari_eomt.errors import DataError, OutputError
from napari_eomt.inference.track_memory import Seen, TrackMemory, centre_of
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.tracks import Linker
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Literal["napari-eomt linker 1"] = "napari-eomt linker 1"


class _Track(BaseModel):
    """A track without its mask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    track_id: int = Field(ge=1)
    box: tuple[int, int, int, int]
    velocity: tuple[float, float]
    n_missed: int = Field(ge=0)
    n_seen: int = Field(ge=1)
    score_sum: float
    n_scores: int = Field(ge=0)
    votes: tuple[tuple[int, float], ...] = Field(min_length=1)
    parent_id: int | None
    segment_id: int
    category_id: int
    score: float | None
    is_thing: bool
    is_crowd: bool
    status: Status
    source: str

    @property
    def n_pixels(self) -> int:
        y0, x0, y1, x1 = self.box
        return (y1 - y0) * (x1 - x0)


class _State(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["napari-eomt linker 1"] = FORMAT
    params: TrackParams
    n_frames: int = Field(ge=0)
    next_id: int = Field(ge=1)
    shape: tuple[int, int] | None
    tracks: tuple[_Track, ...]

    @model_validator(mode="after")
    def _check(self) -> _State:
        for track in self.tracks:
            y0, x0, y1, x1 = track.box
            height, width = self.shape or (0, 0)
            if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
                raise ValueError(f"track {track.track_id} has a box outside of the frame")
            if track.track_id >= self.next_id:
                raise ValueError(f"track {track.track_id} is not below next_id")
        return self


def linker_arrays(linker: Linker) -> dict[str, npt.NDArray[np.uint8]]:
    """Return all that a linker needs to go on, as arrays that `numpy.savez` writes.

    Returns
    -------
    dict of str to array
        "state" is JSON in UTF-8, "masks" the bits of the tracks' masks, one after the other.
    """
    state = _State(
        params=linker.params,
        n_frames=linker.n_frames,
        next_id=linker.next_id,
        shape=linker.shape,
        tracks=tuple(_told(track) for track in linker.tracks),
    )
    bits = [track.seen.mask.ravel() for track in linker.tracks]
    return {
        "state": np.frombuffer(state.model_dump_json().encode(), np.uint8),
        "masks": np.packbits(np.concatenate(bits) if bits else np.zeros(0, bool)),
    }


def linker_of(arrays: dict[str, npt.NDArray[np.uint8]], name: str = "The linker") -> Linker:
    """Return the linker that `linker_arrays` has told of.

    Parameters
    ----------
    arrays : dict of str to array
    name : str
        What it is called in errors.

    Raises
    ------
    DataError
        If they are of no linker, or damaged.
    """
    try:
        raw: Any = json.loads(bytes(arrays["state"]))
        state = _State.model_validate(raw)
        n_bits = sum(track.n_pixels for track in state.tracks)
        bits = np.unpackbits(arrays["masks"], count=n_bits).astype(bool)
        if arrays["masks"].size != -(-n_bits // 8):
            raise ValueError(f"{arrays['masks'].size} bytes of masks, of {n_bits} pixels")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        problem = error if isinstance(error, ValidationError) else ValueError(str(error))
        raise DataError(
            f"{name} cannot go on: what was saved is damaged, or of another version "
            f"({first_problem(problem)}). Track the video from its start."
        ) from error
    linker = Linker(state.params, first_id=state.next_id)
    linker.n_frames, linker.shape = state.n_frames, state.shape
    start = 0
    for track in state.tracks:
        linker.tracks.append(_remembered(track, bits[start : start + track.n_pixels]))
        start += track.n_pixels
    return linker


def save_linker(linker: Linker, path: Path) -> None:
    """Write a linker to an .npz file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **linker_arrays(linker))  # type: ignore[arg-type]
    except OSError as error:
        raise OutputError(
            f"{path}: the state of tracking cannot be written ({error.strerror or error}). Free "
            "the disk, or choose another folder."
        ) from error


def load_linker(path: Path) -> Linker:
    """Read a linker from an .npz file.

    Raises
    ------
    DataError
        If it cannot be read, or is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("state", "masks")}
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path.name} is no saved state of tracking ({first_problem(error)}). Choose what "
            "tracking has written, or track the video from its start."
        ) from error
    return linker_of(arrays, path.name)


def _told(track: TrackMemory) -> _Track:
    segment = track.seen.segment
    return _Track(
        track_id=track.track_id,
        box=track.seen.box,
        velocity=track.velocity,
        n_missed=track.n_missed,
        n_seen=track.n_seen,
        score_sum=track.score_sum,
        n_scores=track.n_scores,
        votes=track.votes,
        parent_id=track.parent_id,
        segment_id=segment.id,
        category_id=segment.category_id,
        score=segment.score,
        is_thing=segment.is_thing,
        is_crowd=segment.is_crowd,
        status=segment.status,
        source=segment.source,
    )


def _remembered(track: _Track, bits: npt.NDArray[np.bool_]) -> TrackMemory:
    y0, x0, y1, x1 = track.box
    mask = bits.reshape(y1 - y0, x1 - x0).copy()
    area = int(mask.sum())
    segment = Segment(
        track.segment_id,
        track.category_id,
        score=track.score,
        is_thing=track.is_thing,
        is_crowd=track.is_crowd,
        status=track.status,
        source=track.source,
        area=area,
        bbox=track.box,
    )
    seen = Seen(segment, track.box, mask, area, centre_of(mask, track.box))
    return TrackMemory(
        track.track_id,
        seen,
        track.velocity,
        track.n_missed,
        track.n_seen,
        track.score_sum,
        track.n_scores,
        track.votes,
        track.parent_id,
    )
