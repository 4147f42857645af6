import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest

from napari_eomt.errors import DataError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.preprocess import (
    padded_shape,
    resize,
    semantic_shape,
    semantic_windows,
    to_rgb8,
    window_pixels,
)
from napari_eomt.models.card import ModelCard
from napari_eomt.structures.categories import Category
from napari_eomt.structures.tiles import Tile


def make_card(percentiles=None, input_size=64):
    return ModelCard(
        name="m",
        folder=Path("m"),
        architecture="eomt",
        title="m",
        description="",
        licence="",
        tasks=("instance",),
        categories=(Category(1, "thing"),),
        input_size=input_size,
        patch_size=16,
        n_queries=10,
        image_mean=(0.485, 0.456, 0.406),
        image_std=(0.229, 0.224, 0.225),
        object_size=None,
        percentiles=percentiles,
        tile_overlap=16,
        n_parameters=1,
        n_bytes=4,
    )


CARD = make_card()
NONE = PredictParams(contrast="none")
AUTO = PredictParams()


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def rng():
    return np.random.default_rng(0)


def test_8_bit_rgb_stays_as_it_is():
    image = rng().integers(0, 256, (31, 17, 3)).astype(np.uint8)
    for params in (AUTO, NONE):
        np.testing.assert_array_equal(to_rgb8(image, params, CARD), image)
    with_alpha = np.concatenate([image, np.zeros((31, 17, 1), np.uint8)], axis=2)
    np.testing.assert_array_equal(to_rgb8(with_alpha, AUTO, CARD), image)


def test_grey_is_repeated_and_a_second_channel_is_green():
    grey = rng().integers(0, 256, (5, 7)).astype(np.uint8)
    np.testing.assert_array_equal(to_rgb8(grey, AUTO, CARD), np.stack([grey] * 3, axis=2))
    np.testing.assert_array_equal(
        to_rgb8(grey[:, :, None], AUTO, CARD), np.stack([grey] * 3, axis=2)
    )
    two = np.stack([grey, 255 - grey], axis=2)
    np.testing.assert_array_equal(
        to_rgb8(two, AUTO, CARD), np.stack([grey, 255 - grey, 0 * grey], axis=2)
    )


@pytest.mark.parametrize("channels", [(4,), (0,), (2, 1, 0), (4, 0, 4), (2, 3, 4)])
def test_channels_are_chosen_in_their_order(channels):
    image = rng().integers(0, 256, (6, 5, 5)).astype(np.uint8)
    rgb = to_rgb8(image, PredictParams(channels=channels), CARD)
    expected = image[:, :, list(channels)]
    np.testing.assert_array_equal(rgb, np.broadcast_to(expected, rgb.shape))


@pytest.mark.parametrize(
    "dtype",
    "bool u1 i1 <u2 >u2 i2 u4 >i4 u8 i8 f2 <f4 >f4 f8 >f8 g".split(),  # noqa: SIM905
)
@pytest.mark.parametrize("contrast", ["auto", "none", "percentile", "limits"])
def test_every_dtype_follows_the_definition(dtype, contrast):
    dtype = np.dtype(dtype)
    values = rng().uniform(0, 100, (40, 30, 3))
    image = (values > 50) if dtype.kind == "b" else values.astype(dtype)
    params = PredictParams(contrast=contrast, contrast_limits=(10, 60), percentiles=(2, 97))
    wide = image.astype(np.float64)
    if contrast == "none":
        white = {"b": 1.0, "f": 1.0}.get(dtype.kind)
        low, high = 0.0, float(np.iinfo(dtype).max) if white is None else white
    elif contrast == "limits":
        low, high = 10.0, 60.0
    else:
        low, high = np.percentile(wide, [2, 97])
    expected = np.clip((wide - low) / (high - low) * 255, 0, 255)
    rgb = to_rgb8(image, params, CARD)
    # Half a level for rounding, and a hair for the order of operations.
    assert np.abs(rgb - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("dtype", "model", "given", "expected"),
    [
        ("u1", None, None, None),
        ("bool", None, None, None),
        ("u1", (1.0, 99.0), None, (1, 99)),
        ("u1", None, (5.0, 95.0), (5, 95)),
        ("u2", None, None, (0.1, 99.9)),
        ("f4", None, None, (0.1, 99.9)),
        ("i1", None, None, (0.1, 99.9)),
        ("u2", (1.0, 99.0), None, (1, 99)),
        ("u2", (1.0, 99.0), (5.0, 95.0), (5, 95)),
    ],
)
def test_auto_contrast_is_the_models_then_by_dtype(dtype, model, given, expected):
    image = rng().integers(0, 100, (50, 50)).astype(dtype)
    rgb = to_rgb8(image, PredictParams(percentiles=given), make_card(model))
    if expected is None:
        other = to_rgb8(image, NONE, CARD)
    else:
        params = PredictParams(contrast="percentile", percentiles=expected)
        other = to_rgb8(image, params, CARD)
    np.testing.assert_array_equal(rgb, other)


