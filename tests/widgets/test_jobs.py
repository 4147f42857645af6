"""The worker's events reach the window when they come, in their order, and a little at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from qtpy.QtCore import QThread

from napari_eomt.widgets.jobs import Jobs
from napari_eomt.worker.mailbox import Mailbox
from napari_eomt.worker.messages import Cancelled, NoneKept


class Client:
    """The part of a client that tells of events."""

    def __init__(self):
        self.mail = Mailbox()
        self.n_polls = 0
        self.watch, self.unwatch = self.mail.watch, self.mail.unwatch

    def poll(self):
        self.n_polls += 1
        return self.mail.take()


@pytest.fixture
def client():
    return Client()


def test_events_of_another_thread_are_heard_in_the_window(qtbot, client):
    jobs = Jobs(client)
    heard = []
    jobs.cancelled.connect(lambda event: heard.append((event.job, QThread.currentThread())))
    threading.Thread(target=lambda: [client.mail.put(Cancelled(k, 0)) for k in range(50)]).start()
    qtbot.waitUntil(lambda: len(heard) == 50)
    assert [job for job, _ in heard] == list(range(50))
    assert {thread for _, thread in heard} == {jobs.thread()}


def test_nothing_is_polled_while_nothing_comes(qtbot, client):
    Jobs(client)
    qtbot.wait(100)
    assert client.n_polls == 0


def test_what_a_slot_asks_is_not_answered_within_it(qtbot, client):
    jobs, order = Jobs(client), []

    def ask(event):
        client.mail.put(NoneKept(2, "key", 0))
        order.append("asked")

    jobs.cancelled.connect(ask)
    jobs.none_kept.connect(lambda event: order.append("answered"))
    client.mail.put(Cancelled(1, 0))
    assert order == []  # from within the window's own thread, too
    qtbot.waitUntil(lambda: order == ["asked", "answered"])


def test_slow_events_leave_the_window_its_turns(qtbot, client):
    jobs, seen = Jobs(client), []

    def slow(event):
        time.sleep(0.01)
        seen.append(event.job)

    jobs.cancelled.connect(slow)
    client.mail.put(*(Cancelled(k, 0) for k in range(5)))
    qtbot.waitUntil(lambda: bool(seen))
    client.mail.put(Cancelled(5, 0))
    # What is not polled holds the worker back.
    assert client.n_polls == 1
    assert len(seen) < 5
    qtbot.waitUntil(lambda: len(seen) == 6)
    assert seen == list(range(6))


def test_who_stops_hears_no_more_and_the_next_one_does(qtbot, client):
    first, heard = Jobs(client), []
    first.cancelled.connect(lambda event: heard.append("first"))
    second = Jobs(client)
    second.cancelled.connect(lambda event: heard.append("second"))
    first.stop_polling()
    client.mail.put(Cancelled(1, 0))
    qtbot.waitUntil(lambda: bool(heard))
    assert heard == ["second"]
    second.stop_polling()
    client.mail.put(Cancelled(2, 0))
    qtbot.wait(30)
    assert heard == ["second"]


def test_ringing_goes_on_while_windows_come_and_go(qtbot, client):
    is_over = threading.Event()

    def send():
        while not is_over.is_set():
            client.mail.put(Cancelled(1, 0))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(30):
            jobs = Jobs(client)
            with qtbot.waitSignal(jobs.cancelled):
                pass
            jobs.deleteLater()  # without a stop, as when napari's window is destroyed
            del jobs
            qtbot.wait(1)
    finally:
        is_over.set()
        sender.join()


def test_a_program_ends_while_the_worker_talks(tmp_path):
    code = """
import threading, time
from qtpy.QtWidgets import QApplication
from napari_eomt.widgets.jobs import Jobs
from napari_eomt.worker.client import WorkerClient
app = QApplication([])
client = WorkerClient(n_threads=1)
jobs = Jobs(client)
client.start()
heard = []
jobs.state_changed.connect(lambda event: (heard.append(event), app.quit()))
app.exec()
assert heard
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
