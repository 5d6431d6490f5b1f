"""What the store decides, one case at a time. Pages are one byte here, and the store holds a hundred of them."""

import pytest

from limelight.cluster.store import command as c
from limelight.cluster.store import event as e
from limelight.cluster.store.machine import WANTED_SECONDS, StoreMachine
from limelight.cluster.store.reading import Reader
from limelight.cluster.store.state import StoreLimits


class Bench:
    """A machine, a clock, and the answers of a shell whose disk is slow: spills are answered by the test."""

    def __init__(self, can_spill=True, high_water=0.8, grace=2.0):
        limits = StoreLimits(100, 800, 1, high_water, 10.0, can_spill, grace)
        self.readers = []
        self.machine = StoreMachine(limits, lambda process: f"{process} (pid 7)", lambda: self.readers)
        self.now = 0.0
        self.request = 0
        self.pinned = set()
        self.number = 0

    def feed(self, event):
        """Handle an event; returns the commands that are not answered at once."""
        seen, events = [], [event]
        while events:
            for command in self.machine.handle(events.pop(0), self.now):
                match command:
                    case c.Reclaim(key, offset, _):
                        events.append(e.ReclaimResult(key, offset not in self.pinned))
                    case c.Punch(offset, size):
                        events.append(e.Punched(offset, size))
                seen.append(command)
        return [command for command in seen if not isinstance(command, c.Reclaim)]

    def grant(self, size, process="w", wish=0):
        self.request += 1
        return self.feed(e.GrantRequested(process, self.request, size, wish))

    def put(self, size, process="w", owner="driver", primary=True, wanted=False):
        ready = next(command for command in self.grant(size, process) if isinstance(command, c.GrantReady))
        self.number += 1
        object_id = self.number.to_bytes(28, "big")
        self.feed(e.Sealed(process, ready.grant, object_id, owner, ready.offset, size, primary, wanted))
        return object_id, ready.offset

    def after(self, seconds):
        self.now += seconds
        return self.feed(e.Tick())


@pytest.fixture
def bench():
    return Bench()


def kinds(commands):
    return [type(command).__name__ for command in commands]


def test_memory_that_is_free_but_populated_is_given_back_before_anything_is_spilled():
    bench = Bench(high_water=1.0)
    small = [bench.put(10)[0] for _ in range(5)]
    for object_id in (small[0], small[2], small[4]):  # holes of ten, none of which is enough for forty
        bench.feed(e.Freed(object_id))
    bench.put(30)
    assert bench.machine.state.taken == 80
    assert kinds(bench.grant(40)) == ["Punch", "Punch", "GrantReady"]
    assert bench.machine.state.taken == 100


def test_memory_is_spilled_where_giving_back_is_not_enough():
    bench = Bench(high_water=1.0)
    for _ in range(4):
        bench.put(20)
    freed, _ = bench.put(10)
    bench.feed(e.Freed(freed))
    assert kinds(bench.grant(30)) == ["Spill"]


def test_the_least_recently_used_is_spilled_first(bench):
    ids = [bench.put(20)[0] for _ in range(4)]
    bench.feed(e.LocateRequested(1, ids[0]))
    bench.after(1.0)
    spilled = [command.object_id for command in bench.grant(30) if isinstance(command, c.Spill)]
    assert spilled == [ids[1]]


def test_above_the_high_water_mark_objects_are_spilled_ahead_of_need(bench):
    for _ in range(8):
        bench.put(10)
    commands = bench.grant(10)
    assert kinds(commands) == ["GrantReady", "Spill"]


def test_secondary_copies_are_dropped_before_primaries_are_spilled(bench):
    primary, _ = bench.put(40)
    secondary, home = bench.put(40, primary=False)
    told, ready = bench.grant(40)
    assert told == c.TellDropped(secondary, "driver", home, 40)
    assert kinds([ready]) == ["GrantReady"]
    assert kinds(bench.feed(e.LocateRequested(1, secondary))) == ["LocateFailed"]
    assert kinds(bench.feed(e.LocateRequested(2, primary))) == ["Located"]


