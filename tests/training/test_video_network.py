"""The training forward pass of VidEoMT against transformers' own forward pass for a clip."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.training.clips import clip, tiny_video
from tests.training.tiny import tiny_model

from napari_eomt.errors import ModelError
from napari_eomt.training.video_network import VideoTrainingNetwork


def assert_answers(prediction, output, n_clips, n_frames):
    """transformers' rows are frame by frame, ours clip by clip."""
    masks = output.masks_queries_logits.unflatten(0, (n_frames, n_clips)).transpose(0, 1)
    classes = output.class_queries_logits.unflatten(0, (n_frames, n_clips)).transpose(0, 1)
    torch.testing.assert_close(
        prediction.mask_logits, masks.flatten(0, 1), rtol=1e-5, atol=1e-5 * masks.abs().max().item()
    )
    torch.testing.assert_close(prediction.class_logits, classes.flatten(0, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_frames", [1, 4])
def test_the_answer_is_transformers(n_frames):
    model = tiny_video()
    network = VideoTrainingNetwork(copy.deepcopy(model))
    pixels = clip(2, n_frames)
    found = network(pixels)
    assert len(found) == 2  # one before the first of two blocks, and the answer
    assert_answers(found[-1], model(pixel_values_videos=pixels), 2, n_frames)
    # What a frozen trunk has made is as good as the pixels.
    tokens = network.trunk(pixels.flatten(0, 1)).unflatten(0, (2, n_frames))
    torch.testing.assert_close(network(tokens=tokens)[-1].mask_logits, found[-1].mask_logits)


def test_predictions_before_the_last_block_are_of_tokens_as_they_are():
    """Literally: frame after frame, what the module predicts of a block's input."""
    model = tiny_video()
    network = VideoTrainingNetwork(copy.deepcopy(model))
    pixels = clip(1, 3)
    made, first = [], model.layers[1]
    first.register_forward_pre_hook(lambda _, inputs: made.append(model.predict(inputs[0])))
    model(pixel_values_videos=pixels)
    before = network(pixels)[0]
    masks, classes = (torch.cat(rows) for rows in zip(*made, strict=True))
    torch.testing.assert_close(before.mask_logits, masks, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(before.class_logits, classes, rtol=1e-5, atol=1e-5)


def test_gradients_go_back_through_all_frames():
    """Those of the last frame's answer are transformers', also of the queries of the first."""
    model = tiny_video()
    network = VideoTrainingNetwork(copy.deepcopy(model), has_auxiliary_losses=False)
    pixels = clip(1, 4)
    (found,) = network(pixels)
    output = model(pixel_values_videos=pixels)
    found.mask_logits[-1].square().mean().backward()
    output.masks_queries_logits[-1].square().mean().backward()
    ours = dict(network.model.named_parameters())
    n_compared = 0
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert ours[name].grad is None, name
            continue
        torch.testing.assert_close(ours[name].grad, parameter.grad, rtol=1e-4, atol=1e-5)
        n_compared += 1
    assert ours["query_updater.weight"].grad.abs().max() > 0
    assert n_compared > 40


def test_a_checkpointed_network_is_the_same():
    model = tiny_video()
    grads = []
    for is_checkpointed in (False, True):
        network = VideoTrainingNetwork(copy.deepcopy(model), is_checkpointed=is_checkpointed)
        network(clip(1, 3))[-1].mask_logits.square().mean().backward()
        grads.append(network.model.query.weight.grad)
    torch.testing.assert_close(*grads)


def test_other_networks_and_single_images_are_refused():
    with pytest.raises(ModelError, match="EomtForUniversalSegmentation"):
        VideoTrainingNetwork(tiny_model("eomt"))
    with pytest.raises(ValueError, match="takes clips"):
        VideoTrainingNetwork(tiny_video())(clip(1, 2)[:, 0])
