"""What every runtime does for actors; see conftest.py for the runtimes."""

import asyncio
import os
import threading
import time

import pytest

DEADLINE = 30.0


@pytest.fixture(scope="module")
def counter_class(ll):
    @ll.remote
    class Counter:
        """Counts."""

        def __init__(self, start=0):
            self.n = start

        def add(self, k=1):
            self.n += k
            return self.n

        def _private(self):
            return "private"

        @staticmethod
        def static(x):
            return x

        @classmethod
        def cls_name(cls):
            return cls.__name__

        @property
        def prop(self):
            return self.n

        def __call__(self, x):
            return x

        def fail(self):
            raise ValueError("bad")

        def pid(self):
            return os.getpid()

    return Counter


def eventually(condition):
    """The first true value of `condition()`, which is asked again and again."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
    return value


class TestCalls:
    def test_an_actor_keeps_state_and_order(self, ll, counter_class):
        counter = counter_class.remote(10)
        assert ll.get([counter.add.remote() for _ in range(100)]) == list(range(11, 111))

    def test_each_actor_has_its_own(self, ll, counter_class):
        one, other = counter_class.remote(), counter_class.remote(start=5)
        assert ll.get([one.add.remote(), other.add.remote(k=2)]) == [1, 7]

    def test_refs_as_arguments(self, ll, counter_class):
        counter = counter_class.remote(ll.put(1))
        assert ll.get(counter.add.remote(counter.add.remote(1))) == 4

    def test_all_kinds_of_methods(self, ll, counter_class):
        counter = counter_class.remote()
        assert ll.get(counter._private.remote()) == "private"
        assert ll.get(counter.static.remote(3)) == 3
        assert ll.get(counter.cls_name.remote()) == "Counter"
        assert ll.get(counter.__call__.remote(4)) == 4

    def test_what_is_no_method(self, counter_class):
        counter = counter_class.remote()
        for name in ("nothing", "n", "prop"):
            with pytest.raises(AttributeError):
                getattr(counter, name)

    def test_a_misspelt_method_names_the_nearest(self, counter_class, better_than_ray):
        """Ray only says that there is none."""
        with pytest.raises(AttributeError, match="Did you mean 'add'"):
            counter_class.remote().ad.remote()

    def test_methods_are_called_with_what_they_accept(self, ll, counter_class):
        with pytest.raises(TypeError, match="too many positional arguments"):
            counter_class.remote().add.remote(1, 2)
        with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
            counter_class.remote(x=1)

    def test_classes_and_methods_are_not_called_directly(self, counter_class):
        with pytest.raises(TypeError, match=r"Counter\.remote\("):
            counter_class()
        with pytest.raises(TypeError, match=r"add\.remote\("):
            counter_class.remote().add()

    def test_errors_leave_the_actor_alive(self, ll, counter_class):
        counter = counter_class.remote()
        with pytest.raises(ValueError, match="bad"):
            ll.get(counter.fail.remote())
        assert ll.get(counter.add.remote()) == 1

    def test_dir_lists_the_methods(self, counter_class):
        assert {"add", "fail", "static"} <= set(dir(counter_class.remote()))

    def test_inherited_methods(self, ll):
        class Base:
            def hello(self):
                return self.name()

            def name(self):
                return "base"

        @ll.remote
        class Derived(Base):
            def name(self):
                return "derived"

        assert ll.get(Derived.remote().hello.remote()) == "derived"

    def test_actor_classes_cannot_be_inherited_from(self, counter_class):
        with pytest.raises(TypeError, match="Counter"):

            class Derived(counter_class):
                pass

    def test_num_returns_of_methods(self, ll):
        @ll.remote
        class Pairs:
            @ll.method(num_returns=2)
            def two(self):
                return 1, 2

            @ll.method(num_returns=0)
            def none(self):
                pass

        pairs = Pairs.remote()
        assert ll.get(pairs.two.remote()) == [1, 2]
        assert pairs.none.remote() is None
        assert ll.get(pairs.two.options(num_returns=1).remote()) == (1, 2)

    def test_built_in_methods(self, ll, counter_class):
        counter = counter_class.remote(3)
        assert ll.get(counter.__ray_ready__.remote())
        assert ll.get(counter.__ray_call__.remote(lambda self, k: self.n * k, 2)) == 6


class TestHandles:
    def test_handles_can_be_passed_on(self, ll, counter_class):
        @ll.remote
        def use(counter, box):
            return ll.get([counter.add.remote(), box["c"].add.remote()])

        counter = counter_class.remote()
        assert ll.get(use.remote(counter, {"c": counter})) == [1, 2]
        assert ll.get(counter.add.remote()) == 3

    def test_handles_come_out_of_tasks(self, ll, counter_class):
        @ll.remote
        def make():
            return counter_class.remote(5)

        assert ll.get(ll.get(make.remote()).add.remote()) == 6

    def test_actors_make_actors(self, ll, counter_class):
        @ll.remote
        class Parent:
            def __init__(self):
                self.child = counter_class.remote()

            def get(self):
                return self.child

            def add(self):
                return ll.get(self.child.add.remote())

        parent = Parent.remote()
        assert ll.get(parent.add.remote()) == 1
        assert ll.get(ll.get(parent.get.remote()).add.remote()) == 2

    def test_handles_compare_by_actor(self, ll, counter_class):
        counter = counter_class.remote()
        copy = ll.get(ll.put([counter]))[0]
        assert copy == counter
        assert hash(copy) == hash(counter)
        assert counter != counter_class.remote()
        assert repr(copy) == repr(counter)
        assert "Counter" in repr(counter)

    def test_an_actor_ends_after_its_calls_when_no_handle_is_left(self, ll, counter_class):
        refs = [counter_class.remote(i).add.remote() for i in range(3)]
        assert ll.get(refs) == [1, 2, 3]

    def test_an_actor_knows_itself(self, ll):
        @ll.remote
        class Self:
            def __init__(self):
                self.n = 7

            def me(self):
                return ll.get_runtime_context().current_actor

            def value(self):
                return self.n

        actor = Self.remote()
        assert ll.get(ll.get(actor.me.remote()).value.remote()) == 7


class TestNames:
    def test_get_actor(self, ll, counter_class):
        counter = counter_class.options(name="named").remote()
        assert ll.get(ll.get_actor("named").add.remote()) == 1
        assert ll.get(counter.add.remote()) == 2
        assert "named" in ll.util.list_named_actors() if hasattr(ll.util, "list_named_actors") else True

    def test_names_are_unique_in_their_namespace(self, ll, counter_class):
        first = counter_class.options(name="unique").remote()
        with pytest.raises(ValueError, match="unique"):
            counter_class.options(name="unique").remote()
        other = counter_class.options(name="unique", namespace="elsewhere").remote(5)
        assert ll.get_actor("unique") == first
        assert ll.get_actor("unique", namespace="elsewhere") == other

    def test_get_if_exists(self, ll, counter_class):
        options = {"name": "shared", "get_if_exists": True}
        first = counter_class.options(**options).remote()
        assert ll.get(first.add.remote()) == 1
        second = counter_class.options(**options).remote()
        assert second == first
        assert ll.get(second.add.remote()) == 2
        with pytest.raises(ValueError, match="name"):
            counter_class.options(get_if_exists=True).remote()

    def test_who_is_not_there(self, ll):
        with pytest.raises(ValueError, match="nobody"):
            ll.get_actor("nobody")
        with pytest.raises(ValueError):
            ll.get_actor("")

    def test_a_name_is_free_when_its_actor_was_killed(self, ll, counter_class):
        ll.kill(counter_class.options(name="phoenix").remote())

        def again():
            try:
                return counter_class.options(name="phoenix").remote(1)
            except ValueError:
                return None

        assert ll.get(eventually(again).add.remote()) == 2

    def test_detached_actors_need_no_handle(self, ll, counter_class):
        counter_class.options(name="detached", lifetime="detached").remote()
        assert ll.get(ll.get_actor("detached").add.remote()) == 1
        assert ll.get(ll.get_actor("detached").add.remote()) == 2
        ll.kill(ll.get_actor("detached"))

    def test_bad_names(self, counter_class):
        for options in ({"name": ""}, {"name": "x", "namespace": ""}):
            with pytest.raises(ValueError):
                counter_class.options(**options).remote()
        with pytest.raises(TypeError):
            counter_class.options(name=1)


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

    def test_restart(self, ll):
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
