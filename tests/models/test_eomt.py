from __future__ import annotations

import pytest
import torch
from tests.tiny_models import SIZE, save_tiny

from napari_eomt.models.load import load_segmenter


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
