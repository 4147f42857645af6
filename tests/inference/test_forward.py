"""Batches in order, and what happens when memory runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny_models import N_QUERIES, SIZE, save_tiny

from napari_eomt.errors import ModelError
from napari_eomt.inference.forward import Forward
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import iter_predict
from napari_eomt.models.card import read_card
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.segmenter import QueryOutput, Segmenter
from napari_eomt.structures.tiles import Tile

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
    MemoryError(),
]
TILES = [Tile(0, x, SIZE, x + SIZE) for x in range(7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", tasks=["instance"])


class Fake(Segmenter):
    """Answers with the mean of each view; memory runs out where `fits` says no."""

    def __init__(self, card, device, dtype, fits):
        super().__init__(card, torch.device(device), dtype)
        self.fits = fits
        self.error = OUT_OF_MEMORY[0]
        self.batches = []
        self.moves = []

    def forward(self, pixels):
        self.batches.append(len(pixels))
        if not self.fits(self, len(pixels)):
            raise self.error
        mean = pixels.mean((1, 2, 3))
        return QueryOutput(
            mean[:, None, None].expand(-1, N_QUERIES, 5),
            mean[:, None, None, None].expand(-1, N_QUERIES, 4, 4),
        )

    def to(self, device, dtype):
        self.moves.append((device.type, dtype))
        self.device, self.dtype = device, dtype


def pixels_of(tile):
    return np.full((3, SIZE, SIZE), tile.x0, np.float32)


def run(segmenter, batch_size=4):
    forward = Forward(segmenter)
    forward.batch_size = batch_size
    pairs = [pair for batch in forward.iter_outputs(TILES, pixels_of) for pair in batch]
    assert [tile for tile, _ in pairs] == TILES
    for tile, output in pairs:
        assert output.class_logits.shape == (1, N_QUERIES, 5)
        assert output.mask_logits.shape == (1, N_QUERIES, 4, 4)
        assert float(output.class_logits.mean()) == tile.x0
    return forward


def test_batches_keep_the_order_and_the_last_is_shorter(folder):
    segmenter = Fake(read_card(folder), "cpu", torch.float32, lambda *_: True)
    forward = run(segmenter, batch_size=3)
    assert segmenter.batches == [3, 3, 1]
    assert forward.notes == []


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_batches_are_halved_until_they_fit(folder, error):
    segmenter = Fake(read_card(folder), "cpu", torch.float32, lambda _, n: n <= 1)
    segmenter.error = error
    forward = run(segmenter, batch_size=5)
    assert segmenter.batches == [5, 2, *[1] * 7]
    assert segmenter.moves == []
    (note,) = forward.notes
    assert "Memory of cpu ran out" in note
    assert "1 at a time" in note


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_one_view_that_does_not_fit_the_cpu_is_an_error(folder, error):
    segmenter = Fake(read_card(folder), "cpu", torch.float32, lambda *_: False)
    segmenter.error = error
    with pytest.raises(ModelError, match="does not suffice for a single view of 64 px"):
        run(segmenter, batch_size=1)


def test_other_errors_pass_through(folder):
    segmenter = Fake(read_card(folder), "cuda", torch.float32, lambda *_: False)
    segmenter.error = RuntimeError("CUDA error: device-side assert triggered")
    with pytest.raises(RuntimeError, match="device-side assert") as caught:
        run(segmenter)
    assert caught.value is segmenter.error
    assert segmenter.moves == []


@pytest.mark.parametrize(
    ("device", "dtype", "fitting", "moves", "note"),
    [
        ("cuda", torch.float32, "cuda fp16", [("cuda", torch.float16)], "half precision"),
        (
            "cuda",
            torch.float32,
            "cpu",
            [("cuda", torch.float16), ("cpu", torch.float32)],
            "on the CPU",
        ),
        ("cuda", torch.bfloat16, "cpu", [("cpu", torch.float32)], "on the CPU"),
        ("cuda", torch.float16, "cpu", [("cpu", torch.float32)], "on the CPU"),
        ("mps", torch.float32, "cpu", [("cpu", torch.float32)], "on the CPU"),
    ],
)
def test_a_gpu_gives_up_precision_and_then_itself(folder, device, dtype, fitting, moves, note):
    def fits(segmenter, n):
        where = segmenter.device.type
        return where == "cpu" or (fitting == "cuda fp16" and segmenter.dtype is torch.float16)

    segmenter = Fake(read_card(folder), device, dtype, fits)
    forward = run(segmenter, batch_size=2)
    assert segmenter.moves == moves
    # First the batch, then one view at each step down, then all views one by one.
    assert segmenter.batches == [2, *[1] * len(moves), *[1] * len(TILES)]
    assert len(forward.notes) == 1
    assert note in forward.notes[0]


def test_a_model_that_fits_nowhere_says_so_after_all_was_tried(folder):
    segmenter = Fake(read_card(folder), "cuda", torch.float32, lambda *_: False)
    with pytest.raises(ModelError, match="Close other programs"):
        run(segmenter)
    assert segmenter.batches == [4, 2, 1, 1, 1]
    assert segmenter.moves == [("cuda", torch.float16), ("cpu", torch.float32)]


@pytest.mark.parametrize("n_failures", [0, 1, 3])
def test_running_out_changes_no_segment(folder, n_failures, monkeypatch):
    segmenter = load_segmenter(folder, "cpu")
    image = np.random.default_rng(0).integers(0, 256, (SIZE, 9 * SIZE)).astype(np.uint8)
    params = PredictParams(tiling="tiles", tile_overlap=20)

    def result():
        steps = iter_predict(image, segmenter, params)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value

    expected = result()
    forward, sizes = segmenter.forward, []

    def failing(pixels):
        sizes.append(len(pixels))
        if len(sizes) <= n_failures:
            raise torch.OutOfMemoryError("out of memory")
        return forward(pixels)

    monkeypatch.setattr(segmenter, "forward", failing)
    found = result()
    assert sum(sizes[n_failures:]) == found.n_tiles == 13
    assert sizes[0] == 13
    assert max(sizes[n_failures:]) == 13 // 2**n_failures
    assert len(found.notes) == bool(n_failures)
    np.testing.assert_array_equal(found.segmentation.id_map, expected.segmentation.id_map)
    scores = [[s.score for s in p.segmentation.segments] for p in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_overflow_in_half_precision_moves_to_a_wider_one(folder, bad):
    class Narrow(Fake):
        def forward(self, pixels):
            output = super().forward(pixels)
            if self.dtype is torch.float16:
                output = QueryOutput(output.class_logits * bad, output.mask_logits)
            return output

    segmenter = Narrow(read_card(folder), "cpu", torch.float16, lambda *_: True)
    forward = run(segmenter)
    assert segmenter.moves == [("cpu", torch.float32)]
    (note,) = forward.notes
    assert "overflows in fp16: continued in fp32" in note


def test_notes_of_the_model_are_passed_on_once(folder):
    segmenter = Fake(read_card(folder), "cpu", torch.float32, lambda *_: True)
    segmenter.notes.append("It runs without.")
    assert run(segmenter).notes == ["It runs without."]
    assert segmenter.notes == []


def test_a_model_of_one_size_says_so(folder):
    segmenter = Fake(read_card(folder), "cpu", torch.float32, lambda *_: True)
    segmenter.set_input_size(None)
    segmenter.set_input_size(SIZE)
    with pytest.raises(ModelError, match=f"runs at an input size of {SIZE} px alone"):
        segmenter.set_input_size(SIZE + 16)
    segmenter.compile()
    assert "cannot be compiled" in segmenter.notes[0]
