"""The frames of a run on disk while it lasts: appended one by one, read again at its end."""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError, OutputError
from napari_eomt.structures.segments import Segment, Segmentation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

_HEAD = struct.Struct("<4sIII")  # mark, bytes of the segments, bytes of the pixels, checksum
_MARK = b"frm1"
_LEVEL = 1
_FIELDS = ("id", "category_id", "score", "is_thing", "source", "area", "bbox", "parent_track_id")


class FrameSpool:
    """Frames that are kept on disk until all are there.

    What was cut short at the end, by a kill or a full disk, is not there when it is opened again.

    Parameters
    ----------
    path : Path
        Opened if it is there, else made.

    Raises
    ------
    OutputError
        If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("r+b" if path.exists() else "w+b")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error
        # Where each frame begins, and where the last one ends.
        self._starts = [0]
        while (after := self._whole(self._starts[-1])) is not None:
            self._starts.append(after)

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return len(self._starts) - 1

    def __enter__(self) -> FrameSpool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, segmentation: Segmentation) -> None:
        """Add a frame.

        Raises
        ------
        OSError
            If the disk is full.
        """
        id_map = segmentation.id_map
        about = {
            "shape": segmentation.shape,
            "dtype": id_map.dtype.str,
            "segments": [[getattr(s, name) for name in _FIELDS] for s in segmentation.segments],
        }
        said = json.dumps(about).encode()
        pixels = zlib.compress(np.ascontiguousarray(id_map).tobytes(), _LEVEL)
        head = _HEAD.pack(_MARK, len(said), len(pixels), zlib.crc32(pixels, zlib.crc32(said)))
        self._file.seek(self._starts[-1])
        self._file.write(head + said + pixels)
        self._starts.append(self._starts[-1] + len(head) + len(said) + len(pixels))

    def truncate(self, n_frames: int) -> None:
        """Forget the frames from a number on.

        Raises
        ------
        DataError
            If there are fewer.
        """
        if n_frames > self.n_frames:
            raise DataError(
                f"{self._path}: holds {self.n_frames} frames of {n_frames} that were tracked: it "
                "is damaged. Track the video from its start."
            )
        del self._starts[n_frames + 1 :]
        self._file.truncate(self._starts[-1])

    def flush(self) -> None:
        """Make the frames so far last through a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def __iter__(self) -> Iterator[Segmentation]:
        """Yield the frames; category and score of a track are those of its last frame."""
        last = {s.id: s for k in range(self.n_frames) for s in self._about(k)[1]}
        for k in range(self.n_frames):
            about, segments = self._about(k)
            content = self._file.read(self._starts[k + 1] - self._file.tell())
            id_map = np.frombuffer(zlib.decompress(content), about["dtype"])
            yield Segmentation(
                id_map.reshape(about["shape"]),
                tuple(
                    replace(s, category_id=last[s.id].category_id, score=last[s.id].score)
                    for s in segments
                ),
            )

    def _about(self, k: int) -> tuple[dict[str, Any], list[Segment]]:
        """Return what is said of a frame; its pixels are next in the file."""
        self._file.seek(self._starts[k])
        _, n_said, _, _ = _HEAD.unpack(self._file.read(_HEAD.size))
        about: dict[str, Any] = json.loads(self._file.read(n_said))
        segments = []
        for row in about["segments"]:
            fields = dict(zip(_FIELDS, row, strict=True))
            fields["bbox"] = tuple(fields["bbox"])
            segments.append(Segment(**fields, track_id=fields["id"]))
        return about, segments

    def _whole(self, start: int) -> int | None:
        """Return where the frame that begins here ends, None if none does, or not all of one."""
        self._file.seek(start)
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        mark, n_said, n_pixels, checksum = _HEAD.unpack(head)
        if mark != _MARK:
            return None
        content = self._file.read(n_said + n_pixels)
        if len(content) < n_said + n_pixels or zlib.crc32(content) != checksum:
            return None
        return start + len(head) + len(content)
