"""How actors run calls at once, and how they end, on every runtime; see conftest.py for the runtimes."""

import asyncio
import contextlib
import os
import sys
import threading

import pytest

DEADLINE = 30.0


@pytest.fixture(scope="module")
def tidy_class(ll):
    """Makes an actor class that notes in a folder what became of an instance."""

    class Tidy:
        def __init__(self, folder):
            self.folder = folder

        def stay(self):
            return 1

        def leave(self):
            ll.actor.exit_actor()

        def sys_exit(self):
            sys.exit(0)

        def __ray_shutdown__(self):
            (self.folder / "shutdown").touch()

        def __del__(self):
            (self.folder / "del").touch()

    class AsyncTidy(Tidy):
        async def leave(self):
            ll.actor.exit_actor()

    classes = {"plain": ll.remote(Tidy), "async": ll.remote(AsyncTidy)}
    return classes.__getitem__


class TestEnds:
    def test_kill(self, ll, counter_class):
        counter = counter_class.remote()
        ll.get(counter.add.remote())
        ll.kill(counter)
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(counter.add.remote(), timeout=DEADLINE)
        with pytest.raises(ValueError, match="cancel"):
            ll.kill(1)

    def test_exit_actor(self, ll):
        @ll.remote
        class Leaver:
            def leave(self):
                ll.actor.exit_actor()

            def stay(self):
                return 1

        leaver = Leaver.remote()
        assert ll.get(leaver.stay.remote()) == 1
        for ref in (leaver.leave.remote(), leaver.stay.remote()):
            with pytest.raises(ll.exceptions.ActorDiedError):
                ll.get(ref, timeout=DEADLINE)

    def test_what_was_answered_before_the_exit_counts(self, ll):
        @ll.remote
        class Leaver:
            def work(self, number):
                return number, bytes(90_000)

            def leave(self):
                ll.actor.exit_actor()

        leaver = Leaver.remote()
        refs = [leaver.work.remote(number) for number in range(300)]
        last = leaver.leave.remote()
        assert [number for number, _ in ll.get(refs, timeout=DEADLINE)] == list(range(300))
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(last, timeout=DEADLINE)

    def test_exit_actor_outside_of_actors(self, ll):
        with pytest.raises(TypeError, match="actor"):
            ll.actor.exit_actor()

    def test_terminate_lets_earlier_calls_end(self, ll, counter_class):
        counter = counter_class.remote()
        refs = [counter.add.remote() for _ in range(3)]
        end = counter.__ray_terminate__.remote()
        assert ll.get(refs) == [1, 2, 3]
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(end, timeout=DEADLINE)

    @pytest.mark.parametrize("how", ["exit", "sys_exit", "terminate", "out_of_scope"])
    @pytest.mark.parametrize("kind", ["plain", "async"])
    def test_an_actor_that_ends_by_itself_can_clean_up(self, ll, tidy_class, tmp_path, eventually, kind, how):
        if (kind, how) == ("async", "sys_exit"):
            pytest.skip("Ray does not clean up here")
        cls = tidy_class(kind)
        actor = cls.remote(tmp_path)
        ll.get(actor.stay.remote())
        match how:
            case "exit":
                actor.leave.remote()
            case "sys_exit":
                actor.sys_exit.remote()
            case "terminate":
                actor.__ray_terminate__.remote()
            case "out_of_scope":
                del actor
        eventually(lambda: {path.name for path in tmp_path.iterdir()} == {"shutdown", "del"})

    def test_a_killed_actor_cleans_nothing_up(self, ll, tidy_class, tmp_path, eventually, not_local):
        actor = tidy_class("plain").remote(tmp_path)
        ll.get(actor.stay.remote())
        ll.kill(actor)

        def is_dead():
            with contextlib.suppress(ll.exceptions.ActorDiedError):
                ll.get(actor.stay.remote(), timeout=DEADLINE)
                return False
            return True

        eventually(is_dead)
        assert list(tmp_path.iterdir()) == []

    def test_an_actor_ends_although_its_clean_up_fails(self, ll):
        @ll.remote
        class Broken:
            def leave(self):
                ll.actor.exit_actor()

            def __ray_shutdown__(self):
                raise ValueError("cannot clean up")

        actor = Broken.remote()
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(actor.leave.remote(), timeout=DEADLINE)

    def test_an_actor_whose_constructor_fails(self, ll):
        @ll.remote
        class Stillborn:
            def __init__(self):
                raise ValueError("never born")

            def hello(self):
                return 1

        with pytest.raises(ll.exceptions.ActorDiedError, match="never born"):
            ll.get(Stillborn.remote().hello.remote(), timeout=DEADLINE)

    def test_an_actor_whose_process_dies(self, ll, not_local):
        @ll.remote
        class Victim:
            def die(self):
                os._exit(3)

        victim = Victim.remote()
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(victim.die.remote(), timeout=DEADLINE)

    def test_restart(self, ll, eventually):
        @ll.remote(max_restarts=1)
        class Restarting:
            def __init__(self):
                self.n = 0

            def add(self):
                self.n += 1
                return self.n, ll.get_runtime_context().was_current_actor_reconstructed

        actor = Restarting.remote()
        assert ll.get(actor.add.remote()) == (1, False)
        ll.kill(actor, no_restart=False)

        def restarted():
            """What the second instance says; Ray's first one may answer a little longer."""
            try:
                n, again = ll.get(actor.add.remote(), timeout=DEADLINE)
            except ll.exceptions.ActorUnavailableError:
                return None
            return n if again else None

        assert eventually(restarted) == 1
        ll.kill(actor, no_restart=False)
        with pytest.raises(ll.exceptions.ActorDiedError):
            eventually(lambda: restarted() == 0)

    def test_method_retries(self, ll):
        @ll.remote
        class Flaky:
            def __init__(self):
                self.calls = 0

            @ll.method(max_task_retries=2, retry_exceptions=True)
            def third_time(self):
                self.calls += 1
                if self.calls < 3:
                    raise ValueError("again")
                return self.calls

            @ll.method(retry_exceptions=[KeyError], max_task_retries=9)
            def other(self):
                raise ValueError("not listed")

        flaky = Flaky.remote()
        assert ll.get(flaky.third_time.remote(), timeout=DEADLINE) == 3
        with pytest.raises(ValueError, match="not listed"):
            ll.get(flaky.other.remote(), timeout=DEADLINE)

    def test_sys_exit_in_a_method(self, ll):
        @ll.remote
        class Exits:
            def leave(self):
                raise SystemExit(0)

        actor = Exits.remote()
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(actor.leave.remote(), timeout=DEADLINE)


