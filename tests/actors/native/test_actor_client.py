"""Calls of one actor from one process: their order, and what becomes of them when the actor does not live."""

import time

import pytest

from limelight.actors.contract import ActorChanged, Template, encode
from limelight.actors.native.entry import FAILED, INLINE, ObjectEntry
from limelight.actors.native.task_record import TaskTemplate
from limelight.actors.object_ref import ObjectRef
from limelight.actors.serialization import serialize_error
from limelight.exceptions import ActorDiedError, ActorUnavailableError, TaskCancelledError
from limelight.transport.protocol import Call

from .simulated import CORE, NODE, World

ACTOR = b"a" * 16


class Host:
    """Stands for a hosted actor: jobs wait until the test runs them."""

    name = ""

    def __init__(self, process):
        self.process = process
        self.jobs = []
        self.calls = []

    def deliver(self, job):
        self.jobs.append(job)

    def interrupt(self, job):
        pass

    def run(self):
        job = self.jobs.pop(0)
        with self.process.acting():
            if self.process.hub.executor.claim(job):
                self.process.hub.execution.run(job, lambda _: self.method)
                self.process.hub.executor.done(job)

    def method(self, *args):
        self.calls.append(args)
        if args and isinstance(args[0], BaseException):
            raise args[0]
        return args


class Scene:
    """A caller, and a process that may host the actor."""

    def __init__(self):
        self.world = World(0, 3)
        self.caller, self.first, self.second = self.world.processes
        self.client = self.caller.hub.actors.client(ACTOR, "Counter")
        self.settle()

    def settle(self):
        for process in self.world.processes:
            process.jobs.clear()
        self.world.settle()

    def tell(self, state, incarnation=0, process=None, cause=b""):
        self.hear(state, incarnation, process, cause)
        self.settle()

    def hear(self, state, incarnation=0, process=None, cause=b""):
        """What the head says has arrived, and nothing else."""
        change = ActorChanged(ACTOR, state, incarnation, process and process.address, NODE, cause)
        with self.caller.acting(wire=True):
            self.caller.hub.on_call(None, Call(0, CORE, "ActorChanged", encode(change)))

    def deliver(self):
        """All that is on its way arrives; no timer goes off."""
        while lanes := [lane for lane, events in self.world.lanes.items() if events]:
            for lane in lanes:
                self.world._arrive(lane)

    def live(self, process, incarnation=0):
        host = Host(process)
        process.hub.executor.host_actor(ACTOR, host)
        self.tell("alive", incarnation, process)
        return host

    def call(self, *args, retries=0, retry_exceptions=False):
        options = {"method": "m", **({"retry_exceptions": True} if retry_exceptions else {})}
        template = TaskTemplate(Template(retries + 1, "method", "Counter.m", b"", b"", 1, options), 0, retries)
        hub = self.caller.hub
        with self.caller.acting():
            record = hub.values.record(hub.ids.task_id(), template, args, {})
            record.actor_id = ACTOR
            self.client.pending_calls += 1
            (ref,) = self.caller.runtime.results(record, template)
            hub.wire.post(self.client.submit, record)
        self.settle()
        return ref

    def promise(self):
        with self.caller.acting():
            entry = ObjectEntry(self.caller.hub.table, self.caller.hub.ids.task_id() + b"\1\0\0\0")
            return ObjectRef(entry.object_id, None, entry)

    def keep(self, promise, value=None, error=None):
        with self.caller.acting(wire=True):
            made = self.caller.runtime.put(value)
            if error is None:
                promise._entry.complete(INLINE, made._entry.data)
            else:
                promise._entry.complete(FAILED, serialize_error(error))
        self.settle()

    def cancel(self, ref):
        self.caller.runtime.cancel(ref, force=False, recursive=True)
        self.settle()

    def value(self, ref):
        with self.caller.acting():
            return self.caller.hub.values.read(ref)

    def error(self, ref):
        with pytest.raises(BaseException) as raised:
            self.value(ref)
        return raised.value


@pytest.fixture
def scene():
    scene = Scene()
    yield scene
    for ref in ():
        del ref
    scene.world.close()


def numbers(host):
    return [call[0] for call in host.calls]


def run_all(scene, host):
    while host.jobs:
        host.run()
        scene.settle()


def test_calls_made_before_the_actor_lives_arrive_in_order(scene):
    for number in range(5):
        scene.call(number)
    host = scene.live(scene.first)
    run_all(scene, host)
    assert numbers(host) == [0, 1, 2, 3, 4]
    assert scene.client.pending_calls == 0


