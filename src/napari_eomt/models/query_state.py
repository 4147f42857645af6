"""What a VidEoMT hands on from one frame to the next, and keeping it in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_eomt.atomic import replacing
from napari_eomt.errors import DataError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

_FORMAT = "napari-eomt query state 1"


@dataclass(frozen=True, eq=False)
class QueryState:
    """The queries of a video after a frame: all that the frames after it need to know.

    A query follows one thing, so its index is the thing's identity for the whole video.

    Parameters
    ----------
    queries : (B, Q, C) float
        The query tokens after the last block, before the last normalisation. A view of a larger
        tensor is copied: it would keep alive all tokens of its frame.
    frame : int
        How many frames they have seen, so also the index of the frame that comes next.
    fingerprint : str
        The model that made them; see `model_fingerprint`.
    """

    queries: torch.Tensor
    frame: int
    fingerprint: str

    def __post_init__(self) -> None:
        if self.queries.ndim != 3 or self.frame < 1:
            raise ValueError(
                "A state is (B, Q, C) queries that have seen at least one frame; these are "
                f"{tuple(self.queries.shape)} after {self.frame}. Begin a video without a state."
            )
        if self.queries.untyped_storage().nbytes() != self.queries.nbytes:
            object.__setattr__(self, "queries", self.queries.clone())

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> QueryState:
        """Return the state on another device, or in another precision."""
        queries = self.queries.to(device=device, dtype=dtype or self.queries.dtype)
        return QueryState(queries, self.frame, self.fingerprint)

    def save(self, path: Path) -> None:
        """Write the state to a safetensors file, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        about = {"format": _FORMAT, "frame": str(self.frame), "fingerprint": self.fingerprint}
        try:
            with replacing(path) as temporary:
                save_file({"queries": self.queries.cpu().contiguous()}, temporary, about)
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"{path}: the state of the video after frame {self.frame - 1} could not be "
                f"written ({error}). Choose a folder that exists and has space."
            ) from error

    @classmethod
    def load(cls, path: Path) -> QueryState:
        """Read a state that `save` has written, onto the CPU.

        Raises
        ------
        DataError
            If the file is missing, damaged, or of another kind.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about: dict[str, Any] = file.metadata() or {}
                if about.get("format") != _FORMAT:
                    raise DataError(
                        f"{path}: is not the state of a video: its format is "
                        f"{about.get('format')!r}, expected {_FORMAT!r}. Choose a file that a "
                        "tracking run has saved."
                    )
                return cls(file.get_tensor("queries"), int(about["frame"]), about["fingerprint"])
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DataError(
                f"{path}: the state of a video cannot be read ({error}). Start the video again "
                "from its first frame, or copy the file again."
            ) from error