def test_nan_and_infinity_are_left_out_of_the_percentiles():
    image = rng().uniform(-5, 5, (64, 64, 5)).astype(np.float32)
    clean = to_rgb8(image, AUTO, CARD)
    image[:4, 0] = np.nan
    image[:4, 1] = np.inf
    image[:4, 2] = -np.inf
    rgb = to_rgb8(image, AUTO, CARD)
    assert (rgb[:4, 0] == 0).all()
    assert (rgb[:4, 1] == 255).all()
    assert (rgb[:4, 2] == 0).all()
    assert np.abs(rgb[4:].astype(int) - clean[4:]).max() <= 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("contrast", ["auto", "none", "limits"])
def test_no_finite_pixel_is_an_error(value, contrast):
    params = PredictParams(contrast=contrast, contrast_limits=(0, 1))
    with pytest.raises(DataError, match="no finite pixel"):
        to_rgb8(np.full((4, 4), value), params, CARD)
    some = np.full((4, 4, 4), value)
    some[:, :, 3] = 1  # a channel that is not fed does not help
    with pytest.raises(DataError, match="no finite pixel"):
        to_rgb8(some, params, CARD)


def test_a_single_finite_pixel_between_the_sampled_ones_is_found():
    image = np.full((2100, 2100), np.nan, np.float32)
    image[1, 1] = 3
    assert to_rgb8(image, AUTO, CARD).max() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32, bool])
@pytest.mark.parametrize("value", [0, 1, 100])
def test_constant_images_are_black(dtype, value):
    image = np.full((6, 5), value, dtype)
    params = PredictParams(contrast="percentile")
    assert (to_rgb8(image, params, CARD) == 0).all()


def test_sparse_images_are_stretched_between_their_extremes():
    image = np.zeros((100, 100), np.uint16)
    image[3, 4], image[5, 6] = 500, 1000
    rgb = to_rgb8(image, AUTO, CARD)
    assert rgb[3, 4, 0] in (127, 128)
    assert rgb[5, 6, 0] == 255
    assert np.count_nonzero(rgb[:, :, 0]) == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_the_largest_floats_do_not_overflow(dtype):
    most = np.finfo(dtype).max
    image = np.array([[-most, 0, most]], dtype)
    params = PredictParams(contrast="percentile", percentiles=(0, 100))
    if dtype is np.longdouble and most > np.finfo(np.float64).max:
        assert to_rgb8(image, params, CARD)[0, :, 0].tolist() == [0, 0, 255]
    else:
        assert to_rgb8(image, params, CARD)[0, :, 0].tolist() == [0, 128, 255]