def test_a_call_whose_argument_is_not_ready_holds_back_the_rest(scene):
    host = scene.live(scene.first)
    slow = scene.promise()
    scene.call(slow)
    scene.call(2)
    assert not host.jobs
    scene.keep(slow, 1)
    run_all(scene, host)
    assert numbers(host) == [1, 2]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_whose_argument_fails_lets_the_rest_go_on(scene, when):
    host = scene.live(scene.first)
    broken = scene.promise()
    if when == "before":
        scene.keep(broken, error=ValueError("no"))
    failed = scene.call(broken)
    after = scene.call(2)
    if when == "after":
        scene.keep(broken, error=ValueError("no"))
    run_all(scene, host)
    assert isinstance(scene.error(failed), ValueError)
    assert scene.value(after) == (2,)
    assert scene.client.pending_calls == 0


def test_a_cancelled_call_that_waits_for_an_argument_lets_the_rest_go_on(scene):
    host = scene.live(scene.first)
    slow = scene.promise()
    held = scene.call(slow)
    after = scene.call(2)
    scene.cancel(held)
    run_all(scene, host)
    assert isinstance(scene.error(held), TaskCancelledError)
    assert scene.value(after) == (2,)
    scene.keep(slow, 1)
    assert numbers(host) == [2]
    assert scene.client.pending_calls == 0


def test_a_cancelled_call_that_waits_at_the_actor_does_not_run(scene):
    host = scene.live(scene.first)
    first, second = scene.call(1), scene.call(2)
    scene.cancel(second)
    run_all(scene, host)
    assert scene.value(first) == (1,)
    assert isinstance(scene.error(second), TaskCancelledError)
    assert numbers(host) == [1]
    assert scene.client.pending_calls == 0


def test_a_lost_call_without_retries_fails_and_those_behind_it_run_in_the_next_life(scene):
    host = scene.live(scene.first)
    lost = scene.call(1)
    scene.world.kill(scene.first)
    scene.settle()
    waiting = scene.call(2)
    scene.tell("restarting", 1)
    assert isinstance(scene.error(lost), ActorUnavailableError)
    host = scene.live(scene.second, 1)
    run_all(scene, host)
    assert scene.value(waiting) == (2,)
    assert scene.client.pending_calls == 0


def test_lost_calls_with_retries_are_sent_again_in_their_order_before_later_ones(scene):
    scene.live(scene.first)
    refs = [scene.call(number, retries=1) for number in range(3)]
    scene.world.kill(scene.first)
    scene.settle()
    refs.append(scene.call(3, retries=1))
    scene.tell("restarting", 1)
    host = scene.live(scene.second, 1)
    run_all(scene, host)
    assert numbers(host) == [0, 1, 2, 3]
    assert [scene.value(ref) for ref in refs] == [(0,), (1,), (2,), (3,)]
    assert scene.client.pending_calls == 0


def test_a_cancelled_call_in_doubt_is_not_sent_again(scene):
    scene.live(scene.first)
    ref = scene.call(1, retries=5)
    scene.world.kill(scene.first)
    scene.settle()
    scene.cancel(ref)
    scene.tell("restarting", 1)
    host = scene.live(scene.second, 1)
    assert not host.jobs
    assert isinstance(scene.error(ref), TaskCancelledError)
    assert scene.client.pending_calls == 0


def test_when_the_actor_is_dead_every_call_fails_with_the_cause(scene):
    scene.live(scene.first)
    refs = [scene.call(1), scene.call(scene.promise()), scene.call(3)]
    scene.tell("dead", cause=serialize_error(ActorDiedError(actor_id=ACTOR)))
    refs.append(scene.call(4))
    assert all(isinstance(scene.error(ref), ActorDiedError) for ref in refs)
    assert scene.client.pending_calls == 0


def test_news_of_an_earlier_life_changes_nothing(scene):
    scene.tell("restarting", 2)
    host = scene.live(scene.second, 2)
    scene.tell("restarting", 1)
    scene.tell("alive", 1, scene.first)
    scene.tell("alive", 2, scene.second)
    ref = scene.call(1)
    run_all(scene, host)
    assert scene.value(ref) == (1,)


def test_a_method_that_may_be_retried_runs_again_before_those_behind_it(scene):
    host = scene.live(scene.first)
    failing = scene.call(ValueError("again"), retries=2, retry_exceptions=True)
    host.run()
    scene.settle()
    assert len(host.jobs) == 1
    run_all(scene, host)
    assert isinstance(scene.error(failing), ValueError)
    assert len(host.calls) == 3
    assert scene.client.pending_calls == 0


