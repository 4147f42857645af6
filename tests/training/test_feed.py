"""Samples ahead of time: in order, bounded, and stopped when nobody asks."""

import itertools
import threading

import numpy as np
import pytest
from tests.training.images import NUCLEUS, nuclei

from napari_eomt.errors import DataError
from napari_eomt.training.feed import iter_ahead, loader_count, step_numbers
from napari_eomt.training.image_cache import ImageCache, ReadyImage
from napari_eomt.training.labels import match_categories
from napari_eomt.training.truth import truth_of


@pytest.mark.parametrize("n_threads", [1, 3])
def test_in_order_however_long_each_takes(n_threads):
    gate = threading.Event()

    def make(number):
        if number == 0 and n_threads > 1:
            assert gate.wait(10)  # until a later one is done
        gate.set()
        return number

    made = list(iter_ahead(make, range(20), n_threads=n_threads, n_ahead=5))
    assert made == list(range(20))


def test_no_more_are_made_than_was_said_and_none_when_nobody_asks():
    started = []
    rows = iter_ahead(lambda n: started.append(n) or n, itertools.count(), n_ahead=4)
    for expected in range(10):
        assert next(rows) == expected
        assert len(started) <= expected + 5
    rows.close()
    n_threads = sum(t.name.startswith("sample") for t in threading.enumerate())
    assert n_threads == 0
    assert len(started) <= 14


def test_an_error_comes_in_its_place():
    def make(number):
        if number == 3:
            raise DataError("the fourth")
        return number

    rows = iter_ahead(make, range(10), n_threads=3)
    assert [next(rows) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="the fourth"):
        next(rows)


def test_ranks_share_a_step_whatever_their_number():
    for n_ranks in (1, 2, 3, 6):
        parts = [step_numbers(4, 12, rank, n_ranks) for rank in range(n_ranks)]
        assert [n for part in parts for n in part] == list(range(48, 60))
    with pytest.raises(DataError, match="multiple of 5"):
        step_numbers(0, 12, 0, 5)


def test_loaders():
    assert loader_count(3) == 3
    assert 1 <= loader_count() <= 8


def ready(seed):
    image, segmentation = nuclei((40, 40), 1, seed=seed)
    truth = truth_of(segmentation, match_categories([], [NUCLEUS]), "instance")
    return ReadyImage.of(np.repeat(image[:, :, None], 3, axis=2), truth)


def test_images_are_kept_within_the_bound():
    one = ready(0).nbytes
    read = []
    cache = ImageCache(lambda key: read.append(key) or ready(int(key)), 2 * one)
    for key in "0101":
        cache.get(key)
    assert read == ["0", "1"]
    cache.get("2")  # "0" goes
    cache.get("1")
    assert cache.nbytes == 2 * one
    cache.get("0")
    assert read == ["0", "1", "2", "0"]
    small = ImageCache(lambda key: ready(int(key)), one - 1)
    assert small.get("3").content == ready(3).content
    assert small.nbytes == 0


def test_threads_that_want_the_same_image_wait_for_one_reading():
    started, go_on = threading.Event(), threading.Event()
    read = []

    def load(key):
        read.append(key)
        started.set()
        assert go_on.wait(10)
        return ready(0)

    cache = ImageCache(load, 10**6)
    found = []
    threads = [threading.Thread(target=lambda: found.append(cache.get("a"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert read == ["a"]
    assert all(image is found[0] for image in found)


def test_a_failed_reading_is_tried_again():
    answers = iter([DataError("gone"), ready(0)])

    def load(key):
        answer = next(answers)
        if isinstance(answer, DataError):
            raise answer
        return answer

    cache = ImageCache(load, 10**6)
    with pytest.raises(DataError, match="gone"):
        cache.get("a")
    assert cache.get("a").content == ready(0).content
