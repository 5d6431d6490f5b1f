"""Local mode beyond the contract of all runtimes: everything runs in the caller's thread."""

import asyncio
import logging
import threading

import pytest

import limelight as ll


@pytest.fixture(autouse=True)
def session():
    ll.init(local_mode=True, num_cpus=2, num_gpus=1, namespace="here")
    yield
    ll.shutdown()


@ll.remote
class Signal:
    def __init__(self):
        self.event = asyncio.Event()

    async def wait(self):
        await self.event.wait()
        return threading.get_ident()

    async def send(self):
        self.event.set()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)
        return seconds

    async def get(self, ref_in_list):
        return ll.get(ref_in_list[0])

    async def shielded(self):
        try:
            await self.event.wait()
        except asyncio.CancelledError:
            return "cleaned up"


def test_tasks_and_actors_run_in_the_callers_thread():
    @ll.task
    def here():
        return threading.get_ident()

    signal = Signal.remote()
    waiting = signal.wait.remote()
    signal.send.remote()
    assert ll.get([here.remote(), waiting]) == [threading.get_ident()] * 2


def test_a_blocking_get_in_an_async_method_lets_other_coroutines_run():
    signal, other = Signal.remote(), Signal.remote()
    assert ll.get(signal.get.remote([other.sleep.remote(0.01)])) == 0.01
    assert ll.get(signal.get.remote([signal.sleep.remote(0.01)])) == 0.01


def test_waiting_for_what_nothing_will_bring_about_is_an_error_and_no_hang():
    signal = Signal.remote()
    waiting = signal.wait.remote()
    with pytest.raises(ll.exceptions.RaySystemError, match="waits for something"):
        ll.get(waiting)
    with pytest.raises(ll.exceptions.RaySystemError, match="await it"):
        ll.get(signal.get.remote([waiting]))
    signal.send.remote()
    assert ll.get(waiting) == threading.get_ident()


def test_a_blocking_get_in_an_async_actor_is_warned_of_once(caplog):
    signal = Signal.remote()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            ll.get(signal.get.remote([ll.put(1)]))
    assert [record.message for record in caplog.records if "await ref" in record.message] == [caplog.records[0].message]


async def test_what_only_callbacks_wait_for_is_driven_elsewhere():
    signal = Signal.remote()
    waiting = asyncio.ensure_future(signal.wait.remote().as_future())
    await asyncio.sleep(0)
    assert not waiting.done()
    signal.send.remote()
    await asyncio.wait_for(waiting, 30)


def test_a_future_of_a_coroutine_that_sleeps():
    assert Signal.remote().sleep.remote(0.02).future().result(30) == 0.02


def test_a_task_waits_for_arguments_that_are_not_there_yet():
    @ll.task
    def same(x):
        return x

    signal = Signal.remote()
    later = same.remote(signal.wait.remote())
    assert ll.wait([later], timeout=0) == ([], [later])
    signal.send.remote()
    assert ll.get(later) == threading.get_ident()


def test_waiting_for_oneself_is_an_error_and_no_hang():
    @ll.actor
    class Selfish:
        def ask(self):
            return ll.get(ll.get_runtime_context().current_actor.answer.remote())

        def answer(self):
            return 42

    with pytest.raises(ll.exceptions.RaySystemError, match="waits for something"):
        ll.get(Selfish.remote().ask.remote())


def test_threads_may_wait_for_each_others_coroutines():
    signal = Signal.remote()
    waiting = [signal.wait.remote() for _ in range(3)]
    results = []
    threads = [threading.Thread(target=lambda ref=ref: results.append(ll.get(ref, timeout=30))) for ref in waiting]
    for thread in threads:
        thread.start()
    signal.send.remote()
    for thread in threads:
        thread.join(30)
    assert len(results) == 3


def test_coroutines_are_cancelled_at_the_end():
    signal = Signal.remote()
    ref = signal.shielded.remote()
    ll.shutdown()
    ll.init(local_mode=True)
    assert not ref._entry.done or ref._entry.value() == "cleaned up"


def test_actors_end_with_their_last_handle():
    ended = []

    class Ender:
        def __ray_shutdown__(self):
            ended.append(ll.get_runtime_context().namespace)

        def hello(self):
            return 1

    actor = ll.actor(Ender).remote()
    assert ll.get(actor.hello.remote()) == 1
    del actor
    assert ended == ["here"]


def test_the_context_of_local_mode():
    @ll.task(num_gpus=0.5, runtime_env={"env_vars": {"A": "1"}})
    def look():
        context = ll.get_runtime_context()
        return ll.get_gpu_ids(), context.get_accelerator_ids()["GPU"], context.runtime_env["env_vars"]

    assert ll.get(look.remote()) == ([0], ["0"], {"A": "1"})
    assert ll.cluster_resources() == {"CPU": 2, "GPU": 1}


def test_init_tells_about_the_session():
    context = ll.init(ignore_reinit_error=True)
    assert context["namespace"] == "here"
    assert dict(context)["address"] == context.address == "local"
    assert set(context) == set(context.keys())


def test_a_session_is_a_context_manager():
    ll.shutdown()
    with ll.init(local_mode=True):
        assert ll.is_initialized()
    assert not ll.is_initialized()
    ll.shutdown()


def test_placement_groups_are_noted_down():
    from limelight.actors import runtime

    current = runtime.current()
    group_id = current.create_placement_group([{"CPU": 1}], "PACK", "group", None)
    assert ll.get(current.placement_group_ready(group_id, "value")) == "value"
    assert current.get_placement_group("group") == (group_id, [{"CPU": 1}])
    (row,) = current.state("placement_groups")
    assert row["name"] == "group"
    current.remove_placement_group(group_id)
    with pytest.raises(ValueError, match="group"):
        current.get_placement_group("group")
    with pytest.raises(ll.exceptions.TaskPlacementGroupRemoved):
        ll.get(current.placement_group_ready(group_id, "value"))


def test_an_unfinished_stream_does_not_hold_up_others():
    @ll.task(_generator_backpressure_num_objects=1)
    def endless():
        n = 0
        while True:
            yield n
            n += 1

    first, second = endless.remote(), endless.remote()
    assert [ll.get(next(first)), ll.get(next(second)), ll.get(next(first))] == [0, 0, 1]