@pytest.fixture(scope="module")
def async_class(ll):
    @ll.remote
    class Async:
        def __init__(self):
            asyncio.get_running_loop()
            self.event = asyncio.Event()
            self.running = self.peak = 0

        async def wait(self):
            await self.event.wait()
            return "set"

        async def set(self):
            self.event.set()

        def plain(self):
            return asyncio.get_running_loop() is not None

        async def work(self):
            self.running += 1
            self.peak = max(self.peak, self.running)
            await asyncio.sleep(0.02)
            self.running -= 1

        async def most(self):
            return self.peak

        async def fail(self):
            raise KeyError("async")

        async def leave(self):
            ll.actor.exit_actor()

        async def sum(self, refs):
            return sum(await asyncio.gather(*refs))

        async def name(self):
            await asyncio.sleep(0)
            return ll.get_runtime_context().get_task_name()

    return Async


class TestAsyncActors:
    def test_calls_run_concurrently(self, ll, async_class):
        actor = async_class.remote()
        waiting = [actor.wait.remote() for _ in range(3)]
        assert ll.wait(waiting, timeout=0.05) == ([], waiting)
        ll.get(actor.set.remote())
        assert ll.get(waiting, timeout=DEADLINE) == ["set"] * 3

    def test_plain_methods_run_on_the_loop(self, ll, async_class):
        assert ll.get(async_class.remote().plain.remote())

    def test_max_concurrency(self, ll, async_class):
        actor = async_class.options(max_concurrency=2).remote()
        ll.get([actor.work.remote() for _ in range(6)], timeout=DEADLINE)
        assert ll.get(actor.most.remote()) == 2

    def test_errors(self, ll, async_class):
        with pytest.raises(KeyError, match="async"):
            ll.get(async_class.remote().fail.remote(), timeout=DEADLINE)

    def test_exit_actor(self, ll, async_class):
        actor = async_class.remote()
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(actor.leave.remote(), timeout=DEADLINE)
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(actor.most.remote(), timeout=DEADLINE)

    def test_refs_are_awaited_inside(self, ll, async_class):
        @ll.remote
        def one():
            return 1

        assert ll.get(async_class.remote().sum.remote([one.remote(), ll.put(2)]), timeout=DEADLINE) == 3

    async def test_calls_are_awaited_outside(self, ll, async_class):
        actor = async_class.remote()
        waiting = asyncio.ensure_future(asyncio.wait_for(actor.wait.remote(), DEADLINE))
        await asyncio.sleep(0.01)
        await actor.set.remote()
        assert await waiting == "set"

    def test_each_call_has_its_own_context(self, ll, async_class):
        actor = async_class.remote()
        names = ll.get([actor.name.remote(), actor.name.options(name="mine").remote()], timeout=DEADLINE)
        assert names == ["Async.name", "mine"]

    def test_a_call_can_be_cancelled(self, ll, async_class):
        actor = async_class.remote()
        waiting = actor.wait.remote()
        ll.wait([waiting], timeout=0.2)
        with pytest.raises(ValueError, match="force"):
            ll.cancel(waiting, force=True)
        ll.cancel(waiting)
        with pytest.raises(ll.exceptions.TaskCancelledError):
            ll.get(waiting, timeout=DEADLINE)
        ll.get(actor.set.remote())
        assert ll.get(actor.wait.remote(), timeout=DEADLINE) == "set"

    def test_an_async_constructor(self, ll):
        @ll.remote
        class Slow:
            async def __init__(self):
                await asyncio.sleep(0.01)
                self.ready = True

            async def is_ready(self):
                return self.ready

        assert ll.get(Slow.remote().is_ready.remote(), timeout=DEADLINE)

    def test_a_kill_ends_what_waits(self, ll, async_class):
        actor = async_class.remote()
        waiting = actor.wait.remote()
        ll.wait([waiting], timeout=0.2)
        ll.kill(actor)
        with pytest.raises(ll.exceptions.ActorDiedError):
            ll.get(waiting, timeout=DEADLINE)

    def test_max_pending_calls(self, ll, async_class):
        actor = async_class.options(max_pending_calls=2).remote()
        ll.get(actor.most.remote())
        waiting = [actor.wait.remote(), actor.wait.remote()]
        with pytest.raises(ll.exceptions.PendingCallsLimitExceeded):
            actor.wait.remote()
        ll.kill(actor)
        del waiting