def test_a_copy_that_is_about_to_be_read_leaves_last(bench):
    wanted, _ = bench.put(25, primary=False, wanted=True)
    primary, _ = bench.put(25)
    other, _ = bench.put(25, primary=False)
    assert [command.object_id for command in bench.grant(30) if isinstance(command, c.TellDropped)] == [other]
    (spill,) = bench.grant(30)
    assert spill.object_id == primary
    assert bench.machine.state.objects.droppable_bytes(bench.now) == 0
    bench.feed(e.LocateRequested(1, wanted))  # it is read: now it is like any other
    bench.after(1.0)
    assert bench.machine.state.objects.droppable_bytes(bench.now) == 25


def test_a_copy_that_was_to_be_read_soon_and_was_not_is_nothing_special(bench):
    wanted, _ = bench.put(30, primary=False, wanted=True)
    bench.put(30)
    bench.after(WANTED_SECONDS + 1)
    assert [command.object_id for command in bench.grant(50) if isinstance(command, c.TellDropped)] == [wanted]


def test_a_spilled_object_s_memory_is_granted_and_it_comes_back_elsewhere(bench):
    ids = [bench.put(40)[0] for _ in range(2)]
    (spill,) = bench.grant(40)
    assert (spill.object_id, spill.size) == (ids[0], 40)
    assert kinds(bench.feed(e.SpillDone(spill.key, "file", ""))) == ["GrantReady"]
    (spill,) = bench.feed(e.LocateRequested(7, ids[0]))  # somebody else must leave for it
    commands = bench.feed(e.SpillDone(spill.key, "other", ""))
    (restore,) = [command for command in commands if isinstance(command, c.Restore)]
    assert restore.url == "file"
    located = bench.feed(e.RestoreDone(restore.key))[0]
    assert located == c.Located(7, restore.offset, 40)


def test_an_object_that_cannot_be_read_back_now_stays_on_disk(bench):
    """No descriptor is left, or the storage is out of reach for a while: its only copy must not be deleted for that."""
    ids = [bench.put(40)[0] for _ in range(2)]
    (spill,) = bench.grant(40)
    bench.feed(e.SpillDone(spill.key, "file", ""))
    (other,) = bench.feed(e.LocateRequested(7, ids[0]))
    *_, restore = bench.feed(e.SpillDone(other.key, "other", ""))
    used = bench.machine.state.used
    (answer,) = bench.feed(e.RestoreDone(restore.key, "too many open files", lost=False))
    assert (type(answer), answer.request, answer.full) == (c.LocateFailed, 7, True)
    assert bench.machine.state.used == used - 40
    (restore,) = bench.feed(e.LocateRequested(8, ids[0]))
    assert restore.url == "file"
    assert bench.feed(e.RestoreDone(restore.key))[0] == c.Located(8, restore.offset, 40)


def test_a_disk_that_failed_is_not_tried_again_at_once():
    bench = Bench(grace=10.0)
    for _ in range(2):
        bench.put(40)
    (spill,) = bench.grant(40)
    assert bench.feed(e.SpillDone(spill.key, "", "disk full")) == []
    assert bench.after(1.0) == []
    assert kinds(bench.after(5.0)) == ["Spill"]


def test_an_object_freed_while_it_is_spilled_leaves_neither_memory_nor_file(bench):
    object_id, _ = bench.put(40)
    bench.put(40)
    (spill,) = bench.grant(40)
    assert bench.feed(e.Freed(object_id)) == []
    assert kinds(bench.feed(e.SpillDone(spill.key, "file"))) == ["DeleteSpilled", "GrantReady"]


