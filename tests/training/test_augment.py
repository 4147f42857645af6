"""Changes of a view: against their definitions in numpy."""

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_eomt.training.augment import (
    ORIENTATIONS,
    ColorChange,
    ColorJitter,
    draw_orientation,
    oriented,
    padded,
    restored,
)


def pixels(seed=0, shape=(17, 23)):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)


def grey_of(rgb):
    """ITU-R 601-2 luma, in Pillow's integers."""
    red, green, blue = rgb.astype(np.int64).transpose(2, 0, 1)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def blended(one, other, factor):
    return np.clip(one + (other.astype(float) - one) * factor, 0, 255)


def close(result, expected, by=1.0):
    assert result.dtype == np.uint8
    assert np.abs(result.astype(float) - expected).max() <= by


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.87, 1.0, 1.13, 1.5])
def test_colour_changes_are_their_definitions(factor):
    rgb = pixels()
    grey = grey_of(rgb)
    close(ColorChange(brightness=factor).apply(rgb), blended(0.0, rgb, factor))
    mean = float(int(grey.mean() + 0.5))
    close(ColorChange(contrast=factor).apply(rgb), blended(mean, rgb, factor))
    close(ColorChange(saturation=factor).apply(rgb), blended(grey[:, :, None], rgb, factor))


@pytest.mark.parametrize("turn", [-0.5, -0.05, 0.05, 0.25])
def test_hue_is_turned_as_on_the_colour_wheel(turn):
    # Pillow's hue has 256 steps, of 6 grey levels in a saturated colour; the turn and both
    # conversions are rounded down to a step.
    rgb = pixels()
    turned = ColorChange(hue=turn).apply(rgb)
    expected = [
        [
            colorsys.hsv_to_rgb((h + turn) % 1, s, v)
            for h, s, v in (colorsys.rgb_to_hsv(*(p / 255)) for p in row)
        ]
        for row in rgb
    ]
    close(turned, np.array(expected) * 255, by=18)
    assert np.abs(turned.astype(float) - rgb).max() > 36


def test_contrast_comes_before_the_others_or_after():
    rgb = pixels(3)
    alone = {"saturation": 0.3, "hue": 0.04}
    first = ColorChange(contrast=1.4, is_contrast_first=True, brightness=0.9, **alone).apply(rgb)
    last = ColorChange(contrast=1.4, is_contrast_first=False, brightness=0.9, **alone).apply(rgb)
    bright = ColorChange(brightness=0.9).apply(rgb)

    def colour(image):
        return ColorChange(hue=0.04).apply(ColorChange(saturation=0.3).apply(image))

    contrast = ColorChange(contrast=1.4).apply
    np.testing.assert_array_equal(first, colour(contrast(bright)))
    np.testing.assert_array_equal(last, contrast(colour(bright)))
    assert (first != last).any()


@given(st.integers(0, 2**32 - 1))
def test_grey_stays_grey(seed):
    rng = np.random.default_rng(seed)
    grey = np.repeat(pixels(seed)[:, :, :1], 3, axis=2)
    change = ColorJitter(1, 1, 1, 0.5).draw(rng)
    changed = change.apply(grey)
    assert (changed == changed[:, :, :1]).all()


def test_without_strength_nothing_is_changed():
    rgb = pixels()
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert ColorJitter(0, 0, 0, 0).draw(rng).apply(rgb) is rgb


def test_the_published_probabilities_and_ranges():
    rng = np.random.default_rng(0)
    drawn = [ColorJitter().draw(rng) for _ in range(4000)]
    ranges = {
        "brightness": (1 - 32 / 255, 1 + 32 / 255),
        "contrast": (0.5, 1.5),
        "saturation": (0.5, 1.5),
        "hue": (-0.05, 0.05),
    }
    for name, (low, high) in ranges.items():
        values = [getattr(d, name) for d in drawn if getattr(d, name) is not None]
        assert 0.46 < len(values) / len(drawn) < 0.54
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
    assert 0.46 < np.mean([d.is_contrast_first for d in drawn]) < 0.54


def test_strengths_do_not_move_what_is_drawn_next():
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    ColorJitter().draw(one)
    ColorJitter(0, 0, 0.2, 0).draw(other)
    assert one.random() == other.random()


@pytest.mark.parametrize("orientation", range(8))
@pytest.mark.parametrize("shape", [(5, 8), (5, 8, 3)])
def test_orientations_are_pillows_and_can_be_undone(orientation, shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    image = Image.fromarray(array)
    turns = [None, *(getattr(Image.Transpose, f"ROTATE_{a}") for a in (90, 180, 270))]
    if orientation % 4:
        image = image.transpose(turns[orientation % 4])
    if orientation >= 4:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = oriented(array, orientation)
    np.testing.assert_array_equal(turned, np.asarray(image))
    np.testing.assert_array_equal(restored(turned, orientation), array)


def test_flips_occur_equally_often():
    rng = np.random.default_rng(0)
    for flips, possible in ORIENTATIONS.items():
        drawn = np.bincount([draw_orientation(rng, flips) for _ in range(800)], minlength=8)
        assert set(np.flatnonzero(drawn)) == set(possible)
        assert drawn[list(possible)].min() > 0.6 * 800 / len(possible)
    array = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(oriented(array, 4), np.fliplr(array))
    np.testing.assert_array_equal(oriented(array, 6), np.flipud(array))


def test_what_is_lacking_is_black_to_the_right_and_below():
    whole = padded(pixels(shape=(3, 5)) | 1, 8)
    assert whole.shape == (8, 8, 3)
    assert (whole[:3, :5] > 0).all()
    assert not whole[3:].any()
    assert not whole[:, 5:].any()
    full = pixels(shape=(8, 8))[:, ::-1]
    np.testing.assert_array_equal(padded(full, 8), full)
    assert padded(full, 8).flags.c_contiguous
