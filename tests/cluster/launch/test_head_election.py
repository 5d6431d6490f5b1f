"""Several people type `cluster up` in the same second: one head is left, and whose commands end, name that one."""

import asyncio
from random import Random

import pytest

from limelight.cluster.launch import head_election
from limelight.cluster.launch.cluster_file import ClusterFile, parse_cluster_file
from limelight.cluster.launch.launcher import up
from limelight.cluster.launch.machine_step import LaunchError
from limelight.cluster.provider.instance import Instance
from limelight.cluster.provider.node_provider import NodeProvider, ProviderError

FILE = """\
cluster_name: mine
provider: {type: local}
head_node_type: cpu
program: [cluster]
node_types:
  cpu: {resources: {CPU: 1}, min_workers: 2, max_workers: 2}
"""
TOKEN = "ab" * 32
SLOW_S = 0.01


class Cloud:
    """The machines, which several see; and how slow everything is at random."""

    def __init__(self, seed=0):
        self.random = Random(seed)
        self.there: dict[str, Instance] = {}
        self.answering: set[str] = set()
        self.asked: set[str] = set()
        self.heads_made = 0
        self.tasks = []

    async def slow(self):
        await asyncio.sleep(self.random.choice([0, 0, 1, 3]) * SLOW_S / 3)

    async def make(self, name, role):
        if name in self.there:
            return
        self.heads_made += role == "head"
        self.there[name] = Instance(name, name, "cpu", "running", f"{name}.example", role=role)
        self.tasks.append(asyncio.ensure_future(self._boot(name)))

    async def _boot(self, name):
        await self.slow()
        await self.slow()
        self.answering.add(name)

    @property
    def heads(self):
        return [one.name for one in self.there.values() if one.role == "head"]

    @property
    def workers(self):
        return [one.name for one in self.there.values() if one.role == "worker"]


class View(NodeProvider):
    """One person's way to them. Each step takes a while, before and after it counts."""

    def __init__(self, cloud):
        super().__init__("mine")
        self.cloud = cloud

    async def instances(self):
        await self.cloud.slow()
        found = list(self.cloud.there.values())
        await self.cloud.slow()
        return found

    def shell_command(self, instance, command=(), *, terminal=False):
        raise NotImplementedError

    async def run_command(self, instance, command, **_):
        self.cloud.asked.add(instance.name)
        await self.cloud.slow()
        if instance.name not in self.cloud.answering or instance.name not in self.cloud.there:
            raise ProviderError("nobody listens there")
        await self.cloud.slow()
        return "same\n"

    async def _make(self, node_type, name, start, role):
        await self.cloud.slow()
        await self.cloud.make(name, role)
        await self.cloud.slow()
        return self.cloud.there.get(name) or Instance(name, name, "cpu", "running", role=role)

    async def _end(self, instance_id):
        await self.cloud.slow()
        self.cloud.there.pop(instance_id, None)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(head_election, "LOOK_S", SLOW_S / 2)
    monkeypatch.setattr(head_election, "SETTLE_S", 20 * SLOW_S)


def file_seen(cloud) -> ClusterFile:
    """The file; its provider is a way to that cloud."""
    file = parse_cluster_file("c.yaml", FILE)

    class Seen(ClusterFile):
        def provider(self):
            return View(cloud)

    return Seen(**{name: getattr(file, name) for name in file.__struct_fields__})


def typed(cloud, told=None):
    return asyncio.ensure_future(up(file_seen(cloud), TOKEN, (told if told is not None else []).append))


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(15))
async def test_one_head_is_left_and_all_name_it(seed):
    cloud = Cloud(seed)
    found = await asyncio.wait_for(asyncio.gather(*(typed(cloud) for _ in range(2 + seed % 3))), 20)
    assert {head.name for head in found} == set(cloud.heads)
    assert len(cloud.heads) == 1
    assert len(cloud.workers) == 2, "nor are the others made twice"
    await asyncio.gather(*cloud.tasks)


@pytest.mark.parametrize("seed", range(15))
async def test_one_of_them_is_interrupted(seed):
    """And types it again."""
    cloud = Cloud(seed)
    first, second = typed(cloud), typed(cloud)
    await asyncio.sleep(cloud.random.uniform(0, 6 * SLOW_S))
    first.cancel()
    await asyncio.wait({first})
    found = await asyncio.wait_for(asyncio.gather(second, typed(cloud)), 20)
    assert [head.name for head in found] == cloud.heads * 2
    await asyncio.gather(*cloud.tasks)


async def test_a_head_that_was_made_too_late_is_ended_and_not_one_that_may_be_in_use():
    cloud = Cloud()
    cloud.slow = lambda: asyncio.sleep(0)
    told: list[str] = []
    making = typed(cloud, told)
    await until(lambda: told)  # it has found none
    await cloud.make("cpu-zzzz-0", "head")
    cloud.answering.add("cpu-zzzz-0")
    assert (await asyncio.wait_for(making, 10)).name == "cpu-zzzz-0"
    assert cloud.heads == ["cpu-zzzz-0"]
    assert cloud.heads_made == 2
    assert any("cpu-zzzz-0 is the head already" in line for line in told)
    await asyncio.gather(*cloud.tasks)


async def test_several_heads_that_nobody_ends_are_told():
    cloud = Cloud()
    for name in ("cpu-a-0", "cpu-b-0"):
        await cloud.make(name, "head")
    with pytest.raises(LaunchError, match=r"has several heads: cpu-a-0, cpu-b-0\. `cluster down` ends all of it"):
        await asyncio.wait_for(typed(cloud), 10)
    assert len(cloud.heads) == 2, "either may be in use"
    await asyncio.gather(*cloud.tasks)


async def test_a_head_that_goes_while_it_is_waited_for_is_told():
    cloud = Cloud()
    await cloud.make("cpu-a-0", "head")
    cloud.tasks.pop().cancel()
    waiting = typed(cloud)
    await until(lambda: cloud.asked)
    cloud.there.clear()
    with pytest.raises(LaunchError, match=r"cpu-a-0 is gone\. Run `cluster up` again"):
        await asyncio.wait_for(waiting, 10)


async def test_of_two_heads_on_one_machine_the_one_that_got_the_port_is_left():
    cloud = Cloud()
    make = cloud.make

    async def one_port(name, role):
        is_second = role == "head" and bool(cloud.heads)
        await make(name, role)
        if is_second:
            cloud.tasks.pop().cancel()
            cloud.there[name] = Instance(name, name, "cpu", "failed", "", "port 6379 is taken", role)

    cloud.make = one_port
    for _ in range(10):
        found = await asyncio.wait_for(asyncio.gather(typed(cloud), typed(cloud)), 20)
        assert [head.name for head in found] == cloud.heads * 2
        cloud.there.clear()
    await asyncio.gather(*cloud.tasks)