def test_a_pinned_object_is_tried_again_less_and_less_often(bench):
    object_id, offset = bench.put(10)
    bench.pinned.add(offset)
    bench.feed(e.Freed(object_id))
    waits = []
    for _ in range(10):
        at = bench.machine.wake_at()
        waits.append(at - bench.now)
        bench.after(at - bench.now)
    assert waits == pytest.approx([min(0.005 * 2**number, 0.5) for number in range(10)])
    bench.pinned.clear()
    bench.after(1.0)
    assert bench.machine.wake_at() is None
    assert bench.machine.state.used == 0


def test_requests_are_served_in_order_while_help_is_on_its_way(bench):
    for _ in range(2):
        bench.put(40)
    (spill,) = bench.grant(50, "large")
    assert bench.grant(10, "small") == [], "it would fit, but not both would"
    ready = [command for command in bench.feed(e.SpillDone(spill.key, "file")) if isinstance(command, c.GrantReady)]
    assert [command.process for command in ready] == ["large", "small"]


def test_a_request_that_nothing_can_help_does_not_hold_up_others():
    bench = Bench(can_spill=False)
    bench.put(40)
    bench.put(40)
    assert bench.grant(50, "large") == []
    assert kinds(bench.grant(10, "small")) == ["GrantReady"]
    failed = bench.after(10.0)[-1]
    assert isinstance(failed, c.GrantFailed)
    assert failed.process == "large"


def failures(commands):
    return [command for command in commands if isinstance(command, c.GrantFailed)]


def test_a_request_fails_soon_where_nothing_can_come_free():
    bench = Bench(can_spill=False)
    bench.put(40)
    bench.put(40)
    bench.grant(50, "late")
    assert bench.machine.wake_at() == 2.0
    assert failures(bench.after(1.9)) == []
    (failed,) = failures(bench.after(0.1))
    assert "late (pid 7) needs 50 bytes, which did not come free in 2.0 s" in failed.message
    assert "Objects by owner: driver (pid 7) 80 bytes" in failed.message
    assert "oom_grace_period_s" in failed.message


def test_what_readers_hold_does_not_come_free_by_itself():
    bench = Bench()
    for _ in range(2):
        object_id, offset = bench.put(40)
        bench.pinned.add(offset)
        bench.feed(e.Freed(object_id))
    bench.grant(50)
    times = [bench.now]
    while not (failed := failures(bench.after(0.25))):
        times.append(bench.now)
    assert 1.5 <= times[-1] <= 2.5
    assert "(80 bytes in use by readers)" in failed[0].message


@pytest.mark.parametrize(
    ("reader", "at_work", "waits"), [("other", True, True), ("other", False, False), ("w", True, False)]
)
def test_a_request_waits_for_others_that_read_as_long_as_they_are_at_work(reader, at_work, waits):
    bench = Bench()
    for _ in range(2):
        object_id, offset = bench.put(40)
        bench.pinned.add(offset)
        bench.feed(e.Freed(object_id))
    bench.readers = [Reader(reader, f"{reader} (pid 7)", 80, at_work)]
    bench.grant(50, process="w")
    while not (failed := failures(bench.after(0.25))):
        assert bench.now < 11
    assert (bench.now >= 10) == waits, "at the most for the store's whole time-out"
    assert f"Objects by reader: {reader} (pid 7) 80 bytes" in failed[0].message


def test_a_request_waits_while_something_is_written_to_disk_however_slow():
    bench = Bench()
    for _ in range(2):
        bench.put(40)
    spills = [command for command in bench.grant(80) if isinstance(command, c.Spill)]
    assert failures(bench.after(5.0)) == []
    first, second = spills
    bench.feed(e.SpillDone(first.key, "file"))
    assert failures(bench.after(4.0)) == []
    assert "GrantReady" in kinds(bench.feed(e.SpillDone(second.key, "file")))


