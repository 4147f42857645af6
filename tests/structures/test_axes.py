import dask.array as da
import numpy as np
import pytest
import zarr

from napari_eomt.errors import DataError
from napari_eomt.structures.axes import AxisRoles, guess_axes, take_frame


@pytest.mark.parametrize(
    ("shape", "kwargs", "expected"),
    [
        ((7, 9), {}, AxisRoles((), 0, 1)),
        ((7, 9, 3), {}, AxisRoles((), 0, 1, 2)),
        ((7, 9, 4), {}, AxisRoles((), 0, 1, 2)),
        ((7, 3, 4), {}, AxisRoles((0,), 1, 2)),
        ((7, 9, 5), {}, AxisRoles((0,), 1, 2)),
        ((2, 3, 4), {"rgb": True}, AxisRoles((), 0, 1, 2)),
        ((3, 70, 90), {}, AxisRoles((0,), 1, 2)),
        ((5, 70, 90, 3), {}, AxisRoles((0,), 1, 2, 3)),
        ((5, 6, 70, 90), {}, AxisRoles((0, 1), 2, 3)),
        ((3, 70, 90), {"names": "CYX"}, AxisRoles((), 1, 2, 0)),
        ((3, 70, 90), {"names": "zyx"}, AxisRoles((0,), 1, 2)),
        ((7, 9, 4), {"names": "ZYX"}, AxisRoles((0,), 1, 2)),
        ((5, 6, 2, 70, 90), {"names": "TZCYX"}, AxisRoles((0, 1), 3, 4, 2)),
        ((5, 2, 70, 90, 3), {"names": "TCYXS"}, AxisRoles((0, 1), 2, 3, 4)),
        ((90, 70, 5), {"names": "XYT"}, AxisRoles((2,), 1, 0)),
        ((5, 2, 70, 90), {"names": ["time", "channel", "y", "x"]}, AxisRoles((0,), 2, 3, 1)),
    ],
)
def test_axes_are_guessed_as_documented(shape, kwargs, expected):
    assert guess_axes(shape, **kwargs) == expected


@pytest.mark.parametrize(
    ("shape", "kwargs", "message"),
    [
        ((7,), {}, "not an image"),
        ((), {}, "not an image"),
        ((7, 9), {"rgb": True}, "axis of 3 or 4"),
        ((7, 9, 5), {"rgb": True}, "axis of 3 or 4"),
        ((5, 7, 9, 3), {"names": "YXC"}, "YXC are 3, but the image has 4"),
        ((5, 7, 9), {"names": "TZY"}, "Y and X once"),
        ((5, 7, 9), {"names": "YYX"}, "Y and X once"),
        ((5, 5, 7, 9), {"names": "TTYX"}, "no axis twice"),
        ((0, 7, 9), {}, "no pixels"),
        ((7, 0), {}, "no pixels"),
    ],
)
def test_axes_that_do_not_fit_are_an_error(shape, kwargs, message):
    with pytest.raises(DataError, match=message):
        guess_axes(shape, **kwargs)


def test_every_axis_has_one_role():
    for wrong in [((0,), 0, 1), ((), 0, 2), ((-3,), -2, -1)]:
        with pytest.raises(DataError, match="exactly one role"):
            AxisRoles(*wrong)
    with pytest.raises(DataError, match="2 axes, but 3"):
        AxisRoles((0,), 1, 2).n_frames((4, 5))


def test_frames_run_as_nested_loops():
    shape, roles = (2, 7, 3, 9, 5), AxisRoles((0, 2), 1, 3, 4)
    assert roles.n_frames(shape) == 6
    assert roles.frame_shape(shape) == (7, 9)
    indices = [roles.frame_index(shape, i) for i in range(6)]
    assert indices == [(t, z) for t in range(2) for z in range(3)]
    for outside in (-1, 6):
        with pytest.raises(DataError, match=f"no frame {outside}"):
            roles.frame_index(shape, outside)
    assert AxisRoles((), 0, 1).frame_index((4, 5), 0) == ()


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr"])
@pytest.mark.parametrize("names", ["TCZYX", "XTYCZ", "TZQYX", "ZTXYC"])
def test_a_frame_is_its_slice(kind, names, tmp_path):
    array = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    roles = guess_axes(array.shape, names=names)
    # The definition: all frame axes first, then y, x, channel.
    order = [*roles.frames, roles.y, roles.x, *([] if roles.channel is None else [roles.channel])]
    moved = array.transpose(order)
    frames = moved.reshape(-1, *moved.shape[len(roles.frames) :])
    source = {
        "numpy": lambda: array,
        "dask": lambda: da.from_array(array, chunks=2),
        "zarr": lambda: zarr.create_array(tmp_path / "a.zarr", data=array, chunks=(1, 2, 3, 4, 5)),
    }[kind]()
    assert roles.n_frames(array.shape) == len(frames)
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(take_frame(source, roles, i), frame)


def test_only_the_frame_is_computed():
    asked = []

    def block(block_info=None):
        asked.append(block_info[None]["chunk-location"])
        return np.zeros((1, 8, 8))

    stack = da.map_blocks(block, chunks=((1,) * 5, (8,), (8,)), dtype=float)
    asked.clear()
    take_frame(stack, guess_axes(stack.shape), 3)
    assert asked == [(3, 0, 0)]