def test_1_by_1_and_odd_memory():
    assert to_rgb8(np.array([[7]], np.uint8), AUTO, CARD).tolist() == [[[7, 7, 7]]]
    image = rng().integers(0, 60_000, (20, 30, 3)).astype(np.uint16)
    image.flags.writeable = False
    plain = to_rgb8(image.copy(), AUTO, CARD)
    before = image.copy()
    np.testing.assert_array_equal(to_rgb8(image, AUTO, CARD), plain)
    np.testing.assert_array_equal(to_rgb8(image.astype(">u2"), AUTO, CARD), plain)
    np.testing.assert_array_equal(to_rgb8(image[::-1, ::-1], AUTO, CARD), plain[::-1, ::-1])
    turned = image.transpose(1, 0, 2)
    np.testing.assert_array_equal(to_rgb8(turned, AUTO, CARD), plain.transpose(1, 0, 2))
    np.testing.assert_array_equal(image, before)


def test_the_result_does_not_share_memory():
    image = rng().integers(0, 256, (4, 4, 3)).astype(np.uint8)
    rgb = to_rgb8(image, NONE, CARD)
    assert not np.shares_memory(rgb, image)
    assert rgb.flags.c_contiguous
    assert rgb.flags.writeable


def test_large_frames_are_stretched_by_a_sample_and_by_rows():
    image = rng().integers(0, 4000, (2500, 2300)).astype(np.uint16)
    low, high = np.percentile(image[::2, ::2], [0.1, 99.9])
    expected = np.clip((image - low) / (high - low) * 255, 0, 255)
    assert np.abs(to_rgb8(image, AUTO, CARD)[:, :, 1] - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5)), "empty"),
        (np.zeros((5, 5, 0)), "empty"),
        (np.zeros(5), "axes"),
        (np.zeros((2, 5, 5, 3)), "axes"),
        (np.zeros((5, 5), complex), "complex128"),
        (np.full((5, 5), None), "object"),
        (np.full((5, 5), "a"), "U1"),
        (np.zeros((5, 5), "M8[s]"), "datetime64"),
    ],
)
def test_what_is_no_image_is_an_error(image, message):
    with pytest.raises(DataError, match=message):
        to_rgb8(image, AUTO, CARD)


@pytest.mark.parametrize(
    ("shape", "channels"), [((4, 4), (1,)), ((4, 4, 3), (3,)), ((4, 4, 3), (0, 1, 5))]
)
def test_channels_that_are_not_there_are_an_error(shape, channels):
    with pytest.raises(DataError, match="counted from 0 to"):
        to_rgb8(np.zeros(shape), PredictParams(channels=channels), CARD)


def test_infinite_limits_are_an_error():
    params = PredictParams(contrast="limits", contrast_limits=(0, np.inf))
    with pytest.raises(DataError, match="finite"):
        to_rgb8(np.ones((4, 4)), params, CARD)


# Against transformers' own image processor.


def processor_pixels(image, size, mode):
    from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil

    processor = EomtImageProcessorPil(
        size={"shortest_edge": size, "longest_edge": size if mode == "pad" else None},
        do_pad=mode == "pad",
        do_split_image=mode == "split",
    )
    out = processor(image, input_data_format="channels_last", return_tensors="np")
    return out["pixel_values"], [tuple(map(int, o)) for o in out["patch_offsets"] or ()]


def our_pixels(image, size, mode):
    card = make_card(input_size=size)
    if mode == "pad":
        canvas = resize(image, padded_shape(*image.shape[:2], size))
        tiles = [Tile(0, 0, *canvas.shape[:2])]
    else:
        canvas = resize(image, semantic_shape(*image.shape[:2], size))
        tiles = semantic_windows(canvas.shape[:2], size)
    return np.stack([window_pixels(canvas, tile, size, card) for tile in tiles]), tiles


def odd_shapes(n, most):
    sizes = np.random.default_rng(7).integers(2, most, (n, 2))
    return [(int(h), int(w)) for h, w in sizes]


EDGES = [(1, 1), (2, 2), (3, 60), (60, 3), (64, 64), (64, 200), (200, 64), (63, 64), (65, 64)]


