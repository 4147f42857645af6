"""PNGs of segment ids as panopticapi has them: R + 256 G + 65536 B, 8 bits a channel."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.structures.segments import IdMap

MAX_ID = 2**24 - 1

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = {0: "grey", 2: "RGB", 3: "with a palette", 4: "grey with alpha", 6: "RGB with alpha"}


def read_id_png(path: Path, size: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """Read the ids of a PNG: (H, W) uint32.

    Parameters
    ----------
    path : Path
    size : (H, W)
        As the JSON says; nothing is decoded before the PNG says the same.

    Raises
    ------
    DataError
        If it is missing, damaged, not RGB of 8 bits, or of another size.
    """
    try:
        with path.open("rb") as file:
            _check_head(file.read(26), path, size)
            file.seek(0)
            # Not Image.open, which looks at the number of pixels: it is as the JSON said, checked.
            with PngImageFile(file) as image:
                rgb = np.asarray(image)
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing: the annotation names it. Add it, or name the folder of the PNGs."
        ) from error
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be read ({reason}). Take it from a copy.") from error
    ids = rgb[..., 0].astype(np.uint32)
    ids |= rgb[..., 1].astype(np.uint32) << 8
    ids |= rgb[..., 2].astype(np.uint32) << 16
    return ids


def write_id_png(path: Path, id_map: IdMap) -> None:
    """Write ids as a PNG.

    Parameters
    ----------
    path : Path
    id_map : (H, W) int
        Up to `MAX_ID`.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    wide = np.ascontiguousarray(id_map, "<u4")
    rgb = np.ascontiguousarray(wide.view(np.uint8).reshape(*wide.shape, 4)[..., :3])
    Image.fromarray(rgb).save(path, "PNG")


def _check_head(head: bytes, path: Path, size: tuple[int, int]) -> None:
    if len(head) < 26 or head[:8] != _SIGNATURE or head[12:16] != b"IHDR":
        raise DataError(f"{path} is no PNG. Panoptic masks are RGB PNGs; choose their folder.")
    width, height, depth, kind = struct.unpack(">IIBB", head[16:26])
    # Pillow would turn 16 bits into 8 without a word.
    if (depth, kind) != (8, 2):
        raise DataError(
            f"{path} has {depth} bits, {_KINDS.get(kind, 'of an unknown kind')}; panoptic masks "
            "are RGB with 8 bits a channel, id = R + 256 G + 65536 B. Save it so."
        )
    if (height, width) != size:
        raise DataError(
            f"{path} is {height} × {width} pixels; the JSON says {size[0]} × {size[1]}. Take both "
            "from one copy of the dataset."
        )
