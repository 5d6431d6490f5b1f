"""A task that is told to end while it begins, runs or ends: it hears of it, at whatever moment the order comes."""

import signal
import sys
import threading
from types import SimpleNamespace

import pytest

from limelight.actors.contract import CancelTask, Invocation, Outcome, Template, decoder_of, encode
from limelight.actors.native import execution, executor, main_host
from limelight.actors.native.hub import Hub
from limelight.actors.native.identity import Identity
from limelight.actors.native.main_host import MainHost
from limelight.actors.native.running import Job
from limelight.actors.native.slot import NO_ARGS
from limelight.transport.address import ProcessAddress
from limelight.transport.protocol import Call

FILES = {module.__file__ for module in (main_host, executor, execution)}
TASK = b"t" * 24


class Wire:
    """A wire thread that does what it is told at once, but has no time."""

    def __init__(self):
        self.loop = self
        self.later = []

    def time(self):
        return 0.0

    def post(self, function, argument):
        if getattr(function, "__name__", "") != "_plan":  # reports of what has run are not looked at here
            function(argument)

    def call_later(self, _delay, function, *args):
        self.later.append((function, args))

    def pass_time(self):
        due, self.later = self.later, []
        for function, args in due:
            function(*args)


class Channel:
    def __init__(self):
        self.outcomes = []

    def reply(self, call_id, body):
        if call_id:
            self.outcomes.append(decoder_of(Outcome).decode(body).status)


class Worker:
    """A worker's main thread with one task that has just arrived."""

    def __init__(self, body):
        self.wire = Wire()
        address = ProcessAddress("1" * 32, "host")
        identity = Identity(process_id="1" * 32, host_id="host", token=b"", socket="", node=address)
        self.hub = Hub(identity, SimpleNamespace(free=None, read=None), wire=self.wire)
        self.hub.announce = lambda _: None
        self.hub.finish_lines = lambda: None
        self.host = MainHost(self.hub)
        self.hub.serve(self.host)
        self.hub.execution.functions._loaded[b"f"] = body
        self.channel = Channel()
        template = Template(1, "task", "body", b"f", b"", 1, {})
        self.job = Job(self.channel, 7, Invocation(1, TASK, NO_ARGS), template)
        self.hub.executor.queued[TASK] = self.job

    def cancel(self):
        self.tell(CancelTask(TASK, force=False, recursive=True))

    def tell(self, order):
        self.hub.executor.on_call(self.channel, Call(0, "executor", type(order).__name__, encode(order)))

    def run(self):
        before = signal.signal(signal.SIGINT, self.host._on_interrupt)
        try:
            self.host.on_receive(self.job)
        finally:
            signal.signal(signal.SIGINT, before)


def struck(step):
    """A worker that is told to cancel its task at the moment of that number, and how far the task was then.

    Moments are where code of `FILES` begins, and where it calls C. `told` is None where it was not: all went before.
    """
    ended, told = [], None

    def body():
        for _ in range(3):
            len(ended)
        ended.append(True)

    worker, left = Worker(body), step

    def at(frame, event, _arg):
        nonlocal left, told
        if event in {"call", "c_call", "c_return"} and frame.f_code.co_filename in FILES:
            if left == 0:
                sys.setprofile(None)
                told = "after its end" if ended else "before"
                worker.cancel()
            left -= 1

    before = sys.getprofile()
    sys.setprofile(at)
    try:
        worker.run()
    finally:
        sys.setprofile(before)
    return worker, told


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals are the main thread's")
def test_an_order_to_cancel_reaches_a_task_at_whatever_moment_it_comes():
    for step in range(1000):
        worker, told = struck(step)
        assert len(worker.channel.outcomes) == 1, f"told at moment {step}"
        if told == "before":
            assert worker.channel.outcomes == ["cancelled"], f"told at moment {step}"
        assert not worker.hub.executor.started
        assert not worker.hub.executor.queued
        if told is None:
            break
    assert 20 < step < 999


def test_a_signal_that_wakes_nobody_is_sent_again(monkeypatch):
    """One that comes when the thread is just about to sleep: its handler runs after the sleep."""
    worker = Worker(lambda: None)
    sent = []
    monkeypatch.setattr(main_host.signal, "pthread_kill", lambda *_: sent.append(worker.job))
    worker.host._current = worker.hub.executor.started[TASK] = worker.job
    del worker.hub.executor.queued[TASK]
    worker.cancel()
    assert len(sent) == 1
    worker.wire.pass_time()
    assert len(sent) == 2, "it was not heard"
    worker.job.interruptible = True
    with pytest.raises(KeyboardInterrupt):
        worker.host._on_interrupt(signal.SIGINT, None)
    worker.wire.pass_time()
    assert len(sent) == 2
    assert not worker.wire.later


def test_what_a_task_submits_after_the_order_and_before_it_strikes_is_cancelled(monkeypatch):
    worker = Worker(lambda: None)
    cancelled = []
    monkeypatch.setattr(worker.hub.submission, "cancel", lambda order: cancelled.append(order[0]))
    child, known = (SimpleNamespace(state=0, producer=SimpleNamespace(cancelled=told)) for told in (False, True))

    def strike(*_):
        worker.job.submitted([known, child])
        worker.job.interruptible = True
        with pytest.raises(KeyboardInterrupt):
            worker.host._on_interrupt(signal.SIGINT, None)

    monkeypatch.setattr(main_host.signal, "pthread_kill", strike)
    worker.host._current = worker.hub.executor.started[TASK] = worker.job
    del worker.hub.executor.queued[TASK]
    worker.cancel()
    assert cancelled == [child]
