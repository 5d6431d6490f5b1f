"""The autoscaler with a real provider: processes of this machine come with work and go without it."""

import asyncio
import json

import pytest

from limelight.cluster.autoscaler import message as m
from limelight.cluster.autoscaler.config import ScalingConfig
from limelight.cluster.autoscaler.loop import ScalingLoop
from limelight.cluster.provider.instance import NodeType
from limelight.cluster.provider.node_provider import Created, ProviderError
from limelight.cluster.scheduling.resources import ResourceSet
from tests.cluster.provider.grounds import LocalGround

ONE_CPU = ResourceSet.parse({"CPU": 1})
CPU = NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 2}), max_workers=5)


class Cluster:
    """Stands for the head: a machine is a node of it as soon as its process has started."""

    def __init__(self, ground):
        self.ground = ground
        self.wants = 0
        self.busy = False
        self.drained = set()

    def nodes(self):
        found = {}
        for path in self.ground.reports.glob("[!.]*"):
            name = json.loads(path.read_text())["arguments"][4]
            if not self.ground.is_gone(name):
                units = {} if self.busy else CPU.resources.units()
                found[name] = m.NodeSeen(
                    name, name, CPU.resources, units, {}, CPU.node_labels(name), "tasks" if self.busy else "",
                    name in self.drained,
                )  # fmt: skip
        return found

    def load(self):
        return m.LoadSeen((m.Want(ONE_CPU, self.wants),) if self.wants else ())

    def may_decide(self):
        return True

    def drain(self, node_id, reason):
        if not self.busy:
            self.drained.add(node_id)


@pytest.fixture
async def ground(tmp_path):
    made = LocalGround(tmp_path)
    yield made
    await made.clear()


def config(**options):
    return ScalingConfig(node_types={"cpu": CPU}, max_workers=5, **{"idle_timeout": 0.5, "backoff": 0.1, **options})


def loop_of(ground, cluster, provider=None, **options):
    return ScalingLoop(config(**options), provider or ground.provider(), ground.start(), cluster, interval=0.02)


async def test_machines_come_with_work_stay_while_it_lasts_and_go_after_it(ground):
    cluster = Cluster(ground)
    loop = loop_of(ground, cluster)
    loop.start()
    try:
        cluster.wants = 5
        await ground.until(lambda: len(cluster.nodes()) == 3)
        cluster.wants, cluster.busy = 0, True
        await ground.until(lambda: loop.autoscaler.fleet.counts["cpu"].get("joined") == 3)
        assert not loop.autoscaler.fleet.by_stage["draining"]
        cluster.busy = False
        await ground.until(lambda: not cluster.nodes() and not loop.autoscaler.fleet.machines)
        assert any("launching 3 x cpu: tasks or actors wait for {CPU: 1}" in line for line in loop.summary().lines())
    finally:
        await loop.close()
    assert await ground.provider().instances() == []


async def test_another_loop_goes_on_with_the_machines_of_one_that_was_closed(ground):
    cluster = Cluster(ground)
    first = loop_of(ground, cluster)
    first.start()
    cluster.wants = 2
    await ground.until(lambda: len(cluster.nodes()) == 1)
    await first.close()
    second = loop_of(ground, cluster)
    second.start()
    try:
        await ground.until(lambda: second.autoscaler.fleet.counts.get("cpu", {}).get("joined") == 1)
        cluster.wants = 0
        await ground.until(lambda: not cluster.nodes())
    finally:
        await second.close()


async def test_what_the_provider_refuses_is_backed_off_and_tried_again(ground):
    cluster = Cluster(ground)
    provider = ground.provider()
    create, answers = provider.create, [Created((), "quota exceeded"), RuntimeError("it fell over")]

    async def refusing(*about):
        if not answers:
            return await create(*about)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    provider.create = refusing
    loop = loop_of(ground, cluster, provider)
    loop.start()
    try:
        cluster.wants = 1
        await ground.until(lambda: len(cluster.nodes()) == 1)
        told = "\n".join(loop.summary().lines())
        assert "could not be launched: quota exceeded" in told
        assert "could not be launched: RuntimeError: it fell over" in told
    finally:
        await loop.close()


async def test_nothing_is_decided_while_the_provider_cannot_be_asked(ground):
    cluster = Cluster(ground)
    provider = ground.provider()
    instances, asked = provider.instances, asyncio.Event()

    async def away():
        asked.set()
        raise ProviderError("no route to host")

    provider.instances = away
    loop = loop_of(ground, cluster, provider)
    cluster.wants = 1
    loop.start()
    try:
        await asked.wait()
        await ground.until(lambda: loop.problem == "no route to host")
        assert not loop.autoscaler.fleet.machines
        provider.instances = instances
        loop._listed_at = float("-inf")
        await ground.until(lambda: len(cluster.nodes()) == 1)
        assert loop.problem == ""
    finally:
        await loop.close()
