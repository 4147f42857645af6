from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_eomt.errors import DataError
from napari_eomt.inference.video_frames import iter_frames
from napari_eomt.structures.axes import AxisRoles
from napari_eomt.viewer.image_source import (
    LayerSource,
    axis_names,
    current_frame,
    guess_roles,
    layer_array,
)


def stack(*shape, dtype=np.uint8):
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((20, 30), {}, AxisRoles((), 0, 1)),
        ((20, 30, 3), {"rgb": True}, AxisRoles((), 0, 1, 2)),
        ((5, 20, 30, 4), {"rgb": True}, AxisRoles((0,), 1, 2, 3)),
        ((5, 20, 30), {}, AxisRoles((0,), 1, 2)),
        ((2, 5, 20, 30), {}, AxisRoles((0, 1), 2, 3)),
        # A grey layer shows its last two axes, however short they are.
        ((20, 30, 3), {"rgb": False}, AxisRoles((0,), 1, 2)),
        ((3, 20, 30), {"axis_labels": "cyx"}, AxisRoles((), 1, 2, 0)),
        ((5, 3, 20, 30), {"axis_labels": "TCYX"}, AxisRoles((0,), 2, 3, 1)),
        ((3, 5, 20, 30), {"axis_labels": "czyx"}, AxisRoles((1,), 2, 3, 0)),
        ((3, 20, 30), {"axis_labels": ("channel", "y", "x")}, AxisRoles((), 1, 2, 0)),
        ((5, 20, 30), {"axis_labels": ("time", "y", "x")}, AxisRoles((0,), 1, 2)),
        # Names that say nothing, say it twice, or contradict what is shown.
        ((5, 20, 30), {"axis_labels": "abc"}, AxisRoles((0,), 1, 2)),
        ((5, 20, 30), {"axis_labels": "xyx"}, AxisRoles((0,), 1, 2)),
        ((5, 20, 30), {"axis_labels": "yxz"}, AxisRoles((0,), 1, 2)),
    ],
)
def test_roles_are_guessed(shape, options, expected):
    assert guess_roles(Image(stack(*shape), **options)) == expected


def test_one_axis_is_no_image():
    class Line:
        name, rgb, multiscale, axis_labels = "line", False, False, ("x",)
        data = np.zeros(5)

    with pytest.raises(DataError, match="'line' is \\(5,\\): it has no two axes"):
        guess_roles(Line())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
@pytest.mark.parametrize(
    ("shape", "roles"),
    [
        ((20, 30), AxisRoles((), 0, 1)),
        ((20, 30, 3), AxisRoles((), 0, 1, 2)),
        ((4, 20, 30), AxisRoles((0,), 1, 2)),
        ((2, 4, 20, 30), AxisRoles((0, 1), 2, 3)),
        ((2, 20, 30), AxisRoles((), 1, 2, 0)),
        ((4, 2, 20, 30), AxisRoles((0,), 2, 3, 1)),
        ((2, 4, 20, 30), AxisRoles((1,), 2, 3, 0)),
    ],
)
def test_frames_are_those_of_the_array(shape, roles, dtype):
    data = stack(*shape, dtype=dtype)
    source = LayerSource(Image(data, name="a", rgb=roles.channel == 2), roles)
    n_frames = int(np.prod([shape[axis] for axis in roles.frames], dtype=int))
    assert (source.name, source.shape, source.n_frames) == ("a", shape, n_frames)
    assert source.frame_shape == tuple(shape[axis] for axis in roles.frames)
    assert source.image_shape == (20, 30)
    left = (roles.y, roles.x) if roles.channel is None else (roles.y, roles.x, roles.channel)
    frames = data.transpose((*roles.frames, *left)).reshape(n_frames, *(shape[a] for a in left))
    for i in range(n_frames):
        np.testing.assert_array_equal(source.frame(i), frames[i])
        assert source.frame(i).dtype == dtype


def test_roles_that_do_not_fit_are_an_error():
    with pytest.raises(DataError, match="3 axes, but 2 were expected"):
        LayerSource(Image(stack(4, 20, 30)), AxisRoles((), 0, 1))


def test_a_pyramid_is_read_at_full_resolution():
    data = stack(64, 80)
    layer = Image([data, data[::2, ::2], data[::4, ::4]], multiscale=True)
    assert guess_roles(layer) == AxisRoles((), 0, 1)
    source = LayerSource(layer, guess_roles(layer))
    assert source.image_shape == (64, 80)
    np.testing.assert_array_equal(source.frame(0), data)