class TestConcurrency:
    def test_a_threaded_actor_runs_calls_at_once(self, ll, not_local):
        @ll.remote(max_concurrency=3)
        class Threaded:
            def __init__(self):
                self.barrier = threading.Barrier(3)

            def meet(self):
                return self.barrier.wait(DEADLINE) in range(3)

        actor = Threaded.remote()
        assert ll.get([actor.meet.remote() for _ in range(3)], timeout=DEADLINE) == [True] * 3

    def test_concurrency_groups(self, ll, not_local):
        @ll.remote(concurrency_groups={"io": 1, "compute": 1})
        class Grouped:
            def __init__(self):
                self.event = threading.Event()

            @ll.method(concurrency_group="io")
            def wait(self):
                return self.event.wait(DEADLINE)

            @ll.method(concurrency_group="compute")
            def set(self):
                self.event.set()

            def default(self):
                return "default"

        actor = Grouped.remote()
        waiting = actor.wait.remote()
        assert ll.get(actor.default.remote(), timeout=DEADLINE) == "default"
        ll.get(actor.set.remote(), timeout=DEADLINE)
        assert ll.get(waiting, timeout=DEADLINE) is True

    def test_async_concurrency_groups(self, ll):
        @ll.remote(concurrency_groups={"io": 2})
        class Grouped:
            def __init__(self):
                self.running = self.peak = 0

            @ll.method(concurrency_group="io")
            async def work(self):
                self.running += 1
                self.peak = max(self.peak, self.running)
                await asyncio.sleep(0.02)
                self.running -= 1

            async def most(self):
                return self.peak

        actor = Grouped.remote()
        ll.get([actor.work.remote() for _ in range(5)], timeout=DEADLINE)
        assert ll.get(actor.most.remote()) == 2

    def test_an_unknown_group_is_refused(self, ll, better_than_ray):
        """Ray lets the actor's process crash."""
        with pytest.raises(ValueError, match="compute"):

            @ll.remote
            class Unknown:
                @ll.method(concurrency_group="compute")
                def run(self):
                    pass

        @ll.remote
        class Plain:
            def run(self):
                pass

        with pytest.raises(ValueError, match="compute"):
            Plain.remote().run.options(concurrency_group="compute")


def test_light_actors(ll, better_than_ray):
    """Ray has no `isolation`."""

    @ll.remote(isolation="shared")
    class Light:
        def __init__(self, n):
            self.n = n

        def get(self):
            return self.n

    actors = [Light.remote(i) for i in range(50)]
    assert ll.get([actor.get.remote() for actor in actors], timeout=DEADLINE) == list(range(50))