def test_a_reader_of_a_spilled_object_waits_for_other_readers():
    bench = Bench()
    object_id, _ = bench.put(40)
    bench.put(40)
    (spill,) = bench.grant(40)
    bench.feed(e.SpillDone(spill.key, "file"))  # reclaimed, and the room given to the grant
    pinned = [bench.machine.state.objects.by_key[2].offset]
    bench.pinned.update(pinned)
    wanted = bench.feed(e.LocateRequested(1, object_id))
    for command in wanted:
        if isinstance(command, c.Spill):
            bench.feed(e.SpillDone(command.key, "file2"))
    for _ in range(8):
        assert not [told for told in bench.after(1.0) if isinstance(told, c.LocateFailed)]
    (failed,) = [told for told in bench.after(3.0) if isinstance(told, c.LocateFailed)]
    assert failed.full


def test_a_request_waits_while_memory_comes_free_but_not_for_ever():
    bench = Bench(can_spill=False)
    held = [bench.put(10) for _ in range(8)]
    bench.grant(90)
    for object_id, _ in held[:6]:
        assert failures(bench.after(1.5)) == []
        bench.feed(e.Freed(object_id))
    assert bench.now < 10.0
    assert failures(bench.after(10.0 - bench.now))


def test_unused_grants_are_asked_back_again_if_there_is_no_answer():
    bench = Bench(can_spill=False, grace=5.0)
    (ready,) = bench.grant(60, "hoarder")
    assert bench.grant(60, "other") == []
    assert bench.after(0.2) == [c.AskReturn("hoarder", ready.grant)]
    assert bench.after(1.0) == []
    assert bench.after(1.0) == [c.AskReturn("hoarder", ready.grant)]


def test_what_was_never_touched_is_known_to_take_no_memory(bench):
    (ready,) = bench.grant(60)
    bench.feed(e.GrantReturned("w", ready.grant, ready.offset, 60, False))
    assert bench.machine.state.taken == 0
    (ready,) = bench.grant(60)
    bench.feed(e.GrantReturned("w", ready.grant, ready.offset, 60, True))
    assert bench.machine.state.taken == 60


@pytest.mark.parametrize("late", ["sealed", "returned"])
def test_messages_about_an_earlier_grant_of_the_same_memory_change_nothing(bench, late):
    (first,) = bench.grant(10)
    bench.feed(e.GrantReturned("w", first.grant, first.offset, 10, True))
    (second,) = bench.grant(10)
    assert second.offset == first.offset
    if late == "sealed":
        bench.feed(e.Sealed("w", first.grant, b"o" * 28, "driver", first.offset, 10))
    else:
        bench.feed(e.GrantReturned("w", first.grant, first.offset, 10, True))
    assert bench.machine.state.grants.bytes == 10
    assert bench.machine.state.objects.by_key == {}


def test_one_copy_of_two_can_be_freed_by_where_it_was_written(bench):
    """A retried task makes its result a second time; the owner keeps one of them."""
    places = []
    for _ in range(2):
        (ready,) = bench.grant(10)
        bench.feed(e.Sealed("w", ready.grant, b"o" * 28, "driver", ready.offset, 10))
        places.append(ready.offset)
    bench.feed(e.Freed(b"o" * 28, places[0]))
    assert bench.feed(e.LocateRequested(1, b"o" * 28)) == [c.Located(1, places[1], 10)]


def test_a_lost_process_gets_nothing_more(bench):
    bench.feed(e.ProcessLost("w"))
    assert kinds(bench.grant(10)) == ["GrantFailed"]
    assert bench.machine.state.used == 0


def test_objects_of_an_owner_that_was_lost_before_they_were_sealed_are_freed(bench):
    bench.feed(e.OwnerLost("driver"))
    bench.put(10)
    assert bench.machine.state.used == 0


