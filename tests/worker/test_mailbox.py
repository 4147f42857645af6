"""The bell of the mailbox: rung once for all that comes, and never too late."""

from __future__ import annotations

import threading

from napari_eomt.worker.mailbox import Mailbox
from napari_eomt.worker.messages import Cancelled, JobProgress


def progress(done: int) -> JobProgress:
    return JobProgress(1, done, 9, "tile", 0, 1, 0)


def test_one_ring_stands_for_all_that_comes_before_it_is_taken():
    mail, rings = Mailbox(), []
    mail.put(Cancelled(1, 0))
    assert not rings
    ring = lambda: rings.append(len(rings))  # noqa: E731 - compared below
    mail.watch(ring)
    assert len(rings) == 1  # what waited already
    mail.put(Cancelled(2, 0), Cancelled(3, 0))
    mail.put_progress(progress(1))
    assert len(rings) == 1
    assert [event.job for event in mail.take()] == [1, 2, 3, 1]
    assert mail.take() == []
    mail.put_all([])
    assert len(rings) == 1
    mail.put(Cancelled(4, 0))
    assert len(rings) == 2


def test_only_the_latest_progress_is_kept_but_not_across_other_events():
    mail = Mailbox()
    for event in (progress(1), progress(2)):
        mail.put_progress(event)
    mail.put(Cancelled(7, 0))
    mail.put_progress(progress(3))
    assert mail.take() == [progress(2), Cancelled(7, 0), progress(3)]


def test_who_stops_watching_does_not_silence_who_came_after():
    mail, rings = Mailbox(), []
    first, second = (lambda: rings.append("first")), (lambda: rings.append("second"))
    mail.watch(first)
    mail.watch(second)
    mail.unwatch(first)
    mail.put(Cancelled(1, 0))
    assert rings == ["second"]
    mail.unwatch(second)
    mail.take()
    mail.put(Cancelled(2, 0))
    assert rings == ["second"]


def test_no_event_is_left_without_a_ring():
    """Whoever takes only when the bell rings gets everything, whenever it comes."""
    mail, rung, taken = Mailbox(), threading.Semaphore(0), []
    mail.watch(rung.release)
    n = 5_000
    senders = [
        threading.Thread(target=lambda: [mail.put(Cancelled(k, 0)) for k in range(n)])
        for _ in range(2)
    ]
    for sender in senders:
        sender.start()
    while len(taken) < 2 * n:
        assert rung.acquire(timeout=20)
        taken += mail.take()
    for sender in senders:
        sender.join()
    assert sum(event.job for event in taken) == n * (n - 1)
