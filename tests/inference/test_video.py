from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from tests.tiny_models import save_tiny

from napari_eomt.errors import DataError, ModelError, OutputError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.video import VideoTracker, iter_video
from napari_eomt.inference.video_state import VideoState
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.videomt import VideomtSegmenter
from napari_eomt.structures.segments import TASKS, Segmentation, Status
from napari_eomt.synthetic import moving_objects

# A random model is sure of nothing, and its masks are half of the image.
ANY = PredictParams(score_threshold=0.05, overlap_threshold=0)
TILED = PredictParams(score_threshold=0.05, overlap_threshold=0, tiling="tiles", tile_overlap=24)
FORGIVING = TrackParams(max_gap=3)


@pytest.fixture(scope="module")
def video_model(tmp_path_factory):
    return load_segmenter(
        save_tiny(tmp_path_factory.mktemp("video") / "m", "videomt"), device="cpu"
    )


@pytest.fixture(scope="module")
def image_model():
    return load_segmenter("nuclei-nano", device="cpu")


def clip(n_frames=6, shape=(80, 100), n_objects=4, seed=3):
    return moving_objects(n_frames, shape, n_objects, seed)[0]


def finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def track(tracker, frames, given=None):
    given = given or {}
    return [finish(tracker.iter_frame(f, given.get(t))) for t, f in enumerate(frames)]


def assert_same(one, other):
    np.testing.assert_array_equal(one.segmentation.id_map, other.segmentation.id_map)
    assert one.segmentation.segments == other.segmentation.segments
    assert one.links == other.links
    assert one.ended == other.ended
    assert one.uncertainty == other.uncertainty
    assert one.object_size == other.object_size


def test_the_first_frame_is_the_image_prediction(video_model, image_model):
    frame = clip()[0]
    for model, params in ((video_model, ANY), (image_model, PredictParams())):
        alone = predict(frame, model, params)
        (first,) = track(VideoTracker(model, params), [frame])
        np.testing.assert_array_equal(first.segmentation.id_map > 0, alone.id_map > 0)
        assert len(first.segmentation.segments) == len(alone.segments) > 1
        assert sorted(s.score for s in first.segmentation.segments) == pytest.approx(
            sorted(s.score for s in alone.segments)
        )
        assert [s.category_id for s in first.segmentation.segments] == [
            s.category_id for s in alone.segments
        ]


@pytest.mark.parametrize("params", [ANY, TILED], ids=["whole", "tiles"])
def test_ids_are_tracks_in_map_segments_and_links(video_model, params):
    frames = clip()
    for found in track(VideoTracker(video_model, params, FORGIVING), frames):
        ids = [s.id for s in found.segmentation.segments]
        assert ids == [s.track_id for s in found.segmentation.segments]
        assert ids == [link.track_id for link in found.links]
        assert set(np.unique(found.segmentation.id_map)) - {0} == set(ids)
        assert len(found.uncertainty) == len(ids)
        assert all(0 <= link.doubt <= 1 for link in found.links)
        assert all(u is not None for u in found.uncertainty)


def test_a_track_is_a_query(video_model):
    """Of a single view, whatever the masks do; known from the model's own steps."""
    frames = clip(8)
    tracker = VideoTracker(video_model, ANY, TrackParams(max_gap=20))
    query_of: dict[int, int] = {}
    n_seen = 0
    for found, plain in zip(
        track(tracker, frames), plain_queries(video_model, frames), strict=True
    ):
        # In both the pixels are the same, so a pixel tells which query a track is of.
        for segment in found.segmentation.segments:
            y, x = np.argwhere(found.segmentation.id_map == segment.id)[0]
            query = plain[y, x] - 1
            assert query_of.setdefault(segment.track_id, query) == query
            n_seen += 1
    assert len(set(query_of.values())) == len(query_of)
    assert n_seen > len(query_of) > 1


def plain_queries(model, frames):
    """Return the id maps of each frame with 1 + the query as the id, from steps by hand."""
    from napari_eomt.inference.decision import Decider, View
    from napari_eomt.inference.plan import make_plan
    from napari_eomt.inference.preprocess import resize, to_rgb8, window_pixels

    state, maps = None, []
    for frame in frames:
        rgb = to_rgb8(frame, ANY, model.card)
        plan = make_plan(rgb.shape[:2], model.card, ANY, None)
        (tile,) = plan.tiles
        canvas = resize(rgb, plan.canvas)
        pixels = window_pixels(canvas, tile, model.card.input_size, model.card)
        output, state = model.step(torch.from_numpy(pixels)[None], state)
        decider = Decider(plan, model.card, ANY)
        decider.add(View.of(tile, output))
        decision = decider.result()
        table = np.array([0, *(q + 1 for _, q in decision.queries)])
        maps.append(table[decision.segmentation.id_map])
    return maps


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("kind", ["video", "tiled", "semantic", "panoptic", "image"])
def test_a_run_goes_on_bit_equal(video_model, image_model, tmp_path, kind, at):
    model = image_model if kind == "image" else video_model
    params = {
        "video": ANY,
        "tiled": TILED,
        "semantic": PredictParams(task="semantic"),
        "panoptic": PredictParams(task="panoptic", score_threshold=0.05, overlap_threshold=0.1),
        "image": PredictParams(),
    }[kind]
    frames = clip(5)
    if kind in ("panoptic", "semantic"):
        model = with_stuff(model)
    through = track(VideoTracker(model, params, FORGIVING), frames)
    stopped = VideoTracker(model, params, FORGIVING)
    before = track(stopped, frames[:at])
    stopped.save(tmp_path / "state.safetensors")
    again = VideoTracker.load(tmp_path / "state.safetensors", model, params, FORGIVING)
    assert (again.n_frames, again.next_id) == (at, stopped.next_id)
    for one, other in zip(through, before + track(again, frames[at:]), strict=True):
        assert_same(one, other)
    assert any(found.segmentation.segments for found in through[at:])


