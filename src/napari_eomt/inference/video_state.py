"""All that a run over a video needs to go on, as a value and as a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_eomt.atomic import replacing
from napari_eomt.damaged import first_problem
from napari_eomt.errors import DataError, ModelError, OutputError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.track_state import linker_arrays, linker_of
from napari_eomt.inference.video_queries import QueryLinker, QueryTrack
from napari_eomt.models.query_state import QueryState
from napari_eomt.models.videomt import VideomtSegmenter, model_fingerprint
from napari_eomt.structures.tiles import Tile

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.inference.tracks import Linker
    from napari_eomt.models.segmenter import Segmenter

FORMAT: Literal["napari-eomt video 1"] = "napari-eomt video 1"


class ModelIdentity(BaseModel):
    """Which model has made a state, and how it ran.

    Parameters
    ----------
    name : str
    fingerprint : str
        Of its weights.
    input_size : int
        Pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    input_size: int


def identity_of(segmenter: Segmenter) -> ModelIdentity:
    """Return which model this is, and how it runs now."""
    card = segmenter.card
    if isinstance(segmenter, VideomtSegmenter):
        fingerprint = segmenter.fingerprint
    else:
        model = getattr(segmenter, "model", None)
        # In the precision of this run: in another, masks differ, and the run would not repeat.
        fingerprint = model_fingerprint(model) if isinstance(model, torch.nn.Module) else card.name
    return ModelIdentity(name=card.name, fingerprint=fingerprint, input_size=card.input_size)


def check_model(now: ModelIdentity, then: ModelIdentity) -> None:
    """Raise a ModelError unless the model is the one that has made a state."""
    if now.fingerprint != then.fingerprint:
        raise ModelError(
            f"{now.name}: the run was begun with another model ({then.name}), with this one before "
            "it learnt, or in another precision. Go on with that, or track the video from its "
            "start."
        )
    if now.input_size != then.input_size:
        raise ModelError(
            f"{now.name}: the run was begun at an input size of {then.input_size} px, the model "
            f"runs at {now.input_size} px now. Go on with that, or track the video from its start."
        )


class _QueryTrack(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    track_id: int
    queries: tuple[tuple[int, int, int], ...]
    n_frames: int
    mask_sum: float
    category_id: int | None


class _About(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["napari-eomt video 1"] = FORMAT
    model: ModelIdentity
    params: PredictParams
    track: TrackParams
    n_frames: int = Field(ge=0)
    object_size: float | None
    n_seen: int = Field(ge=0)
    tiles: tuple[tuple[int, int, int, int], ...]
    query_tracks: tuple[_QueryTrack, ...] | None


@dataclass(frozen=True, eq=False)
class VideoState:
    """A tracker between two frames.

    Parameters
    ----------
    model : ModelIdentity
    params : PredictParams
    track : TrackParams
    n_frames : int
        That it has seen.
    object_size : float or None
        That was measured, in pixels.
    linker : dict of str to array
        See `linker_arrays`.
    queries : dict of Tile to QueryState
        Of a VidEoMT; else empty.
    query_tracks : dict of int to QueryTrack, or None
        Of a VidEoMT; else None.
    """

    model: ModelIdentity
    params: PredictParams
    track: TrackParams
    n_frames: int
    object_size: float | None
    linker: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]
    queries: dict[Tile, QueryState]
    query_tracks: dict[int, QueryTrack] | None

    @classmethod
    def of_linker(cls, linker: Linker, **others: object) -> VideoState:
        """Return the state of a linker, with what else there is."""
        tracks = dict(linker.queries) if isinstance(linker, QueryLinker) else None
        return cls(linker=linker_arrays(linker), query_tracks=tracks, **others)  # type: ignore[arg-type]

    def fill(self, linker: Linker, name: str) -> None:
        """Put a new linker where the other was.

        Raises
        ------
        DataError
            If what is said of the linker is damaged.
        """
        saved = linker_of(self.linker, name)
        linker.tracks, linker.next_id = saved.tracks, saved.next_id
        linker.n_frames, linker.shape = saved.n_frames, saved.shape
        if isinstance(linker, QueryLinker):
            linker.queries = dict(self.query_tracks or {})

    def save(self, path: Path) -> None:
        """Write the state to a safetensors file, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        tracks = self.query_tracks
        tensors = {f"linker_{name}": torch.from_numpy(x.copy()) for name, x in self.linker.items()}
        if self.queries:
            queries = [state.queries.cpu() for state in self.queries.values()]
            tensors["queries"] = torch.cat(queries).contiguous()
        if tracks:
            sums = np.stack([track.class_sum for track in tracks.values()])
            tensors["class_sums"] = torch.from_numpy(sums)
        about = _About(
            model=self.model,
            params=self.params,
            track=self.track,
            n_frames=self.n_frames,
            object_size=self.object_size,
            n_seen=next((state.frame for state in self.queries.values()), 0),
            tiles=tuple((t.y0, t.x0, t.y1, t.x1) for t in self.queries),
            query_tracks=None
            if tracks is None
            else tuple(
                _QueryTrack(
                    track_id=track_id,
                    queries=tuple((*key, missed) for key, missed in one.queries.items()),
                    n_frames=one.n_frames,
                    mask_sum=one.mask_sum,
                    category_id=one.category_id,
                )
                for track_id, one in tracks.items()
            ),
        )
        try:
            with replacing(path) as temporary:
                save_file(tensors, temporary, {"video": about.model_dump_json()})
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"{path}: the state of tracking cannot be written ({error}). Free the disk, or "
                "choose another folder."
            ) from error

    @classmethod
    def load(cls, path: Path) -> VideoState:
        """Read a state that `save` has written, onto the CPU.

        Raises
        ------
        DataError
            If the file is missing, damaged, or of another kind.
        """
        try:
            with safe_open(path, framework="pt") as file:
                said = (file.metadata() or {}).get("video")
                if said is None:
                    raise ValueError("it does not tell of a video")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = _About.model_validate_json(said)
            linker = {name: tensors[f"linker_{name}"].numpy() for name in ("state", "masks")}
            queries: dict[Tile, QueryState] = {}
            if about.tiles:
                rows = tensors["queries"].split(1)
                for box, row in zip(about.tiles, rows, strict=True):
                    queries[Tile(*box)] = QueryState(row, about.n_seen, about.model.fingerprint)
            tracks = None
            if about.query_tracks is not None:
                sums = tensors["class_sums"].numpy() if about.query_tracks else []
                tracks = {
                    one.track_id: QueryTrack(
                        {(view, query): missed for view, query, missed in one.queries},
                        class_sum,
                        one.n_frames,
                        one.mask_sum,
                        one.category_id,
                    )
                    for one, class_sum in zip(about.query_tracks, sums, strict=True)
                }
        except FileNotFoundError as error:
            raise DataError(f"There is no file {path}.") from error
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DataError(
                f"{path.name} is no saved state of tracking ({first_problem(error)}). Choose what "
                "tracking has written, or track the video from its start."
            ) from error
        return cls(
            about.model,
            about.params,
            about.track,
            about.n_frames,
            about.object_size,
            linker,
            queries,
            tracks,
        )