class TestWhatALostProcessMadeForOthers:
    def lose(self, bench):
        (asked,) = [command for command in bench.feed(e.ProcessLost("w")) if isinstance(command, c.AskOwner)]
        return asked

    def test_its_owner_is_asked_and_what_that_does_not_know_is_freed(self, bench):
        known, unknown = bench.put(10), bench.put(10)
        asked = self.lose(bench)
        assert (asked.owner, asked.process) == ("driver", "w")
        assert [(copy.object_id, copy.home) for copy in asked.copies] == [known, unknown]
        bench.feed(e.Disowned((asked.copies[1].key,)))
        assert [copy.object_id for copy in bench.machine.state.objects.by_key.values()] == [known[0]]

    def test_what_only_a_scan_has_found_is_asked_about_as_well(self, bench):
        (ready,) = bench.grant(10)
        commands = bench.feed(e.ProcessLost("w"))
        assert kinds(commands) == ["Scan"]
        found = e.FoundObject(b"o" * 28, "driver", ready.offset, 10)
        (asked,) = bench.feed(e.Scanned("w", ready.grant, (found,)))
        assert [(copy.object_id, copy.home) for copy in asked.copies] == [(b"o" * 28, ready.offset)]

    def test_nobody_is_asked_about_its_own_objects_or_copies_or_what_is_freed(self, bench):
        bench.put(10, owner="w")
        bench.put(10, primary=False)
        freed, _ = bench.put(10)
        bench.feed(e.Freed(freed))
        assert not [command for command in bench.feed(e.ProcessLost("w")) if isinstance(command, c.AskOwner)]

    def test_nobody_is_asked_on_behalf_of_a_lost_owner(self, bench):
        bench.put(10)
        bench.feed(e.OwnerLost("driver"))
        assert not [command for command in bench.feed(e.ProcessLost("w")) if isinstance(command, c.AskOwner)]

    def test_an_answer_does_no_harm_to_what_a_retry_has_stored_meanwhile(self, bench):
        object_id, _ = bench.put(10)
        asked = self.lose(bench)
        (ready,) = [command for command in bench.grant(10, "v") if isinstance(command, c.GrantReady)]
        bench.feed(e.Sealed("v", ready.grant, object_id, "driver", ready.offset, 10))
        bench.feed(e.Disowned((asked.copies[0].key,)))
        assert bench.feed(e.LocateRequested(1, object_id)) == [c.Located(1, ready.offset, 10)]

    def test_an_answer_about_what_the_owner_has_freed_meanwhile_changes_nothing(self, bench):
        object_id, offset = bench.put(10)
        asked = self.lose(bench)
        bench.feed(e.Freed(object_id, offset))
        assert bench.feed(e.Disowned((asked.copies[0].key,))) == []
        assert bench.machine.state.objects.by_key == {}


class TestWhatIsFreedBeforeItIsSealed:
    def seal(self, bench, ready):
        bench.feed(e.Sealed("w", ready.grant, b"o" * 28, "driver", ready.offset, 10))

    def test_it_does_not_stay(self, bench):
        (ready,) = bench.grant(10)
        bench.feed(e.Freed(b"o" * 28, ready.offset))
        self.seal(bench, ready)
        assert bench.machine.state.objects.by_key == {}

    def test_a_retry_that_writes_to_the_same_place_is_not_taken_for_it(self, bench):
        (ready,) = bench.grant(10)
        bench.feed(e.Freed(b"o" * 28, ready.offset))
        self.seal(bench, ready)
        (again,) = bench.grant(10)
        assert again.offset == ready.offset
        self.seal(bench, again)
        assert bench.feed(e.LocateRequested(1, b"o" * 28)) == [c.Located(1, again.offset, 10)]

    def test_what_is_freed_twice_does_not_harm_a_retry_in_the_same_place(self, bench):
        (ready,) = bench.grant(10)
        self.seal(bench, ready)
        for _ in range(2):
            bench.feed(e.Freed(b"o" * 28, ready.offset))
        (again,) = bench.grant(10)
        self.seal(bench, again)
        assert bench.feed(e.LocateRequested(1, b"o" * 28)) == [c.Located(1, again.offset, 10)]
