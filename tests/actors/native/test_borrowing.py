"""Objects live exactly as long as somebody holds them, whatever overtakes what, and whoever dies."""

import gc
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limelight.actors.contract import Template
from limelight.actors.native import values
from limelight.actors.native.entry import FAILED, PENDING
from limelight.actors.native.task_record import TaskTemplate
from limelight.actors.object_ref import ObjectRef
from limelight.actors.object_ref_generator import ObjectRefGenerator
from limelight.exceptions import ObjectFreedError, RayError

from .simulated import World

INLINE_LIMIT = 500
ACTIONS = 120


class FlakyError(Exception):
    pass


class Program:
    """What users' code does at random: make, pass, return, nest, read, keep and drop refs."""

    def __init__(self, world):
        self.world = world
        self.random = world.random
        self.reads = 0
        self.left = ACTIONS
        for number, process in enumerate(world.processes):
            self._prepare(process, number)

    def _prepare(self, process, number):
        hub = process.hub
        spec = process.runtime.templates.lease_spec(Placement(), {}, "task", retriable=True)
        hub.submission.add_class(1, spec)
        kinds = {"one": (1, "list", 3), "once": (1, "list", 0), "three": (3, "list", 3), "stream": (-1, "streaming", 3)}
        process.templates = {}
        for index, (name, (returns, kind, retries)) in enumerate(kinds.items(), 1):
            extras = {"retry_exceptions": True}
            wire = Template(10 * number + index, "task", name, name.encode(), b"code", returns, extras)
            process.templates[name] = TaskTemplate(wire, 1, retries, kind)
        process.body = lambda *args: self.run(process, args)
        hub.streaming._lend = lambda job, refs: self._lent(process, job, refs)

    # what a driver does

    def act(self, process):
        self.left -= 1
        with process.acting():
            self.random.choice([self.put, self.submit, self.submit, self.read, self.drop, self.take])(process)

    def put(self, process):
        process.held.append(process.runtime.put(self.value(process)))

    def submit(self, process):
        name = self.random.choice(list(process.templates))
        template = process.templates[name]
        hub = process.hub
        args = tuple(self.random.choice([self.ref, self.value])(process) for _ in range(self.random.randint(0, 3)))
        record = hub.values.record(hub.ids.task_id(), template, args, {})
        made = process.runtime.results(record, template)
        del args
        hub.wire.post(hub.submission.accept, record)
        process.held.extend(made if isinstance(made, list) else [made])

    def read(self, process):
        for ref in self.refs(process):
            if ref._entry.state == PENDING:
                process.hub.wire.post(process.hub.borrowing.fetch, ref._entry)
            else:
                self.check(process, ref)

    def check(self, process, ref):
        self.reads += 1
        try:
            value = process.hub.values.read(ref)
        except ObjectFreedError:
            assert self.world.deaths, f"{ref} was freed although process {process.id} holds it"
        except (RayError, FlakyError):
            assert ref._entry.state == FAILED
        else:
            if self.left > 0 and self.random.random() < 0.5:
                process.held.extend(found(value))

    def take(self, process):
        for generator in [held for held in process.held if isinstance(held, ObjectRefGenerator)]:
            stream = generator._entry
            if stream.ready():
                ref = stream.take(0)
                if ref is None:
                    process.held.remove(generator)
                else:
                    process.held.append(ref)

    def drop(self, process):
        self.random.shuffle(process.held)
        del process.held[: self.random.randint(0, len(process.held))]

    # what a task does

    def run(self, process, args):
        if self.random.random() < 0.15:
            raise FlakyError
        refs = found(args)
        if refs and self.random.random() < 0.3:
            process.held.append(self.random.choice(refs))
        if self.random.random() < 0.3:
            self.act(process)
        return self.result(process, refs)

    def result(self, process, refs):
        template = self.running(process)
        if template == "three":
            return tuple(self.piece(process, refs) for _ in range(3))
        if template == "stream":
            return (self.piece(process, refs) for _ in range(self.random.randint(0, 4)))
        return self.piece(process, refs)

    @staticmethod
    def running(process):
        from limelight.actors.native.running import running

        return running.get().template.name

    def piece(self, process, refs):
        """Part of a result. Of older refs it holds only the task's arguments: counting frees no circles."""
        if refs and self.random.random() < 0.3:
            refs = [process.runtime.put([self.random.choice(refs), self.padding()])]
        inside = [self.random.choice(refs)] if refs and self.random.random() < 0.7 else []
        return [inside, self.padding()]

    def _lent(self, process, job, refs):
        from concurrent.futures import Future

        known = Future()
        process.hub.wire.post(process.hub.borrowing.lend_item, (job.channel, refs, known))
        for _ in range(10_000):
            if known.done() or process.dead:
                return known if known.done() else Done()
            assert self.world.step()
        raise AssertionError("an item's refs are never registered")

    # values

    def padding(self):
        return b"x" * self.random.choice([0, 0, 2 * INLINE_LIMIT])

    def refs(self, process):
        return [held for held in process.held if isinstance(held, ObjectRef)]

    def ref(self, process):
        refs = self.refs(process)
        return self.random.choice(refs) if refs else 0

    def value(self, process):
        refs = self.refs(process)
        inside = [self.random.choice(refs) for _ in range(self.random.randint(0, 2))] if refs else []
        return [inside, self.padding()]