def test_a_lazy_stack_is_computed_frame_by_frame():
    computed = []

    def load(block_info):
        (t, _), *_ = block_info[None]["array-location"]
        computed.append(t)
        return np.full((1, 20, 30), t, np.uint8)

    lazy = da.map_blocks(load, chunks=((1,) * 6, (20,), (30,)), dtype=np.uint8, meta=np.empty(0))
    layer = Image(lazy, contrast_limits=(0, 255))
    source = LayerSource(layer, guess_roles(layer))
    computed.clear()
    assert (source.n_frames, source.image_shape) == (6, (20, 30))
    assert computed == []
    frame = source.frame(4)
    assert computed == [4]
    assert isinstance(frame, np.ndarray)
    assert (frame == 4).all()


def test_the_source_holds_the_array_it_was_made_for():
    layer = Image(stack(20, 30))
    before = layer.data
    source = LayerSource(layer, guess_roles(layer))
    layer.data = np.zeros((20, 30), np.uint8)
    np.testing.assert_array_equal(source.frame(0), before)


@pytest.mark.parametrize("scale", [1.0, 0.25, 3.0])
@pytest.mark.parametrize("start", [0.0, -7.0, 11.5])
def test_the_frame_is_the_one_that_the_sliders_show(scale, start):
    viewer = ViewerModel()
    layer = viewer.add_image(
        stack(3, 4, 20, 30),
        scale=(scale, 2 * scale, 1, 1),
        translate=(start, -start, 5, 5),
    )
    roles = guess_roles(layer)
    seen = []
    for t in range(3):
        for z in range(4):
            viewer.dims.set_point((0, 1), (start + scale * t, -start + 2 * scale * z))
            assert layer._data_slice.point[:2] == pytest.approx((t, z))
            seen.append(current_frame(layer, roles, viewer.dims.point))
    assert seen == list(range(12))


def test_the_frame_of_images_beside_others():
    viewer = ViewerModel()
    viewer.add_image(stack(2, 9, 20, 30))
    layer = viewer.add_image(stack(5, 20, 30))
    roles = guess_roles(layer)
    viewer.dims.set_point((0, 1), (1, 3))
    assert current_frame(layer, roles, viewer.dims.point) == 3
    # Where the image ends before the other one does, its last frame is meant.
    viewer.dims.set_point(1, 8)
    assert current_frame(layer, roles, viewer.dims.point) == 4
    single = viewer.add_image(stack(20, 30))
    assert current_frame(single, guess_roles(single), viewer.dims.point) == 0


def test_the_frame_behind_a_channel_axis():
    viewer = ViewerModel()
    layer = viewer.add_image(stack(2, 5, 20, 30))
    viewer.dims.set_point((0, 1), (1, 3))
    assert current_frame(layer, AxisRoles((1,), 2, 3, 0), viewer.dims.point) == 3
    assert current_frame(layer, AxisRoles((0,), 2, 3, 1), viewer.dims.point) == 1


def test_a_stack_seen_in_3d_still_has_a_frame():
    viewer = ViewerModel()
    layer = viewer.add_image(stack(4, 5, 20, 30))
    viewer.dims.set_point((0, 1), (2, 3))
    viewer.dims.ndisplay = 3
    assert current_frame(layer, guess_roles(layer), viewer.dims.point) // 5 == 2


def test_axes_are_called_by_their_names_else_by_number():
    assert axis_names(Image(stack(4, 20, 30))) == ["0", "1", "2"]
    assert axis_names(Image(stack(4, 20, 30), axis_labels="tyx")) == ["t", "y", "x"]
    assert axis_names(Image(stack(4, 20, 30, 3), rgb=True)) == ["0", "1", "2"]
    assert layer_array(Image(stack(4, 20, 30, 3), rgb=True)).shape == (4, 20, 30, 3)


def test_a_layer_is_a_video():
    data = stack(4, 20, 30)
    layer = Image(data)
    frames = list(iter_frames(LayerSource(layer, guess_roles(layer)), start=1))
    assert [i for i, _ in frames] == [1, 2, 3]
    np.testing.assert_array_equal([pixels for _, pixels in frames], data[1:])
