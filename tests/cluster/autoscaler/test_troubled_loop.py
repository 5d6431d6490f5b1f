"""The autoscaler's loop with a provider that misbehaves: it says so, goes on, and ends when it is told to."""

import asyncio
import contextlib

import pytest

from limelight.cluster.autoscaler import loop as scaling
from limelight.cluster.autoscaler import message as m
from limelight.cluster.autoscaler.config import ScalingConfig
from limelight.cluster.autoscaler.loop import ScalingLoop
from limelight.cluster.provider.instance import Instance, NodeType
from limelight.cluster.provider.node_provider import NodeProvider, ProviderError
from limelight.cluster.provider.node_start import NodeStart
from limelight.cluster.scheduling.resources import ResourceSet
from tests.waiting import until

ONE_CPU = ResourceSet.parse({"CPU": 1})
CPU = NodeType(name="cpu", resources=ONE_CPU, max_workers=5)


class Scripted(NodeProvider):
    """Has its instances in memory. `on_list`, `on_make` and `on_end` may be replaced; they are awaited first."""

    def __init__(self):
        super().__init__("mine")
        self.there = {}
        self.listings = 0
        self.ended = []
        self.closed = False
        self.on_list = self.on_make = self.on_end = self.nothing

    async def nothing(self):
        pass

    async def instances(self):
        self.listings += 1
        await self.on_list()
        return list(self.there.values())

    def shell_command(self, instance, command=(), *, terminal=False):
        raise NotImplementedError

    async def close(self):
        await super().close()
        self.closed = True

    async def _make(self, node_type, name, start, role):
        self.there[name] = Instance(name, name, node_type.name, "running")
        await self.on_make()
        return self.there[name]

    async def _end(self, instance_id):
        await self.on_end()
        self.ended.append(instance_id)
        self.there.pop(instance_id, None)


class Cluster:
    """Its nodes are those that the test says."""

    def __init__(self):
        self.seen = {}
        self.wants = 0

    def nodes(self):
        return self.seen

    def load(self):
        return m.LoadSeen((m.Want(ONE_CPU, self.wants),) if self.wants else ())

    def drain(self, node_id, reason):
        raise AssertionError(f"{node_id} was to be drained: {reason}")

    def join(self, name):
        self.seen = {**self.seen, name: m.NodeSeen(name, name, ONE_CPU, {}, {}, CPU.node_labels(name), "1 task")}

    def lose(self, name):
        self.seen = {node_id: node for node_id, node in self.seen.items() if node_id != name}


@pytest.fixture(autouse=True)
def _eager(monkeypatch):
    monkeypatch.setattr(scaling, "CALM_S", 0.05)
    monkeypatch.setattr(scaling, "EAGER_S", 0.05)


@pytest.fixture
async def made():
    """(a loop that runs, its provider, its cluster)"""
    provider, cluster = Scripted(), Cluster()
    times = {"rejoin_timeout": 0.1, "answer_timeout": 0.2, "backoff": 0.1}
    config = ScalingConfig(node_types={"cpu": CPU}, max_workers=5, **times)
    loop = ScalingLoop(config, provider, NodeStart(), cluster, interval=0.01)
    loop.start()
    yield loop, provider, cluster
    if not provider.closed:
        await loop.close()


async def forever():
    await asyncio.Event().wait()


async def test_a_listing_that_hangs_is_told_and_asked_again(made, monkeypatch):
    loop, provider, cluster = made
    monkeypatch.setattr(scaling, "LIST_S", 0.2)
    provider.on_list = forever
    await until(lambda: loop.problem)
    assert loop.problem == "it has not answered within 0.2 s"
    before = provider.listings
    await until(lambda: provider.listings > before)
    provider.on_list = provider.nothing
    cluster.wants = 1
    await until(lambda: provider.there)
    await until(lambda: not loop.problem)


async def test_there_is_one_listing_at_a_time(made):
    loop, provider, _ = made
    await until(lambda: provider.listings)
    open_now, most = 0, 0

    async def counted():
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.2)  # longer than the time between listings
        open_now -= 1

    provider.on_list = counted
    before = provider.listings
    await until(lambda: provider.listings > before + 2)
    assert most == 1
    assert loop.problem == ""


async def test_a_provider_with_a_bug_is_told_and_does_not_end_the_loop(made):
    loop, provider, cluster = made

    async def bug():
        raise KeyError("servers")

    provider.on_list = bug
    await until(lambda: loop.problem == "KeyError: 'servers'")
    provider.on_list = provider.nothing
    cluster.wants = 1
    await until(lambda: provider.there)


