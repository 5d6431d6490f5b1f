"""The store's decisions under all that can happen: lost processes, doubled and late messages, readers, full disks.

A simulated node: processes that write and die, readers that pin, a disk that sometimes fails, answers that come in any
order. After every event the books must balance, and no range may be handed out that somebody still has.
"""

import random

import pytest

from limelight.cluster.store import command as c
from limelight.cluster.store import event as e
from limelight.cluster.store.machine import StoreMachine
from limelight.cluster.store.state import StoreLimits

PAGE = 1
CAPACITY = 100
SPACE = 300


class Node:
    """The world around one `StoreMachine`, driven by a seeded random generator."""

    def __init__(self, seed, can_spill=True):
        self.random = random.Random(seed)
        self.now = 0.0
        self.machine = StoreMachine(StoreLimits(CAPACITY, SPACE, PAGE, 0.8, 2.0, can_spill))
        self.processes = {f"p{number}" for number in range(4)}
        self.next_process = 4
        self.next_request = 1
        self.next_object = 1
        self.grants = {}  # number -> [process, next, end]
        self.seen = set()
        self.memory = {}  # offset -> (object id, owner, size, grant, sealed): headers, as a crash would leave them
        self.pins = {}  # offset -> readers
        self.reading = True
        self.disk = set()
        self.mail = []  # events on their way
        self.jobs = []  # commands being carried out
        self.live = {}  # object id -> owner, for objects that are sealed and not freed
        self.outcomes = {"granted": 0, "refused": 0, "located": 0, "missing": 0, "full": 0, "spilled": 0, "restored": 0}

    def feed(self, event):
        for command in self.machine.handle(event, self.now):
            self.execute(command)
        self.check()

    def execute(self, command):
        match command:
            case c.GrantReady(process, _, grant, offset, size):
                self.outcomes["granted"] += 1
                if grant in self.seen:  # the same answer again, to a request that is answered
                    return
                self.seen.add(grant)
                self.check_unused(offset, size)
                self.memory = {at: header for at, header in self.memory.items() if not offset <= at < offset + size}
                if process in self.processes:
                    self.grants[grant] = [process, offset, offset + size]
            case c.GrantFailed():
                self.outcomes["refused"] += 1
            case c.Located(_, offset, size):
                self.outcomes["located"] += 1
                if self.reading and self.random.random() < 0.5:
                    self.pins[offset] = self.pins.get(offset, 0) + 1
            case c.LocateFailed():
                self.outcomes["full" if command.full else "missing"] += 1
            case c.AskReturn(process, grant):
                if self.random.random() < 0.7:
                    self.retire(grant)
            case c.Scan(process, grant, ranges):
                found = []
                for start, size in ranges:
                    at = start
                    while at < start + size and at in self.memory and self.memory[at][3] == grant:
                        object_id, owner, length, _, sealed = self.memory[at]
                        if sealed:
                            found.append(e.FoundObject(object_id, owner, at, length))
                        at += length
                self.mail.append(e.Scanned(process, grant, tuple(found)))
            case c.AskOwner(_, _, copies):
                unknown = [copy for copy in copies if self.random.random() < 0.5]
                for copy in unknown:
                    self.live.pop(copy.object_id, None)
                self.mail.append(e.Disowned(tuple(copy.key for copy in unknown)))
            case c.Reclaim(key, offset, size):
                pinned = any(offset <= at < offset + size for at in self.pins)
                if not pinned:
                    self.memory.pop(offset, None)
                self.mail.insert(0, e.ReclaimResult(key, not pinned))
            case c.TellDropped(object_id):
                assert not any(s.primary for s in self.machine.state.objects.copies(object_id))
                self.live.pop(object_id, None)
            case c.DeleteSpilled(url):
                self.disk.discard(url)
            case c.Restore(key, object_id, url, offset, size):
                self.check_unused(offset, size)
                assert url in self.disk
                self.jobs.append(command)
            case c.Punch() | c.Spill():
                self.jobs.append(command)
            case _:
                raise AssertionError(command)

    def check_unused(self, offset, size):
        """Nobody reads there, nobody writes there, and no object that is needed lies there."""
        end = offset + size
        assert not any(offset <= at < end for at in self.pins), "memory under a live view was handed out"
        for grant, (_process, begin, until) in self.grants.items():
            assert begin == until or until <= offset or begin >= end, f"grant {grant} is still being written"

    def finish_job(self, fail=0.1):
        command = self.jobs.pop(self.random.randrange(len(self.jobs)))
        failed = "disk full" if self.random.random() < fail else ""
        match command:
            case c.Punch(offset, size):
                answer = e.Punched(offset, size, failed)
            case c.Spill(key, object_id, offset, size):
                url = f"{object_id.hex()}-{key}"
                if not failed:
                    self.disk.add(url)
                    self.outcomes["spilled"] += 1
                answer = e.SpillDone(key, "" if failed else url, failed)
            case c.Restore(key, object_id, url, offset, size):
                assert url in self.disk, "it is not deleted while it is read"
                if not failed:
                    self.memory[offset] = (object_id, "", size, 0, True)
                    self.outcomes["restored"] += 1
                answer = e.RestoreDone(key, failed)
        self.mail.append(answer)

    # What processes do

    def request(self):
        process = self.random.choice(sorted(self.processes))
        size = self.random.choice([1, 3, 10, 10, 20, 20, 30, self.random.choice([CAPACITY, CAPACITY + 1])])
        self.mail.append(e.GrantRequested(process, self.next_request, size, self.random.choice([0, 20])))
        self.next_request += 1

    def write(self):
        mine = [n for n, (process, at, end) in self.grants.items() if process in self.processes and at < end]
        if not mine:
            return
        number = self.random.choice(mine)
        process, at, end = self.grants[number]
        size = self.random.randint(1, end - at)
        object_id = self.next_object.to_bytes(28, "big")
        self.next_object += 1
        owner = self.random.choice(sorted(self.processes))
        sealed = self.random.random() < 0.9
        self.memory[at] = (object_id, owner, size, number, sealed)
        self.grants[number][1] = at + size
        if sealed:
            self.live[object_id] = owner
            primary, wanted = self.random.random() < 0.8, self.random.random() < 0.5
            self.mail.append(
                e.Sealed(process, number, object_id, owner, at, size, primary, wanted=not primary and wanted)
            )
        else:
            self.mail.append(e.GrantReturned(process, number, at, size, True))

    def retire(self, number=None):
        numbers = [n for n, (process, _, _) in self.grants.items() if process in self.processes]
        if number is None and numbers:
            number = self.random.choice(numbers)
        if number in numbers:
            process, at, end = self.grants.pop(number)
            if at < end:
                self.mail.append(e.GrantReturned(process, number, at, end - at, False))

    def free(self):
        if self.live:
            object_id = self.random.choice(sorted(self.live))
            del self.live[object_id]
            self.mail.append(e.Freed(object_id))

    def locate(self):
        if self.live:
            self.mail.append(e.LocateRequested(self.next_request, self.random.choice(sorted(self.live))))
            self.next_request += 1

    def unpin(self):
        if self.pins:
            offset = self.random.choice(sorted(self.pins))
            self.pins[offset] -= 1
            if not self.pins[offset]:
                del self.pins[offset]

    def kill(self, process=None):
        process = process or self.random.choice(sorted(self.processes))
        self.processes.discard(process)
        # A dead process writes no more; what it had been granted is only what the store finds there.
        self.grants = {number: held for number, held in self.grants.items() if held[0] != process}
        self.live = {object_id: owner for object_id, owner in self.live.items() if owner != process}
        self.mail.append(e.ProcessLost(process))
        self.processes.add(f"p{self.next_process}")
        self.next_process += 1

    def deliver(self):
        """One message: not always the oldest, and sometimes twice."""
        if not self.mail:
            return
        number = 0
        if not isinstance(self.mail[0], e.ReclaimResult) and self.random.random() < 0.3:
            number = self.random.randrange(min(len(self.mail), 5))
        event = self.mail.pop(number)
        answers = (e.SpillDone, e.RestoreDone, e.Punched, e.ReclaimResult, e.Scanned)  # come from a call, so only once
        if not isinstance(event, answers) and self.random.random() < 0.1:
            self.mail.insert(self.random.randint(0, len(self.mail)), event)
        self.feed(event)

    def tick(self, seconds=None):
        at = self.machine.wake_at()
        if seconds is None and at is None:
            return
        self.now = max(self.now, at) if seconds is None else self.now + seconds
        self.feed(e.Tick())

    def step(self):
        actions = {
            self.request: 6, self.write: 12, self.retire: 1, self.free: 5, self.locate: 9, self.unpin: 4,
            self.deliver: 36, self.tick: 2,
        }  # fmt: skip
        if self.random.random() < 0.002:
            self.kill()
        if self.jobs and self.random.random() < 0.3:
            self.finish_job()
        self.now += 0.02
        self.random.choices(list(actions), list(actions.values()))[0]()

    # What must always hold

    def check(self):
        state = self.machine.state
        held = [(free.start, free.size) for free in state.space.ranges()]
        held += list(state.punching.items())
        gaps = [(start, end - start) for grant in state.grants.open.values() for start, end in grant.gaps.items()]
        objects = [(s.offset, s.size) for s in state.objects.by_key.values() if s.offset is not None]
        covered = 0
        for start, size in sorted(held + gaps + objects):
            assert start == covered, "ranges overlap, or some are lost"
            assert size > 0
            covered = start + size
        assert covered == SPACE
        assert state.grants.bytes == sum(size for _, size in gaps)
        assert state.objects.resident == sum(size for _, size in objects)
        assert state.objects._droppable == sum(stored.size for stored in state.objects._secondary.values())
        assert state.punching_bytes == sum(state.punching.values())
        busy = [s for s in state.objects.by_key.values() if s.spilling or s.reclaiming]
        assert state.leaving == sum(s.size for s in busy)
        assert 0 <= state.taken <= CAPACITY

    def drain(self):
        """Let go of all views and let everything that is under way come to its end."""
        self.reading = False
        self.pins.clear()
        for _ in range(100_000):
            if self.mail:
                self.feed(self.mail.pop(0))
            elif self.jobs:
                self.finish_job(fail=0.0)
            elif self.machine.wake_at() is not None:
                self.tick()
            else:
                return
        raise AssertionError("the store never comes to rest")


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("can_spill", [True, False], ids=["with a disk", "without a disk"])
def test_whatever_happens_the_books_balance_and_all_memory_comes_back(seed, can_spill):
    node = Node(seed, can_spill)
    for _ in range(3000):
        node.step()
    for process in sorted(node.processes):
        node.kill(process)
    node.drain()
    state = node.machine.state
    assert state.objects.by_key == {}
    assert (state.grants.open, len(state.queue), state.used, state.leaving) == ({}, 0, 0, 0)
    assert node.disk == set()


def test_the_simulation_reaches_what_it_is_meant_to():
    total = {}
    for seed in range(10):
        node = Node(seed)
        for _ in range(3000):
            node.step()
        for name, number in node.outcomes.items():
            total[name] = total.get(name, 0) + number
    assert all(total.values()), total


def test_needed_objects_are_never_dropped_without_a_copy():
    """Without failing disks, every object whose `Sealed` arrived and that is not freed can be located."""
    for seed in range(10):
        node = Node(seed)
        for _ in range(800):
            actions = [
                node.request,
                node.write,
                node.write,
                node.free,
                node.locate,
                node.unpin,
                node.deliver,
                node.deliver,
            ]
            node.random.choice(actions)()
            node.now += 0.001
            if node.jobs:
                node.finish_job(fail=0.0)
        node.drain()
        primaries = {s.object_id for s in node.machine.state.objects.by_key.values() if s.primary}
        for object_id in primaries:
            before = node.outcomes["located"]
            node.feed(e.LocateRequested(node.next_request, object_id))
            node.next_request += 1
            node.drain()
            assert node.outcomes["located"] == before + 1
