from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny_models import SIZE, save_tiny
from transformers import (
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    VideomtForUniversalSegmentation,
)

from napari_eomt.errors import ModelError
from napari_eomt.models.load import load_segmenter

ARCHITECTURES = ["eomt", "eomt_dinov3", "videomt"]


def resized_positions(table, grid):
    """Resample a table of positions with Pillow, whose bicubic filter is antialiased."""
    side = round(len(table) ** 0.5)
    square = table.reshape(side, side, -1).numpy()
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(square[..., c])).resize(
                (grid, grid), Image.Resampling.BICUBIC
            )
        )
        for c in range(square.shape[-1])
    ]
    return torch.from_numpy(np.stack(channels, -1).reshape(grid * grid, -1))


def transformers_at(folder, architecture, size):
    """Build transformers' own model for another size, with the weights of `folder`."""
    if architecture == "eomt_dinov3":
        config = EomtDinov3Config.from_pretrained(folder, image_size=size)
        model = EomtDinov3ForUniversalSegmentation.from_pretrained(folder, config=config)
    else:
        small = EomtForUniversalSegmentation.from_pretrained(folder)
        weights = small.state_dict()
        name = "embeddings.position_embeddings.weight"
        weights[name] = resized_positions(weights[name], size // 16)
        model = EomtForUniversalSegmentation(EomtConfig.from_pretrained(folder, image_size=size))
        model.load_state_dict(weights)
    model.attn_mask_probs.zero_()
    return model.eval()


@pytest.mark.parametrize("architecture", ["eomt", "eomt_dinov3"])
def test_forward_equals_transformers(tmp_path, architecture):
    segmenter = load_segmenter(save_tiny(tmp_path / "m", architecture), device="cpu")
    pixels = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    ours = segmenter.forward(pixels)
    with torch.inference_mode():
        theirs = segmenter.model(pixels)
    torch.testing.assert_close(ours.class_logits, theirs.class_queries_logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.mask_logits, theirs.masks_queries_logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", ["eomt", "eomt_dinov3"])
def test_masked_attention_is_off_whatever_was_saved(tmp_path, architecture):
    """A fresh model is saved with a probability of 1, which would mask at inference."""
    segmenter = load_segmenter(save_tiny(tmp_path / "m", architecture), device="cpu")
    assert segmenter.model.attn_mask_probs.tolist() == [0, 0]
    calls = []
    segmenter.model.mask_head.register_forward_hook(lambda *_: calls.append(1))
    segmenter.forward(torch.zeros(1, 3, SIZE, SIZE))
    assert len(calls) == 1, "masks are predicted once, at the end"


@pytest.mark.parametrize("shape", [(1, 3, SIZE, SIZE + 16), (1, 3, 32, 128), (3, SIZE, SIZE)])
def test_another_shape_is_refused(tmp_path, shape):
    """32 × 128 has as many patches: transformers takes it and scrambles the masks."""
    segmenter = load_segmenter(save_tiny(tmp_path / "m"), device="cpu")
    with pytest.raises(ValueError, match=r"takes \(B, 3, 64, 64\)"):
        segmenter.forward(torch.zeros(shape))


def test_trunk_can_be_kept(tmp_path):
    segmenter = load_segmenter(save_tiny(tmp_path / "m"), device="cpu")
    pixels = torch.randn(1, 3, SIZE, SIZE)
    with torch.inference_mode():
        again = segmenter.decode(segmenter.trunk(pixels))
    torch.testing.assert_close(again.mask_logits, segmenter.forward(pixels).mask_logits)


def test_videomt_takes_each_frame_as_a_first_one(tmp_path):
    folder = save_tiny(tmp_path / "m", "videomt")
    pixels = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    segmenter = load_segmenter(folder, device="cpu")
    assert segmenter.card.is_video
    ours = segmenter.forward(pixels)
    clip = VideomtForUniversalSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        theirs = clip(pixel_values_videos=pixels[:, None])  # three clips of one frame
    torch.testing.assert_close(ours.class_logits, theirs.class_queries_logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.mask_logits, theirs.masks_queries_logits, rtol=0, atol=1e-6)


def test_dinov3_attention_is_fused_and_equal(tmp_path):
    folder = save_tiny(tmp_path / "m", "eomt_dinov3")
    theirs = EomtDinov3ForUniversalSegmentation.from_pretrained(folder)
    torch.manual_seed(2)
    with torch.no_grad():  # fresh ones are zero, which would hide a wrong order
        for layer in theirs.layers:
            layer.attention.q_proj.bias.normal_()
            layer.attention.v_proj.bias.normal_()
    theirs.save_pretrained(folder)
    theirs.attn_mask_probs.zero_()
    segmenter = load_segmenter(folder, device="cpu")
    assert not any(name.endswith("q_proj") for name, _ in segmenter.model.named_modules())
    pixels = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        expected = theirs.eval()(pixels)
    ours = segmenter.forward(pixels)
    torch.testing.assert_close(ours.mask_logits, expected.masks_queries_logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.class_logits, expected.class_queries_logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["eomt", "eomt_dinov3"])
@pytest.mark.parametrize("size", [32, 48, 112, 160])
def test_another_input_size_equals_a_model_built_for_it(tmp_path, architecture, size):
    folder = save_tiny(tmp_path / "m", architecture)
    segmenter = load_segmenter(folder, device="cpu", input_size=size)
    assert segmenter.card.input_size == size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    ours = segmenter.forward(pixels)
    with torch.inference_mode():
        theirs = transformers_at(folder, architecture, size)(pixels)
    torch.testing.assert_close(ours.class_logits, theirs.class_queries_logits, rtol=0, atol=2e-5)
    torch.testing.assert_close(ours.mask_logits, theirs.masks_queries_logits, rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match="takes"):
        segmenter.forward(torch.zeros(1, 3, SIZE, SIZE))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_input_size_goes_there_and_back_without_loss(tmp_path, architecture):
    segmenter = load_segmenter(save_tiny(tmp_path / "m", architecture), device="cpu")
    card, pixels = segmenter.card, torch.randn(1, 3, SIZE, SIZE)
    before = segmenter.forward(pixels)
    segmenter.set_input_size(128)
    segmenter.to(torch.device("cpu"), torch.bfloat16)
    segmenter.forward(torch.zeros(1, 3, 128, 128))
    segmenter.set_input_size(32)
    segmenter.set_input_size(None)
    assert segmenter.card == card
    if architecture != "videomt":
        positions = segmenter.model.embeddings
        assert not hasattr(positions, "position_ids") or positions.position_ids.shape == (1, 16)
    again = load_segmenter(card.folder, device="cpu").forward(pixels)
    torch.testing.assert_close(again.mask_logits, before.mask_logits, rtol=0, atol=0)
    rounded = segmenter.forward(pixels).mask_logits
    assert (rounded - before.mask_logits).abs().max() < 0.1 * before.mask_logits.abs().max()


@pytest.mark.parametrize("size", [0, -64, 16, 63, 100, 8192])
def test_wrong_input_sizes_are_refused(tmp_path, size):
    folder = save_tiny(tmp_path / "m")
    segmenter = load_segmenter(folder, device="cpu")
    with pytest.raises(ModelError, match=r"multiple of 16 from 32 to 4096, such as \d+"):
        segmenter.set_input_size(size)
    assert segmenter.card.input_size == SIZE
    with pytest.raises(ModelError, match="multiple of 16"):
        load_segmenter(folder, device="cpu", input_size=size)


def test_tiles_of_another_size_still_overlap(tmp_path):
    by_size = load_segmenter(save_tiny(tmp_path / "a"), device="cpu", input_size=160)
    assert by_size.card.tile_overlap == 40, "a quarter, as by default"
    of_objects = load_segmenter(
        save_tiny(tmp_path / "b", object_size=10, tile_overlap=24), device="cpu", input_size=160
    )
    assert of_objects.card.tile_overlap == 24, "as much as an object, whatever the tile"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiled_is_one_graph_and_equal(tmp_path, architecture):
    graphs = []

    def backend(graph, inputs):
        graphs.append(inputs)
        return graph.forward

    segmenter = load_segmenter(save_tiny(tmp_path / "m", architecture), device="cpu")
    pixels = torch.randn(5, 3, SIZE, SIZE)
    plain = segmenter.forward(pixels)
    segmenter.warm_up(1)
    assert not graphs, "nothing to warm up before"
    segmenter.compile(backend)
    for n_views, n_graphs in ((1, 1), (5, 2), (3, 2), (4, 2), (1, 2)):
        output = segmenter.forward(pixels[:n_views])
        assert len(graphs) == n_graphs, "one graph for a view, one for any number of them"
        torch.testing.assert_close(
            output.mask_logits, plain.mask_logits[:n_views], rtol=0, atol=1e-5
        )
    assert segmenter.is_compiled
    assert segmenter.notes == []


def test_warming_up_compiles_for_what_comes(tmp_path):
    graphs = []

    def backend(graph, inputs):
        graphs.append(inputs)
        return graph.forward

    segmenter = load_segmenter(save_tiny(tmp_path / "m"), device="cpu")
    segmenter.compile(backend)
    for n_views in (1, 2, 1, 2):
        segmenter.warm_up(n_views)
    assert len(graphs) == 2
    for n_views in (1, 3, 2):
        segmenter.forward(torch.zeros(n_views, 3, SIZE, SIZE))
    assert len(graphs) == 2
    segmenter.set_input_size(96)
    segmenter.warm_up(1)
    assert len(graphs) == 3


def test_a_compiler_that_fails_costs_a_note_alone(tmp_path):
    def broken(graph, inputs):
        raise OSError("no C++ compiler found")

    segmenter = load_segmenter(save_tiny(tmp_path / "m"), device="cpu")
    pixels = torch.randn(1, 3, SIZE, SIZE)
    plain = segmenter.forward(pixels)
    segmenter.compile(broken)
    output = segmenter.forward(pixels)
    torch.testing.assert_close(output.mask_logits, plain.mask_logits)
    assert not segmenter.is_compiled
    (note,) = segmenter.notes
    assert "continued without" in note
    assert "no C++ compiler found" in note


def test_out_of_memory_while_compiled_is_not_taken_for_a_broken_compiler(tmp_path):
    def backend(graph, inputs):
        def run(*_):
            raise torch.OutOfMemoryError("CUDA out of memory.")

        return run

    segmenter = load_segmenter(save_tiny(tmp_path / "m"), device="cpu")
    segmenter.compile(backend)
    with pytest.raises(torch.OutOfMemoryError):
        segmenter.forward(torch.zeros(1, 3, SIZE, SIZE))
    assert segmenter.is_compiled