def with_stuff(model):
    """The same model, half of whose categories are stuff."""
    categories = tuple(replace(c, is_thing=k % 2 == 0) for k, c in enumerate(model.card.categories))
    changed = VideomtSegmenter.__new__(VideomtSegmenter)
    changed.__dict__.update(model.__dict__)
    changed.card = model.card.model_copy(update={"categories": categories, "tasks": TASKS})
    return changed


@pytest.mark.parametrize("params", [ANY, TILED], ids=["whole", "tiles"])
def test_a_stopped_frame_leaves_the_tracker_as_it_was(video_model, params):
    frames = clip(3)
    tracker = VideoTracker(video_model, params)
    track(tracker, frames[:1])
    for n_steps in (1, 2):
        steps = tracker.iter_frame(frames[1])
        for _ in range(n_steps):
            next(steps)
        steps.close()
    with pytest.raises(DataError):
        finish(tracker.iter_frame(np.full(frames[1].shape, np.nan)))
    with pytest.raises(DataError, match="frames of one size"):
        finish(tracker.iter_frame(frames[1][:50]))
    assert tracker.n_frames == 1
    through = track(VideoTracker(video_model, params), frames)
    for one, other in zip(through[1:], track(tracker, frames[1:]), strict=True):
        assert_same(one, other)


def test_identities_last_where_those_of_frames_change(image_model):
    frames, truth = moving_objects(12, (160, 200), 5, seed=1)
    tracks = track(VideoTracker(image_model, track=FORGIVING), frames)
    plain = [predict(frame, image_model) for frame in frames]
    kept = [switches([f.segmentation.id_map for f in tracks], truth)]
    alone = [switches([f.id_map for f in plain], truth)]
    assert kept[0] < alone[0] / 3
    assert alone[0] > 5


def switches(maps, truth):
    """Count how often the id on a true object's middle differs from the frame before."""
    n = 0
    for i in range(1, truth.max() + 1):
        middles = [np.argwhere(one == i).mean(0).astype(int) for one in truth if (one == i).any()]
        ids = [int(m[tuple(p)]) for m, p in zip(maps, middles, strict=False)]
        seen = [i for i in ids if i]
        n += sum(a != b for a, b in itertools.pairwise(seen))
    return n


def test_a_state_of_another_model_or_run_is_told(video_model, image_model, tmp_path):
    path = tmp_path / "state.safetensors"
    tracker = VideoTracker(video_model, ANY)
    track(tracker, clip(1))
    tracker.save(path)
    other = load_segmenter(save_tiny(tmp_path / "m", "videomt", n_labels=3), device="cpu")
    for model in (other, image_model):
        with pytest.raises(ModelError, match="begun with another model"):
            VideoTracker.load(path, model)
    with pytest.raises(DataError, match=r"another score_threshold: score_threshold = 0\.05"):
        VideoTracker.load(path, video_model, PredictParams(overlap_threshold=0))
    with pytest.raises(DataError, match="another max_gap"):
        VideoTracker.load(path, video_model, ANY, FORGIVING)
    assert VideoTracker.load(path, video_model).params == ANY


@pytest.mark.parametrize("size", [0, 20, 300, -50])
def test_a_damaged_state_is_told(video_model, tmp_path, size):
    path = tmp_path / "state.safetensors"
    tracker = VideoTracker(video_model, ANY)
    track(tracker, clip(1))
    tracker.save(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match="no saved state of tracking"):
        VideoState.load(path)
    with pytest.raises(DataError, match="There is no file"):
        VideoState.load(tmp_path / "nix")
    with pytest.raises(OutputError):
        tracker.save(tmp_path / "nix" / "state.safetensors")


def corrected(found, **changes):
    """The frame with its largest object changed by a person."""
    largest = max(found.segmentation.segments, key=lambda s: s.area)
    return largest, Segmentation(
        found.segmentation.id_map,
        tuple(replace(s, **changes) if s is largest else s for s in found.segmentation.segments),
    )


