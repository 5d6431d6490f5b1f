"""The contract of light actors (`isolation="shared"`): what other actors do, many to a process."""

import asyncio
import os
import threading
import time

import pytest


@pytest.fixture(autouse=True)
def _limelights_own(better_than_ray):
    """Ray has no such thing."""


@pytest.fixture
def until(runtime):
    """Waits for a condition."""

    def wait_until(condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.01)

    return wait_until


def light(ll, cls, **options):
    return ll.remote(isolation="shared", **options)(cls)


class Counter:
    def __init__(self, start=0):
        self.n = start

    def add(self, k=1):
        self.n += k
        return self.n

    def pid(self):
        return os.getpid()

    def fail(self):
        raise KeyError("a user's own")

    def slow(self, seconds):
        time.sleep(seconds)
        return self.n


class AsyncCounter:
    def __init__(self):
        self.n = self.now = self.most = 0
        self.gate = asyncio.Event()

    async def add(self):
        self.n += 1
        return self.n

    def plain(self):
        return self.n, threading.current_thread().name

    async def enter(self):
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1
        return self.most

    async def inside(self):
        return self.now

    async def open(self):
        self.gate.set()

    async def fail(self):
        await asyncio.sleep(0)
        raise KeyError("a user's own")

    async def count(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def leave(self):
        from limelight.actor import exit_actor

        exit_actor()


def test_calls_run_in_order(ll):
    counters = [light(ll, Counter).remote(i) for i in range(20)]
    refs = [counter.add.remote() for _ in range(5) for counter in counters]
    assert ll.get(refs) == [i + k for k in range(1, 6) for i in range(20)]


def test_many_share_few_processes(ll, not_local):
    counters = [light(ll, Counter).remote() for _ in range(50)]
    pids = ll.get([counter.pid.remote() for counter in counters], timeout=30)
    assert len(set(pids)) <= 4
    assert os.getpid() not in pids


def test_errors_are_the_users_own(ll):
    counter = light(ll, Counter).remote()
    with pytest.raises(KeyError):
        ll.get(counter.fail.remote())
    assert ll.get(counter.add.remote()) == 1
    counter = light(ll, AsyncCounter).remote()
    with pytest.raises(KeyError):
        ll.get(counter.fail.remote())
    assert ll.get(counter.add.remote()) == 1


def test_a_constructor_that_fails(ll):
    class Broken:
        def __init__(self):
            raise KeyError("a user's own")

        def ping(self):
            return "pong"

    class AsyncBroken(Broken):
        async def ping(self):
            return "pong"

    for cls in (Broken, AsyncBroken):
        with pytest.raises(ll.exceptions.ActorDiedError, match="a user's own"):
            ll.get(light(ll, cls).remote().ping.remote(), timeout=20)


def test_coroutine_methods_run_on_one_loop_together(ll, not_local, until):
    one, other = (light(ll, AsyncCounter).remote() for _ in range(2))
    waiting = [one.enter.remote() for _ in range(30)]
    until(lambda: ll.get(one.inside.remote()) == 30)
    assert ll.get(other.add.remote()) == 1
    assert ll.get(one.plain.remote())[1] == "limelight-light-loop"
    ll.get(one.open.remote())
    assert ll.get(waiting, timeout=20) == [30] * 30


def test_an_async_light_actor_keeps_to_its_max_concurrency(ll, not_local, until):
    counter = light(ll, AsyncCounter, max_concurrency=3).remote()
    waiting = [counter.enter.remote() for _ in range(2)]
    until(lambda: ll.get(counter.inside.remote()) == 2)
    waiting += [counter.enter.remote()]  # the third place; `open` waits for one, which cancelling gives
    ll.cancel(waiting[0])
    with pytest.raises(ll.exceptions.TaskCancelledError):
        ll.get(waiting[0], timeout=20)
    ll.get(counter.open.remote(), timeout=20)
    assert max(ll.get(waiting[1:], timeout=20)) <= 3


def test_plain_methods_take_no_concurrency(ll):
    with pytest.raises(ValueError, match="max_concurrency"):
        light(ll, Counter, max_concurrency=2).remote()


def test_async_generators_stream(ll):
    counter = light(ll, AsyncCounter).remote()
    assert [ll.get(ref) for ref in counter.count.remote(4)] == [0, 1, 2, 3]


def test_names(ll):
    made = light(ll, Counter, name="a light one").remote(5)
    assert ll.get(ll.get_actor("a light one").add.remote()) == 6
    with pytest.raises(ValueError, match="a light one"):
        light(ll, Counter, name="a light one").remote()
    shared = light(ll, Counter, name="a light one", get_if_exists=True).remote()
    assert ll.get(shared.add.remote()) == 7
    ll.kill(made)
    with pytest.raises(ll.exceptions.RayActorError):
        ll.get(made.add.remote(), timeout=20)
    again = light(ll, Counter, name="a light one").remote()
    assert ll.get(again.add.remote()) == 1


def test_a_handle_travels(ll):
    @ll.remote
    def use(actor):
        return ll.get(actor.add.remote())

    counter = light(ll, Counter).remote()
    assert ll.get(use.remote(counter)) == 1
    assert ll.get(counter.add.remote()) == 2


@pytest.mark.parametrize("cls", [Counter, AsyncCounter])
def test_killing_one_leaves_its_neighbours(ll, not_local, cls):
    made = [light(ll, cls).remote() for _ in range(12)]
    assert ll.get([each.add.remote() for each in made]) == [1] * 12
    ll.kill(made[0])
    with pytest.raises(ll.exceptions.ActorDiedError):
        ll.get(made[0].add.remote(), timeout=20)
    assert ll.get([each.add.remote() for each in made[1:]]) == [2] * 11


def test_nothing_more_starts_of_a_killed_one(ll, not_local, tmp_path):
    class Toucher:
        def touch(self, name):
            (tmp_path / name).touch()

        def hold(self):
            (tmp_path / "holding").touch()
            while not (tmp_path / "released").exists():
                time.sleep(0.005)

    toucher = light(ll, Toucher).remote()
    refs = [toucher.hold.remote(), toucher.touch.remote("late")]
    while not (tmp_path / "holding").exists():
        time.sleep(0.005)
    ll.kill(toucher)
    for ref in refs:
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(ref, timeout=20)
    time.sleep(0.1)  # for what must not happen there is nothing to wait for
    (tmp_path / "released").touch()
    assert ll.get(light(ll, Counter).remote().add.remote()) == 1
    assert not (tmp_path / "late").exists()


def test_a_killed_async_one_stops_at_once(ll, not_local, tmp_path, until):
    class Waiter:
        async def wait(self):
            (tmp_path / "waiting").touch()
            try:
                await asyncio.sleep(600)
            finally:
                (tmp_path / "stopped").touch()

    waiter = light(ll, Waiter).remote()
    ref = waiter.wait.remote()
    until((tmp_path / "waiting").exists)
    ll.kill(waiter)
    with pytest.raises(ll.exceptions.ActorDiedError):
        ll.get(ref, timeout=20)
    until((tmp_path / "stopped").exists)


def test_one_leaves_by_itself_and_its_neighbours_stay(ll, not_local):
    class Leaver(Counter):
        def leave(self):
            from limelight.actor import exit_actor

            exit_actor()

    for cls in (Leaver, AsyncCounter):
        leavers = [light(ll, cls).remote() for _ in range(8)]
        ll.get([each.add.remote() for each in leavers])
        for each in leavers[:4]:
            with pytest.raises(ll.exceptions.ActorDiedError, match="exit_actor"):
                ll.get(each.leave.remote(), timeout=20)
            with pytest.raises(ll.exceptions.ActorDiedError):
                ll.get(each.add.remote(), timeout=20)
        assert ll.get([each.add.remote() for each in leavers[4:]]) == [2] * 4


def test_after_the_last_has_left_others_can_come(ll, not_local):
    for _ in range(3):
        made = [light(ll, AsyncCounter).remote() for _ in range(4)]
        ll.get([each.add.remote() for each in made])
        for each in made:
            with pytest.raises(ll.exceptions.ActorDiedError):
                ll.get(each.leave.remote(), timeout=20)


def test_a_kill_may_restart(ll, not_local, until):
    class Born(Counter):
        def restarted(self):
            return ll.get_runtime_context().was_current_actor_reconstructed

    born, other = light(ll, Born, max_restarts=1, max_task_retries=-1).remote(), light(ll, Born).remote()
    assert ll.get([born.add.remote(), born.restarted.remote()]) == [1, False]
    ll.kill(born, no_restart=False)
    until(lambda: ll.get(born.restarted.remote(), timeout=20))
    assert ll.get([born.add.remote(), other.restarted.remote()]) == [1, False]


def test_with_its_process_all_its_actors_restart(ll, not_local):
    class Fragile(Counter):
        def die(self):
            os._exit(3)

    made = [light(ll, Fragile, max_restarts=1, max_task_retries=2).remote(7) for _ in range(8)]
    once = light(ll, Fragile).remote()
    assert ll.get([each.add.remote() for each in [*made, once]], timeout=30) == [8] * 8 + [1]
    pids = ll.get([each.pid.remote() for each in [*made, once]])
    victim = next(each for each, pid in zip(made, pids, strict=False) if pid == pids[-1])
    with pytest.raises(ll.exceptions.RayActorError):
        ll.get(victim.die.options(max_task_retries=0).remote(), timeout=30)
    fresh = [8 if pid == pids[-1] else 9 for pid in pids[:-1]]
    assert ll.get([each.add.remote() for each in made], timeout=30) == fresh
    with pytest.raises(ll.exceptions.ActorDiedError):
        ll.get(once.add.remote(), timeout=30)


def test_actors_that_wait_for_each_other_do_not_starve(ll, not_local):
    class Node:
        def __init__(self, next_one):
            self.next_one = next_one

        def depth(self):
            return 1 if self.next_one is None else 1 + ll.get(self.next_one.depth.remote())

    node = None
    for _ in range(60):
        node = light(ll, Node).remote(node)
    assert ll.get(node.depth.remote(), timeout=40) == 60


def test_the_calls_that_are_there_end_before_the_actor(ll, not_local):
    class Slow:
        async def work(self):
            await asyncio.sleep(0.2)
            return "done"

    ref = light(ll, Slow).remote().work.remote()  # no handle is left
    assert ll.get(ref, timeout=20) == "done"
    ref = ll.remote(Slow).remote().work.remote()
    assert ll.get(ref, timeout=20) == "done"


def test_the_calls_that_are_there_end_before_a_threaded_actor(ll, not_local):
    class Slow:
        def work(self):
            time.sleep(0.2)
            return "done"

    actor = ll.remote(max_concurrency=3)(Slow).remote()
    refs = [actor.work.remote() for _ in range(6)]
    del actor
    assert ll.get(refs, timeout=20) == ["done"] * 6


def test_the_context_is_the_actors_own(ll, not_local):
    class Where:
        def where(self):
            context = ll.get_runtime_context()
            return context.get_actor_id(), context.get_actor_name(), context.current_actor

    made = [light(ll, Where, name=f"light {i}").remote() for i in range(4)]
    for i, (actor_id, name, itself) in enumerate(ll.get([each.where.remote() for each in made])):
        assert (actor_id, name) == (made[i]._actor_id.hex(), f"light {i}")
        assert ll.get(itself.where.remote())[0] == actor_id