@pytest.mark.parametrize("mode", ["pad", "split"])
@pytest.mark.parametrize("size", [64, 96])
def test_pixels_equal_the_processor_bit_for_bit(mode, size):
    noise = np.random.default_rng(1)
    n_tried = 0
    for shape in EDGES + odd_shapes(60, 400):
        image = noise.integers(0, 256, (*shape, 3)).astype(np.uint8)
        theirs, offsets = processor_pixels(image, size, mode)
        if theirs.shape[2:] != (size, size):
            continue  # transformers leaves such images larger than the model takes
        ours, tiles = our_pixels(image, size, mode)
        starts = [tile.y0 or tile.x0 for tile in tiles]
        if mode == "split" and starts != [start for _, start, _ in offsets]:
            # Only the last window, where transformers' truncation leaves a pixel uncovered.
            assert starts[:-1] == [start for _, start, _ in offsets][:-1]
            ours, theirs = ours[:-1], theirs[:-1]
        np.testing.assert_array_equal(ours, theirs, err_msg=str(shape))
        n_tried += 1
    assert n_tried >= 60


def test_shapes_equal_transformers_on_a_grid():
    from transformers.image_transforms import get_size_with_aspect_ratio

    shapes = [(h, w) for h in range(1, 140, 3) for w in range(1, 140)] + odd_shapes(2000, 9000)
    n_mended = 0
    for size in (64, 128, 512, 640):
        for shape in shapes:
            theirs = get_size_with_aspect_ratio(shape, size, size)
            ours = padded_shape(*shape, size)
            if ours != theirs:
                n_mended += 1
                assert min(theirs) == 0 or max(theirs) > size, (shape, size)
            assert 1 <= min(ours) <= max(ours) <= size
            assert max(ours) >= size - 1 or ours == shape
            assert semantic_shape(*shape, size) == get_size_with_aspect_ratio(shape, size, None)
    assert n_mended < 0.05 * 4 * len(shapes)


def test_images_that_transformers_cannot_take():
    assert padded_shape(2, 400, 64) == (1, 64)
    assert padded_shape(400, 1, 64) == (64, 1)
    assert padded_shape(64, 129, 128) == (64, 128)  # transformers leaves it 129 wide
    assert padded_shape(1, 100_000, 64) == (1, 64)


@pytest.mark.parametrize("size", [64, 512, 640])
def test_windows_cover_the_canvas_and_end_with_it(size):
    for h, w in [*odd_shapes(300, 5000), (2, 3000), (size, size)]:
        canvas = semantic_shape(h, w, size)
        tiles = semantic_windows(canvas, size)
        long_start = [max(tile.y0, tile.x0) for tile in tiles]
        assert long_start[0] == 0
        assert long_start[-1] + size == max(canvas)
        assert all(0 < b - a <= size for a, b in itertools.pairwise(long_start))
        assert {(tile.height, tile.width) for tile in tiles} == {(size, size)}


def test_a_tile_may_reach_beyond_the_canvas_but_not_lie_outside():
    canvas = np.full((10, 10, 3), 255, np.uint8)
    pixels = window_pixels(canvas, Tile(5, 0, 69, 64), 64, CARD)
    black = window_pixels(np.zeros_like(canvas), Tile(0, 0, 1, 1), 64, CARD)
    assert (pixels[:, :5, :10] > 2).all()
    np.testing.assert_array_equal(pixels[:, 5:], black[:, 5:])
    for outside in (Tile(10, 0, 20, 10), Tile(0, 0, 10, 10)):
        with pytest.raises(ValueError, match="1 to 8 px"):
            window_pixels(canvas, outside, 8, CARD)


def test_resize_takes_views():
    image = rng().integers(0, 256, (30, 40, 3)).astype(np.uint8)
    flipped = image[:, ::-1]
    np.testing.assert_array_equal(resize(flipped, (15, 20)), resize(flipped.copy(), (15, 20)))
    np.testing.assert_array_equal(resize(image, (30, 40)), image)
