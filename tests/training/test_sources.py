"""Where images come from: datasets on disk, damaged ones too, and work that is open."""

import json

import numpy as np
import pytest
from tests.training.images import NUCLEUS, card, nuclei, saved, segments_of, still

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import Document, FrameState
from napari_eomt.errors import DataError
from napari_eomt.formats.dataset import Dataset, load_dataset
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.synthetic import moving_objects
from napari_eomt.training.feed import iter_ahead
from napari_eomt.training.labels import match_categories
from napari_eomt.training.params import full
from napari_eomt.training.samples import SampleSet
from napari_eomt.training.sources import DatasetSource, SessionImage, SessionSource
from napari_eomt.training.split import split_images


def samples_of(source, params=None):
    labels = match_categories(card().categories, source.categories)
    keys = [entry.key for entry in source.entries]
    return SampleSet(source, keys, labels, params or still(), card())


def test_a_dataset_on_disk(tmp_path):
    saved(tmp_path)
    source = DatasetSource(load_dataset(tmp_path))
    assert [e.name for e in source.entries] == [f"image {k}.png" for k in range(4)]
    assert {e.shape for e in source.entries} == {(64, 80)}
    samples = samples_of(source, still(object_size="as_is", contrast="none"))
    assert len(samples) == 4
    for sample in iter_ahead(samples.at, range(4), n_threads=3):
        k = [e.key for e in source.entries].index(sample.key)
        image, segmentation = nuclei((64, 80), 5, seed=k)
        np.testing.assert_array_equal(sample.pixels[:64, :80, 0], image)
        expected = segmentation.id_map if k < 3 else np.zeros_like(segmentation.id_map)
        np.testing.assert_array_equal(
            np.concatenate(([0], sample.ids))[sample.id_map[:64, :80]], expected
        )


def test_frames_of_a_stack_are_one_group(tmp_path):
    frames, ids = moving_objects(6, (64, 64), 3)
    document = Document((6,), (64, 64), [NUCLEUS])
    for t in range(6):
        result = Segmentation(ids[t], segments_of(ids[t], status=Status.PROPOSED))
        document.apply(operations.propose(document, t, result))
    dataset = Dataset.create(tmp_path)
    dataset.add(frames, document, name="movie.tif", axes="t")
    image, segmentation = nuclei((64, 80), 5)
    dataset.add(image, segmentation, name="single.tif", categories=[NUCLEUS])
    dataset.save()
    source = DatasetSource(load_dataset(tmp_path))
    groups = {entry.key: entry.group for entry in source.entries}
    assert len(groups) == 7
    assert len(set(groups.values())) == 2
    split = split_images(groups, 0.2)
    assert sorted((len(split.train), len(split.val))) == [1, 6]


def test_an_image_of_another_size_is_told_when_its_turn_comes(tmp_path):
    saved(tmp_path)
    path = tmp_path / "images" / "image 1.png"
    path.write_bytes((tmp_path / "images" / "image 0.png").read_bytes()[:200])
    samples = samples_of(DatasetSource(load_dataset(tmp_path)))
    with pytest.raises(DataError, match=r"image 1\.png"):
        list(iter_ahead(samples.at, range(8), n_threads=2))


def test_a_dataset_of_nothing(tmp_path):
    Dataset.create(tmp_path).save()
    if not (tmp_path / "annotations.json").exists():
        text = {"images": [], "annotations": [], "categories": []}
        (tmp_path / "annotations.json").write_text(json.dumps(text))
    with pytest.raises(DataError, match="no images"):
        DatasetSource(load_dataset(tmp_path))


def test_a_dataset_of_videos(tmp_path):
    video = {"id": 1, "width": 4, "height": 4, "length": 1, "file_names": ["a.png"]}
    text = {"videos": [video], "annotations": [], "categories": []}
    (tmp_path / "annotations.json").write_text(json.dumps(text))
    with pytest.raises(DataError, match="only videos"):
        DatasetSource(load_dataset(tmp_path))


def test_a_mask_outside_of_its_image(tmp_path):
    saved(tmp_path)
    path = tmp_path / "annotations.json"
    text = json.loads(path.read_text())
    text["annotations"][0]["segmentation"] = {"size": [64, 200], "counts": [0, 64 * 200]}
    path.write_text(json.dumps(text))
    with pytest.raises(DataError, match="annotation 1"):
        samples_of(DatasetSource(load_dataset(tmp_path)))


class Stack:
    def __init__(self, frames, name="stack"):
        self.frames, self.name, self.n_frames = frames, name, len(frames)

    def frame(self, index):
        return self.frames[index]


def test_work_that_is_open_gives_what_was_decided():
    frames = np.stack([nuclei((64, 80), 5, seed=k)[0] for k in range(4)])
    document = Document((4,), (64, 80), [NUCLEUS])
    for k in range(3):
        _, segmentation = nuclei((64, 80), 5, seed=k, status=Status.PROPOSED)
        document.apply(operations.propose(document, k, segmentation))
    first = min(document.segments(0))
    document.apply(operations.set_status(document, [(0, first)], Status.ACCEPTED))
    for segment_id in document.segments(1):
        document.apply(operations.set_status(document, [(1, segment_id)], Status.ACCEPTED))
    # Someone has looked at the last one: there is nothing in it.
    document.apply(operations.mark_frame(document, 3, FrameState.REVIEWED))
    source = SessionSource([SessionImage("a", document, Stack(frames))])
    assert [e.name for e in source.entries] == [f"stack, frame {k}" for k in (1, 2, 4)]
    assert len({e.group for e in source.entries}) == 1
    samples = samples_of(source, still(object_size="as_is"))
    one, two, last = sorted((samples.at(k) for k in range(3)), key=lambda s: s.key)
    # Of the first frame one object is learnt, and the rest ignored.
    assert one.ids.tolist() == [first]
    ids = document.id_map(0)
    np.testing.assert_array_equal(one.ignore[:64, :80], (ids > 0) & (ids != first))
    assert len(two.ids) == 5
    assert two.ignore is None
    assert len(last.ids) == 0
    assert last.ignore is None


def test_nothing_decided_is_told():
    document = Document((), (64, 80), [NUCLEUS])
    _, segmentation = nuclei((64, 80), 5, status=Status.PROPOSED)
    document.apply(operations.propose(document, 0, segmentation))
    image = SessionImage("a", document, Stack([segmentation.id_map]))
    with pytest.raises(DataError, match="Nothing was decided"):
        SessionSource([image])


def test_categories_of_one_id_are_one():
    def opened(key, category):
        document = Document((), (20, 20), [category])
        id_map = np.zeros((20, 20), np.uint16)
        id_map[2:9, 2:9] = 1
        drawn = Segmentation(id_map, (Segment(1, category.id, status=Status.DRAWN),))
        document.apply(operations.propose(document, 0, drawn))
        for i in document.segments(0):
            document.apply(operations.set_status(document, [(0, i)], Status.ACCEPTED))
        return SessionImage(key, document, Stack([id_map], key))

    both = SessionSource([opened("a", NUCLEUS), opened("b", Category(2, "cell"))])
    assert [c.name for c in both.categories] == ["nucleus", "cell"]
    assert len(samples_of(both, full())) == 2
    with pytest.raises(DataError, match=r"b: category 1 is 'cell', in another image 'nucleus'"):
        SessionSource([opened("a", NUCLEUS), opened("b", Category(1, "cell"))])
