from __future__ import annotations

import os
import weakref

import pytest
import torch
from safetensors.torch import save_file
from tests.models.original_layout import forward, original_state, trained
from tests.tiny_models import N_QUERIES, SIZE, save_tiny
from transformers import VideomtConfig, VideomtForUniversalSegmentation

from napari_eomt.errors import DataError, ModelError, OutputError
from napari_eomt.models.convert import to_transformers
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.query_state import QueryState
from napari_eomt.models.videomt import VideomtSegmenter, model_fingerprint
from napari_eomt.models.weights import load_weights

CPU = torch.device("cpu")


def save_video(folder, seed=0, **sizes):
    """Save a tiny VidEoMT whose tensors are all random in a trained network's scale."""
    trained("video", seed, num_queries=N_QUERIES, **sizes).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_video(tmp_path_factory.mktemp("models") / "video")


@pytest.fixture(scope="module")
def theirs(folder):
    return VideomtForUniversalSegmentation.from_pretrained(folder).eval()


@pytest.fixture
def segmenter(folder):
    return load_segmenter(folder, device="cpu")


def drawn_clip(n_frames, n_videos=1, size=SIZE, seed=1):
    """Make pixels in which something stays, so that the queries have something to carry on."""
    generator = torch.Generator().manual_seed(seed)
    scene = torch.randn(n_videos, 1, 3, size, size, generator=generator)
    noise = torch.randn(n_videos, n_frames, 3, size, size, generator=generator)
    return scene + 0.3 * noise


def clip_forward(model, clip):
    """Return transformers' logits of the whole clip: (T, B, Q, ...), each."""
    n_videos, n_frames = clip.shape[:2]
    with torch.inference_mode():
        output = model(pixel_values_videos=clip)
    masks, classes = output.masks_queries_logits, output.class_queries_logits
    return [x.unflatten(0, (n_frames, n_videos)) for x in (classes, masks)]


def assert_equal_clip(outputs, expected, atol=1e-5):
    classes, masks = expected
    assert len(outputs) == len(classes)
    for output, k, m in zip(outputs, classes, masks, strict=True):
        torch.testing.assert_close(output.class_logits, k, rtol=0, atol=atol)
        torch.testing.assert_close(output.mask_logits, m, rtol=0, atol=atol)


def run(segmenter, clip, state=None, look_ahead=1):
    pairs = list(segmenter.iter_clip(clip.unbind(1), state, look_ahead))
    return [output for output, _ in pairs], [state for _, state in pairs]


def same(one, other):
    return torch.equal(one.class_logits, other.class_logits) and torch.equal(
        one.mask_logits, other.mask_logits
    )


@pytest.mark.parametrize("look_ahead", [1, 2, 4, 7])
@pytest.mark.parametrize("n_frames", [1, 2, 3, 5, 8, 16, 32])
def test_frames_one_by_one_equal_the_whole_clip(segmenter, theirs, n_frames, look_ahead):
    clip = drawn_clip(n_frames)
    outputs, states = run(segmenter, clip, look_ahead=look_ahead)
    assert_equal_clip(outputs, clip_forward(theirs, clip))
    assert [state.frame for state in states] == list(range(1, n_frames + 1))


@pytest.mark.parametrize("look_ahead", [1, 2, 4, 7])
@pytest.mark.parametrize("n_frames", [1, 5, 16])
def test_videos_side_by_side_equal_the_whole_clips(segmenter, theirs, n_frames, look_ahead):
    clip = drawn_clip(n_frames, n_videos=2)
    outputs, _ = run(segmenter, clip, look_ahead=look_ahead)
    assert_equal_clip(outputs, clip_forward(theirs, clip))


def test_queries_carry_over(segmenter):
    """Or the tests above would pass for a model that forgets each frame."""
    clip = drawn_clip(2)
    (_, second), _ = run(segmenter, clip)
    alone = segmenter.forward(clip[:, 1])
    assert (second.class_logits - alone.class_logits).abs().max() > 0.1
    assert (second.mask_logits - alone.mask_logits).abs().max() > 0.1


def test_a_frame_by_itself_is_the_first_of_a_video(segmenter, theirs):
    clip = drawn_clip(3)
    outputs = [segmenter.forward(frame) for frame in clip.unbind(1)]
    clips = clip.transpose(0, 1)  # three, of one frame
    classes, masks = clip_forward(theirs, clips)
    assert_equal_clip(outputs, (classes.transpose(0, 1), masks.transpose(0, 1)))