class Done:
    def result(self):
        return None


class Placement:
    strategy = None
    label_selector = MappingProxyType({})
    fallback = ()
    runtime_env = MappingProxyType({})


def found(value):
    """The refs in a value."""
    if isinstance(value, ObjectRef):
        return [value]
    return [ref for item in value for ref in found(item)] if isinstance(value, list | tuple) else []


def run(seed, processes=3, deaths=0):
    world = World(seed, processes)
    try:
        program = Program(world)
        while program.left > 0:
            if deaths and world.random.random() < 0.01 and len(world.alive) > 1:
                deaths -= 1
                idle = [process for process in world.alive if not process.busy]
                world.kill(world.random.choice(idle))
            world.step(program.act)
        world.settle()
        for process in world.alive:  # all that is held can still be read
            with process.acting():
                program.read(process)
        world.settle()
        for process in world.alive:
            with process.acting():
                pending = [ref.hex() for ref in program.refs(process) if ref._entry.state == PENDING]
                assert not pending, "they never become ready"
                program.read(process)
        for process in world.alive:
            with process.acting():
                process.held.clear()
        world.settle()
        with world.processes[0].acting():
            gc.collect()
        world.settle()
        for process in world.alive:
            check_empty(process)
        alive = {process.id for process in world.alive}
        left = [key for key in world.store.objects if world.store.people[key][1] in alive]
        assert not left, "objects were never freed"
        if not world.deaths:
            assert not world.leases, "leases were never given back"
    finally:
        world.close()
    return program


def check_empty(process):
    hub = process.hub
    left = {
        key.hex(): (entry.count, entry.borrowers, entry.owner, entry.registered, entry.state)
        for key, entry in hub.table._entries.items()
    }
    assert not left, f"process {process.id} never forgets {left}"
    assert hub.borrowing.lent() == 0
    assert not hub.executor.queued
    assert not hub.executor.started
    for lease_class in hub.submission._classes.values():
        assert not lease_class.queue
        assert not lease_class.leases
        assert lease_class.declared == 0


@pytest.fixture(autouse=True)
def small_values_are_stored(monkeypatch):
    monkeypatch.setattr(values, "INLINE_LIMIT", INLINE_LIMIT)


LIMITS = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LIMITS
@given(seed=st.integers(0, 2**32))
def test_nothing_is_freed_while_held_and_everything_when_dropped(seed):
    assert run(seed).reads


@LIMITS
@given(seed=st.integers(0, 2**32), deaths=st.integers(1, 2))
def test_what_the_living_hold_is_freed_when_others_die(seed, deaths):
    run(seed, processes=4, deaths=deaths)