async def test_a_cluster_that_cannot_be_looked_at_is_looked_at_again(made):
    _, provider, cluster = made
    load, failures = cluster.load, []

    def failing():
        if len(failures) < 3:
            failures.append(1)
            raise RuntimeError("no tables")
        return load()

    cluster.load = failing
    cluster.wants = 1
    await until(lambda: provider.there)
    assert len(failures) == 3


async def test_what_was_made_though_the_provider_called_it_a_failure_is_found_at_once(made, monkeypatch):
    """As where the answer was lost on the way: it is paid for."""
    monkeypatch.setattr(scaling, "CALM_S", 1000.0)
    loop, provider, cluster = made
    await until(lambda: loop.autoscaler.fleet is not None and provider.listings)

    async def lost():
        raise ProviderError("gateway time-out")

    provider.on_make = lost
    cluster.wants = 1
    await until(lambda: provider.there)
    [name] = provider.there
    cluster.wants = 0
    cluster.join(name)
    await until(lambda: loop.autoscaler.fleet.by_stage["joined"])
    assert list(loop.autoscaler.fleet.by_stage["joined"]) == [name]
    assert any("gateway time-out" in line for line in loop.summary().lines())


async def test_a_machine_whose_node_is_gone_is_ended_and_again_where_that_failed(made):
    _, provider, cluster = made
    provider.there["w"] = Instance("w", "w", "cpu", "running")
    cluster.join("w")
    tries = []

    async def failing():
        tries.append(1)
        if len(tries) < 3:
            raise ProviderError("try later")

    provider.on_end = failing
    await asyncio.sleep(0)
    cluster.wants = 0
    await until(lambda: provider.listings > 1)
    cluster.lose("w")
    await until(lambda: provider.ended == ["w"])
    assert len(tries) == 3


async def test_what_could_not_be_asked_is_told_beside_what_could(made):
    loop, provider, _ = made
    provider.unseen = "lab2 cannot be reached"
    provider.there["w"] = Instance("w", "w", "cpu", "running")
    await until(lambda: loop.problem == "lab2 cannot be reached")
    assert "w" in loop.autoscaler.fleet.machines
    provider.unseen = ""
    await until(lambda: not loop.problem)


async def test_it_ends_while_everything_hangs(made, monkeypatch):
    """The head ends with it, and `cluster stop` waits for that."""
    monkeypatch.setattr(scaling, "CLOSE_S", 0.1)
    loop, provider, cluster = made
    provider.there["w"] = Instance("w", "w", "cpu", "failed")
    provider.on_end = provider.on_make = forever
    cluster.wants = 1
    await until(lambda: len(provider.there) == 2)
    provider.on_list = forever
    close = provider.close
    stuck = asyncio.Event()

    async def hanging():
        stuck.set()
        await forever()

    provider.close = hanging
    async with asyncio.timeout(10):
        await loop.close()
    assert stuck.is_set()
    assert not [task for task in asyncio.all_tasks() if task.get_coro().__qualname__.startswith("ScalingLoop")]
    with contextlib.suppress(asyncio.CancelledError):
        await close()


async def test_a_changed_config_is_gone_by(made):
    loop, provider, cluster = made
    await until(lambda: provider.listings)
    loop.change(ScalingConfig(node_types={}, max_workers=0), NodeStart())
    cluster.wants = 1
    await until(lambda: loop.autoscaler.unmet)
    assert not provider.there
    loop.change(ScalingConfig(node_types={"cpu": CPU}, max_workers=1), NodeStart())
    await until(lambda: provider.there)


async def test_who_was_paused_decides_nothing_before_it_can_know_whether_it_still_leads(made, monkeypatch):
    """Its machine was lost to it, and has joined another head meanwhile: ended now, work of that one would be lost."""
    monkeypatch.setattr(scaling, "REST_S", 0.5)
    loop, provider, cluster = made
    provider.there["w"] = Instance("w", "w", "cpu", "running")
    cluster.join("w")
    await until(lambda: loop.autoscaler.fleet.by_stage["joined"])
    cluster.lose("w")
    await until(lambda: loop.autoscaler.fleet.by_stage["lost"])
    loop._stepped_at -= 60.0  # as if it had been stopped for so long
    await until(lambda: provider.ended)
    assert float("-inf") < loop._rests_until <= asyncio.get_running_loop().time()