def test_a_step_takes_the_tokens_of_the_trunk(segmenter):
    clip = drawn_clip(3)
    state = tokens_state = None
    for frame in clip.unbind(1):
        output, state = segmenter.step(frame, state)
        again, tokens_state = segmenter.step(segmenter.trunk(frame), tokens_state)
        assert same(output, again)
    assert torch.equal(state.queries, tokens_state.queries)


@pytest.mark.parametrize("n_seen", range(1, 8))
def test_a_saved_state_goes_on_to_the_bit(tmp_path, folder, segmenter, n_seen):
    clip = drawn_clip(8)
    whole, states = run(segmenter, clip)
    states[n_seen - 1].save(tmp_path / "state.safetensors")
    state = QueryState.load(tmp_path / "state.safetensors")
    assert (state.frame, state.fingerprint) == (n_seen, segmenter.fingerprint)
    again = load_segmenter(folder, device="cpu")
    rest, rest_states = run(again, clip[:, n_seen:], state)
    assert all(same(one, other) for one, other in zip(rest, whole[n_seen:], strict=True))
    assert torch.equal(rest_states[-1].queries, states[-1].queries)
    assert rest_states[-1].frame == 8
    assert os.listdir(tmp_path) == ["state.safetensors"]


def test_going_on_with_look_ahead_is_equal_within_rounding(segmenter, theirs):
    clip = drawn_clip(9)
    _, states = run(segmenter, clip[:, :4])
    rest, _ = run(segmenter, clip[:, 4:], states[-1], look_ahead=3)
    assert_equal_clip(rest, [x[4:] for x in clip_forward(theirs, clip)])


def test_going_back_and_a_new_video(segmenter):
    clip, other = drawn_clip(4), drawn_clip(4, seed=9)
    first, states = run(segmenter, clip)
    run(segmenter, other, states[-1])  # whatever ran in between leaves nothing behind
    assert all(map(same, run(segmenter, clip)[0], first))
    assert same(segmenter.step(clip[:, 2], states[1])[0], first[2])


def test_states_are_copies_and_stay_as_they_are(segmenter):
    clip = drawn_clip(3)
    _, states = run(segmenter, clip)
    for state in states:
        assert state.queries.untyped_storage().nbytes() == state.queries.nbytes
        assert state.queries.shape == (1, N_QUERIES, 128)
    before = states[0].queries.clone()
    segmenter.step(clip[:, 1], states[0])
    assert torch.equal(states[0].queries, before)
    tokens = torch.zeros(1, 20, 8)
    view = QueryState(tokens[:, :5], 1, "")
    tokens.fill_(1)
    assert not view.queries.any()