@pytest.mark.parametrize("kind", ["video", "tiled", "image"])
def test_a_run_goes_on_from_a_corrected_frame(video_model, image_model, kind):
    model = image_model if kind == "image" else video_model
    params = {"video": ANY, "tiled": TILED, "image": PredictParams()}[kind]
    frames = clip(5, (128, 128))
    first = track(VideoTracker(model, params, FORGIVING), frames)
    largest, given = corrected(first[2], track_id=77, status=Status.EDITED, category_id=1)
    again = VideoTracker(model, params, FORGIVING, first_id=100)
    found = track(again, frames[2:], {0: given})
    # The corrected one has its pixels, its new track, and is followed.
    np.testing.assert_array_equal(
        found[0].segmentation.id_map == 77, first[2].segmentation.id_map == largest.id
    )
    (one,) = (s for s in found[0].segmentation.segments if s.id == 77)
    assert (one.status, one.track_id) == (Status.EDITED, 77)
    link = next(link for link in found[0].links if link.track_id == 77)
    assert link.event == "given"
    if kind != "tiled":  # a random model is not sure of its queries for two frames in each tile
        assert 77 in {s.id for s in found[1].segmentation.segments}
    # What nobody touched keeps its tracks, too, although this run has never seen them.
    others = {s.track_id for s in given.segments} - {77, largest.id}
    assert others & {s.track_id for s in found[1].segmentation.segments}
    born = {x.track_id for f in found for x in f.links if x.event == "born"}
    assert all(i >= 100 for i in born)


def test_a_new_scene_has_new_tracks(video_model, image_model):
    frames = clip(2)
    for model, params in ((video_model, ANY), (image_model, PredictParams())):
        tracker = VideoTracker(model, params)
        (before,) = track(tracker, frames[:1])
        tracker.cut()
        (after,) = track(tracker, frames[:1])
        old = {s.id for s in before.segmentation.segments}
        assert not old & {s.id for s in after.segmentation.segments}
        np.testing.assert_array_equal(before.segmentation.id_map > 0, after.segmentation.id_map > 0)


@pytest.mark.parametrize("look_ahead", [0, 3])
def test_iter_video_gives_what_the_tracker_gives(video_model, image_model, look_ahead, tmp_path):
    frames = clip(4)
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="minisblack")
    for model, changes in ((video_model, ANY.model_dump()), (image_model, {})):
        params = PredictParams(**changes)
        through = track(VideoTracker(model, params, FORGIVING), frames)
        for source in (frames, tmp_path / "a.tif"):
            found = iter_video(source, model, params, track=FORGIVING, look_ahead=look_ahead)
            for one, other in zip(through, found, strict=True):
                np.testing.assert_array_equal(one.segmentation.id_map, other.id_map)
                assert one.segmentation.segments == other.segments


def test_iter_video_goes_on_from_a_state(image_model, tmp_path):
    frames = clip(4)
    through = [f.id_map for f in iter_video(frames, image_model, min_area=5, max_gap=1)]
    tracker = VideoTracker(image_model, PredictParams(min_area=5), TrackParams(max_gap=1))
    found = iter_video(frames, image_model, state=tracker)
    first = [next(found).id_map, next(found).id_map]
    found.close()
    assert tracker.n_frames == 2
    tracker.save(tmp_path / "state")
    state = tracker.state()
    for known in (tracker, state, tmp_path / "state"):
        rest = iter_video(frames, image_model, state=known, start=2)
        np.testing.assert_array_equal([*first, *(f.id_map for f in rest)], through)
    with pytest.raises(DataError, match="another max_gap"):
        iter_video(frames, image_model, state=state, max_gap=2)
    with pytest.raises(ValueError, match="has its own parameters"):
        iter_video(frames, image_model, state=tracker, max_gap=2)


def test_iter_video_names_the_frame_that_is_bad(image_model):
    frames = [*clip(2), np.full((80, 100), np.nan), *clip(1)]
    found = iter_video(frames, image_model)
    next(found), next(found)
    with pytest.raises(DataError, match="Frame 2: "):
        next(found)
    with pytest.raises(DataError, match="Frame 1: The frame is"):
        list(iter_video([clip(1)[0], clip(1)[0][:40]], image_model))


def test_memory_that_runs_out_costs_no_identity(video_model, monkeypatch):
    frames = clip(3)
    through = track(VideoTracker(video_model, TILED), frames)
    real, n_failed = VideomtSegmenter.step, 0

    def step(self, pixels, state=None):
        nonlocal n_failed
        if len(pixels) > 1 and state is not None:
            n_failed += 1
            raise MemoryError
        return real(self, pixels, state)

    monkeypatch.setattr(VideomtSegmenter, "step", step)
    found = track(VideoTracker(video_model, TILED), frames)
    assert n_failed >= 1
    assert any("Memory" in note for note in found[1].notes)
    for one, other in zip(through, found, strict=True):
        assert [x.track_id for x in one.links] == [x.track_id for x in other.links]
        assert (one.segmentation.id_map == other.segmentation.id_map).mean() > 0.999
