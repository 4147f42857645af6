"""Changes of a view that leave what there is to find: colours, mirror images, quarter turns.

On 8-bit pixels, as the published recipe has them. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

if TYPE_CHECKING:
    from napari_eomt.training.params import Flips, TrainParams

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]

_PROBABILITY = 0.5
"""Of each change of colour, and of each flip."""

ORIENTATIONS: dict[Flips, tuple[int, ...]] = {
    "none": (0,),
    "horizontal": (0, 4),
    "both": (0, 4, 2, 6),
    "rotations": (0, 1, 2, 3, 4, 5, 6, 7),
}
"""The orientations that occur, see `oriented`, all equally often."""


@dataclass(frozen=True)
class ColorChange:
    """What is done to the colours of one view.

    Parameters
    ----------
    brightness, contrast, saturation : float or None
        Factors; None leaves it.
    hue : float or None
        Parts of a full turn, -0.5 to 0.5.
    is_contrast_first : bool
        Before saturation and hue, or after.
    """

    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    hue: float | None = None
    is_contrast_first: bool = True

    def apply(self, pixels: Pixels) -> Pixels:
        """Change (h, w, 3) uint8 pixels; grey ones stay grey.

        As torchvision does on images of Pillow. The contrast is changed about the mean of what
        the view shows; the published one takes that of the whole image, which a view of a large
        image cannot know.
        """
        values = (self.brightness, self.contrast, self.saturation, self.hue)
        if not pixels.size or all(value is None for value in values):
            return pixels
        image = Image.fromarray(pixels)
        if self.brightness is not None:
            image = ImageEnhance.Brightness(image).enhance(self.brightness)
        if self.contrast is not None and self.is_contrast_first:
            image = ImageEnhance.Contrast(image).enhance(self.contrast)
        if not _is_grey(pixels):
            if self.saturation is not None:
                image = ImageEnhance.Color(image).enhance(self.saturation)
            if self.hue is not None:
                image = _turned(image, self.hue)
        if self.contrast is not None and not self.is_contrast_first:
            image = ImageEnhance.Contrast(image).enhance(self.contrast)
        changed: Pixels = np.array(image)
        return changed


@dataclass(frozen=True)
class ColorJitter:
    """How far colours are changed at random; 0 leaves them.

    Parameters
    ----------
    brightness, contrast, saturation, hue : float
        As in `TrainParams`.
    """

    brightness: float = 32 / 255
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.05

    @classmethod
    def of(cls, params: TrainParams) -> ColorJitter:
        """Take the strengths of a training."""
        return cls(params.brightness, params.contrast_jitter, params.saturation, params.hue)

    def draw(self, rng: np.random.Generator) -> ColorChange:
        """Draw a change: each of the four with probability ½, evenly in its range."""
        # As many draws whatever the strengths, so that these do not move the views.
        happens = rng.random(4) < _PROBABILITY
        by = rng.uniform(-1, 1, 4)
        is_contrast_first = bool(rng.random() < _PROBABILITY)
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        brightness, contrast, saturation, hue = (
            float(centre + strength * b) if strength and h else None
            for strength, b, h, centre in zip(strengths, by, happens, (1, 1, 1, 0), strict=True)
        )
        return ColorChange(brightness, contrast, saturation, hue, is_contrast_first)


def draw_orientation(rng: np.random.Generator, flips: Flips) -> int:
    """Draw how a view is mirrored and turned: each flip with probability ½."""
    return int(rng.choice(ORIENTATIONS[flips]))


def oriented(array: Array, orientation: int) -> Array:
    """Turn an image by quarters, and mirror it.

    Parameters
    ----------
    array : (h, w, ...)
    orientation : int
        0 to 3: that many quarter turns, counter-clockwise; 4 to 7: after that mirrored left to
        right. So 4 is a horizontal flip, 6 a vertical one.

    Returns
    -------
    (h, w, ...) or (w, h, ...)
        A view of the same memory.
    """
    turned = np.rot90(array, orientation % 4)
    return turned[:, ::-1] if orientation >= 4 else turned


def restored(array: Array, orientation: int) -> Array:
    """Undo `oriented`."""
    turned = array[:, ::-1] if orientation >= 4 else array
    return np.rot90(turned, -(orientation % 4))


def padded(array: Array, size: int) -> Array:
    """Fill an image up to size × size with zeros, to the right and below."""
    if array.shape[:2] == (size, size):
        return np.ascontiguousarray(array)
    whole = np.zeros((size, size, *array.shape[2:]), array.dtype)
    whole[: array.shape[0], : array.shape[1]] = array
    return whole


def _is_grey(pixels: Pixels) -> bool:
    red = pixels[:, :, 0]
    return bool((red == pixels[:, :, 1]).all() and (red == pixels[:, :, 2]).all())


def _turned(image: Image.Image, hue: float) -> Image.Image:
    """Turn the hue of an RGB image by parts of a full turn."""
    hsv = np.array(image.convert("HSV"))
    hsv[:, :, 0] += np.uint8(int(hue * 255) % 256)  # wraps around
    return Image.fromarray(hsv, "HSV").convert("RGB")