@pytest.mark.parametrize("look_ahead", [1, 3])
def test_no_more_frames_are_held_than_asked_for(segmenter, look_ahead):
    """Frames are taken as they are needed; their tokens and pixels go when they are done."""
    pixels, tokens = [], []

    def frames():
        for frame in drawn_clip(9).unbind(1):
            frame = frame.clone()
            pixels.append(weakref.ref(frame))
            yield frame

    def remember(*_):
        # What earlier frames have left when the trunk of the next ones begins.
        assert not any(ref() is not None for ref in tokens)

    trunk = segmenter.model.layers[0]
    trunk.register_forward_pre_hook(remember)
    trunk.register_forward_hook(lambda _, __, made: tokens.append(weakref.ref(made)))
    for n, _ in enumerate(segmenter.iter_clip(frames(), look_ahead=look_ahead)):
        assert len(pixels) == (n // look_ahead + 1) * look_ahead
        assert sum(ref() is not None for ref in pixels) <= 1  # the generator's own name
    assert len(tokens) == 9 // look_ahead


def test_faults_of_a_step_are_told(tmp_path, segmenter):
    frame = drawn_clip(1)[:, 0]
    _, state = segmenter.step(frame)
    with pytest.raises(ValueError, match=r"takes \(B, 3, 64, 64\)"):
        segmenter.step(torch.zeros(1, 3, 32, 32), state)
    with pytest.raises(ValueError, match=r"trunk makes \(B, 21, 128\) tokens"):
        segmenter.step(torch.zeros(1, 5, 128), state)
    with pytest.raises(ValueError, match="of 1 videos, the frame of 2"):
        segmenter.step(torch.cat([frame, frame]), state)
    with pytest.raises(ValueError, match="look_ahead is 0"):
        segmenter.iter_clip([frame], look_ahead=0)
    with pytest.raises(ValueError, match="at least one frame"):
        QueryState(state.queries, 0, "")
    other = load_segmenter(save_video(tmp_path / "other", seed=3), device="cpu")
    with pytest.raises(ModelError, match="after 1 frames, was made by another model"):
        other.step(frame, state)


def test_states_of_a_model_that_has_learnt_since_are_refused(tmp_path, folder, segmenter):
    """Whatever has learnt: the blocks, the queries, or the head alone."""
    frame = drawn_clip(1)[:, 0]
    _, state = segmenter.step(frame)
    names = ("layers.0.mlp.fc1.weight", "query.weight", "class_predictor.bias")
    for i, name in enumerate(names):
        model = VideomtForUniversalSegmentation.from_pretrained(folder)
        with torch.no_grad():
            model.get_parameter(name).mul_(1.001)
        model.save_pretrained(tmp_path / str(i))
        with pytest.raises(ModelError, match="another model"):
            load_segmenter(tmp_path / str(i), device="cpu").step(frame, state)


def test_the_fingerprint_is_of_the_weights_alone(tmp_path, folder, segmenter):
    fingerprint = segmenter.fingerprint
    assert len(fingerprint) == 64
    segmenter.set_input_size(96)
    segmenter.to(CPU, torch.bfloat16)
    half = load_segmenter(folder, device="cpu", dtype="bf16", input_size=96)
    assert half.fingerprint == segmenter.fingerprint == fingerprint
    large = trained("video", hidden_size=256)
    whole = model_fingerprint(large)
    with torch.no_grad():
        large.layers[1].mlp.fc2.weight.add_(1e-3)  # 262,144 numbers, of which a part is looked at
    assert model_fingerprint(large) != whole


def test_a_state_goes_to_another_size_and_precision(segmenter):
    """As after running out of memory: the rest of the video runs smaller."""
    clip = drawn_clip(2)
    (_, expected), states = run(segmenter, clip)
    segmenter.to(CPU, torch.bfloat16)
    output, state = segmenter.step(clip[:, 1], states[0])
    assert state.queries.dtype is torch.bfloat16
    assert output.class_logits.dtype is torch.float32
    error = (output.class_logits - expected.class_logits).abs().max()
    assert 0 < error < 0.1 * expected.class_logits.abs().max()
    segmenter.to(CPU, torch.float32)
    segmenter.set_input_size(96)
    output, _ = segmenter.step(torch.zeros(1, 3, 96, 96), state)
    assert output.mask_logits.shape == (1, N_QUERIES, 24, 24)
    moved = state.to("cpu", torch.float32)
    assert moved.queries.dtype is torch.float32
    assert (moved.frame, moved.fingerprint) == (2, segmenter.fingerprint)


def test_a_clip_at_another_size_equals_a_model_built_for_it(folder, theirs):
    segmenter = load_segmenter(folder, device="cpu", input_size=96)
    config = VideomtConfig.from_pretrained(folder, image_size=96)
    built = VideomtForUniversalSegmentation(config)
    weights = theirs.state_dict()
    name = "embeddings.position_embeddings.weight"
    weights[name] = segmenter.model.embeddings.position_embeddings.weight.clone()
    built.load_state_dict(weights)
    clip = drawn_clip(5, size=96)
    outputs, _ = run(segmenter, clip, look_ahead=2)
    assert_equal_clip(outputs, clip_forward(built.eval(), clip))


@pytest.mark.parametrize(
    ("width", "n_heads", "n_blocks"), [(384, 6, 3), (768, 12, 3), (1024, 16, 4)]
)
def test_blocks_as_wide_as_the_published_models(tmp_path, width, n_heads, n_blocks):
    """DINOv2's S, B and L, less most of the blocks that know no queries."""
    sizes = {"hidden_size": width, "num_attention_heads": n_heads, "num_blocks": n_blocks}
    folder = save_video(tmp_path / "m", num_hidden_layers=n_blocks + 1, **sizes)
    segmenter = load_segmenter(folder, device="cpu")
    clip = drawn_clip(3)
    outputs, _ = run(segmenter, clip, look_ahead=2)
    model = VideomtForUniversalSegmentation.from_pretrained(folder).eval()
    expected = clip_forward(model, clip)
    # Their logits are larger than the tiny model's, and rounding is relative.
    scale = max(1.0, *(float(x.abs().max()) for x in expected))
    assert_equal_clip(outputs, expected, atol=1e-5 * scale)


def test_what_convert_writes_is_the_original_network(tmp_path):
    state = original_state(trained("video"), "video")
    torch.save({"model": state}, tmp_path / "m_64.pth")
    to_transformers(tmp_path / "m_64.pth", tmp_path / "out")
    segmenter = load_segmenter(tmp_path / "out", device="cpu")
    assert isinstance(segmenter, VideomtSegmenter)
    clip = drawn_clip(6)
    weights = load_weights(tmp_path / "m_64.pth")
    masks, classes = forward(weights, clip[0], n_heads=2, prefix="backbone.")
    outputs, _ = run(segmenter, clip, look_ahead=4)
    for output, mask, label in zip(outputs, masks, classes, strict=True):
        torch.testing.assert_close(output.mask_logits[0].double(), mask, atol=1e-4, rtol=0)
        torch.testing.assert_close(output.class_logits[0].double(), label, atol=1e-4, rtol=0)


def test_an_image_model_is_no_video_model(tmp_path):
    assert not isinstance(load_segmenter(save_tiny(tmp_path / "m"), "cpu"), VideomtSegmenter)
    assert isinstance(load_segmenter(save_tiny(tmp_path / "v", "videomt"), "cpu"), VideomtSegmenter)


def test_a_compiled_step_is_two_graphs_and_equal(segmenter, theirs):
    graphs = []

    def backend(graph, inputs):
        graphs.append(inputs)
        return graph.forward

    segmenter.compile(backend)
    clip = drawn_clip(8)
    outputs, _ = run(segmenter, clip)
    assert_equal_clip(outputs, clip_forward(theirs, clip))
    assert len(graphs) == 2, "the trunk and the queries' blocks, of whichever frame"
    outputs, _ = run(segmenter, clip, look_ahead=3)
    assert_equal_clip(outputs, clip_forward(theirs, clip))
    assert len(graphs) == 3, "a trunk of any number of frames; the last batch is smaller"
    assert segmenter.notes == []


def test_a_compiler_that_fails_costs_a_note_alone(segmenter, theirs):
    def broken(graph, inputs):
        raise OSError("no C++ compiler found")

    segmenter.compile(broken)
    clip = drawn_clip(3)
    outputs, _ = run(segmenter, clip, look_ahead=2)
    assert_equal_clip(outputs, clip_forward(theirs, clip))
    (note,) = segmenter.notes
    assert "no C++ compiler found" in note


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _text(path):
    path.write_text("no" * 99)


def _model(path):
    save_file({"queries": torch.zeros(1, 2, 3)}, path, metadata={"format": "pt"})


def _no_frame(path):
    about = {"format": "napari-eomt query state 1", "fingerprint": ""}
    save_file({"queries": torch.zeros(1, 2, 3)}, path, metadata=about)


def _no_queries(path):
    about = {"format": "napari-eomt query state 1", "fingerprint": "", "frame": "2"}
    save_file({"other": torch.zeros(1, 2, 3)}, path, metadata=about)


def _flat(path):
    about = {"format": "napari-eomt query state 1", "fingerprint": "", "frame": "2"}
    save_file({"queries": torch.zeros(3)}, path, metadata=about)


@pytest.mark.parametrize("spoil", [os.unlink, _cut, _text, _model, _no_frame, _no_queries, _flat])
def test_files_that_are_no_states_are_one_clear_error(tmp_path, segmenter, spoil):
    path = tmp_path / "state.safetensors"
    segmenter.step(drawn_clip(1)[:, 0])[1].save(path)
    spoil(path)
    with pytest.raises(DataError, match=r"state\.safetensors: .* state of a video"):
        QueryState.load(path)


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch, segmenter):
    _, state = segmenter.step(drawn_clip(1)[:, 0])
    with pytest.raises(OutputError, match="after frame 0 could not be written"):
        state.save(tmp_path / "none" / "state.safetensors")
    path = tmp_path / "state.safetensors"
    state.save(path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    _, later = segmenter.step(drawn_clip(1)[:, 0], state)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        later.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
