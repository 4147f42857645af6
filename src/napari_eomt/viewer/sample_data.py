"""Images to try the plugin on: three real ones, and drawn discs that move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.types import LayerDataTuple

SAMPLES = Path(__file__).parent / "samples"
"""The bundled images; their origin and licence are in its README."""


def nuclei_fluorescence() -> list[LayerDataTuple]:
    """Return a fluorescence image of many nuclei."""
    return _image("nuclei_fluorescence.png", "Nuclei")


def nuclei_fluorescence_large() -> list[LayerDataTuple]:
    """Return a fluorescence image of large nuclei, some of them dividing."""
    return _image("nuclei_fluorescence_large.png", "Large nuclei")


def nuclei_stained() -> list[LayerDataTuple]:
    """Return an RGB image of stained nuclei on white."""
    return _image("nuclei_stained.png", "Stained nuclei")


def moving_discs() -> list[LayerDataTuple]:
    """Return a drawn stack of 24 frames in which 8 discs move and cross."""
    from napari_eomt.synthetic import moving_objects

    frames, _ = moving_objects(n_frames=24, shape=(256, 256), n_objects=8, seed=1)
    return [(frames, {"name": "Moving discs"}, "image")]


def _image(file: str, name: str) -> list[LayerDataTuple]:
    # Here, not above: napari asks for a sample's function before anyone wants its pixels.
    import imageio.v3 as iio
    import numpy as np

    pixels = iio.imread(SAMPLES / file)
    if pixels.ndim == 3:
        return [(pixels, {"name": name, "rgb": True}, "image")]
    # A few dividing nuclei, three times as bright as the others, would leave those in the dark.
    limits = np.percentile(pixels, (0, 99.8)).tolist()
    return [(pixels, {"name": name, "contrast_limits": limits}, "image")]