def test_what_a_killed_actor_still_answers_is_taken_back(scene):
    host = scene.live(scene.first)
    with scene.caller.acting():
        mine = scene.caller.runtime.put("mine")
    host.method = lambda refs: host.calls.append(refs) or [scene.first.runtime.put("theirs")]
    ref = scene.call([mine])
    scene.tell("dead", cause=serialize_error(ActorDiedError(actor_id=ACTOR)))
    host.run()
    scene.settle()
    assert isinstance(scene.error(ref), ActorDiedError)
    host.calls.clear()
    del mine
    scene.settle()
    assert len(scene.first.hub.table) == 0, "the result's ref is never given up"
    assert len(scene.caller.hub.table) == 0, "the argument is never freed"


@pytest.mark.parametrize("state", ["restarting", "dead", "alive"])
def test_an_answer_that_is_overtaken_by_the_news_of_the_end_counts_and_the_call_does_not_run_again(scene, state):
    host, next_host = scene.live(scene.first), Host(scene.second)
    scene.second.hub.executor.host_actor(ACTOR, next_host)
    answered, unanswered = scene.call(1, retries=1), scene.call(2, retries=1)
    host.run()  # its answer is on the way
    scene.hear(state, 1, scene.second, serialize_error(ActorDiedError(actor_id=ACTOR)))
    scene.deliver()
    assert scene.value(answered) == (1,)
    if state == "dead":
        assert isinstance(scene.error(unanswered), ActorDiedError)
    else:
        scene.tell("alive", 1, scene.second)
        run_all(scene, next_host)
        assert numbers(next_host) == [2]
        assert scene.value(unanswered) == (2,)
    assert scene.client.pending_calls == 0


def test_news_that_come_while_answers_are_awaited_take_effect_in_their_order(scene):
    host = scene.live(scene.first)
    ref = scene.call(1)
    next_host = Host(scene.second)
    scene.second.hub.executor.host_actor(ACTOR, next_host)
    scene.hear("restarting", 1)
    scene.hear("alive", 1, scene.second)
    later = scene.call(2)
    assert isinstance(scene.error(ref), ActorUnavailableError)
    run_all(scene, next_host)
    assert scene.value(later) == (2,)
    assert len(host.jobs) == 1
    assert scene.client.pending_calls == 0


def test_a_process_that_is_cut_off_is_not_waited_for(scene):
    scene.live(scene.first)
    ref = scene.call(1)
    scene.hear("dead", cause=serialize_error(ActorDiedError(actor_id=ACTOR)))
    while scene.caller.timers:  # time passes, and nothing arrives
        scene.caller.fire()
    assert isinstance(scene.error(ref), ActorDiedError)
    scene.deliver()
    assert scene.client.pending_calls == 0


def test_cancelling_a_call_costs_the_same_however_many_wait():
    def seconds_of(count):
        scene = Scene()
        scene.live(scene.first)
        scene.call(scene.promise())
        template = TaskTemplate(Template(1, "method", "Counter.m", b"", b"", 1, {"method": "m"}), 0, 0)
        hub, refs, records = scene.caller.hub, [], []
        with scene.caller.acting(wire=True):
            for _ in range(count):
                record = hub.values.record(hub.ids.task_id(), template, (), {})
                refs += scene.caller.runtime.results(record, template)
                records.append(record)
                scene.client.submit(record)
            start = time.thread_time()
            for record in reversed(records):
                scene.client.cancel(record, force=False, recursive=False)
            seconds = time.thread_time() - start
        assert all(ref._entry.state == FAILED for ref in refs)
        scene.settle()
        scene.world.close()
        return seconds

    seconds_of(1000)
    assert seconds_of(32_000) < 3 * 8 * seconds_of(4000)


def test_cancelled_calls_are_gone_wherever_they_waited(scene):
    host = scene.live(scene.first)
    slow = scene.promise()
    refs = [scene.call(slow), *(scene.call(number) for number in range(1, 20))]
    for ref in refs[::3]:
        scene.cancel(ref)
        scene.cancel(ref)
    scene.keep(slow, 0)
    run_all(scene, host)
    assert numbers(host) == [number for number in range(20) if number % 3]
    assert all(isinstance(scene.error(ref), TaskCancelledError) for ref in refs[::3])
    assert scene.client.pending_calls == 0
