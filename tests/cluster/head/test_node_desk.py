"""What the head makes of nodes that come, fall silent, end, or come back when they should not."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import msgspec
import pytest_asyncio

from limelight.actors.contract import HEAD, QueryState, RegisterDriver, decoder_of
from limelight.cluster.cluster_message import (
    DescribeJob,
    DriverLeft,
    FromNode,
    NodeExpired,
    NodeLeaving,
    NodeOrder,
    PeerNodes,
    RegisterNode,
)
from limelight.cluster.head import node_desk
from limelight.cluster.head.head import Head
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.system_process import SystemActor, SystemProcess
from limelight.transport.address import ProcessAddress
from limelight.transport.endpoint import Endpoint
from tests.waiting import until

from .crash_world import World

TOKEN = secrets.token_bytes(32)
RESOURCES = ResourceSet.parse({"CPU": 2})
PATIENCE = 10.0


class Node(SystemActor):
    """A node manager as the head sees it."""

    def __init__(self, folder) -> None:
        super().__init__(asyncio.get_running_loop())
        self.node_id = secrets.token_bytes(28)
        self.peers: dict[str, ProcessAddress] = {}
        self.heard_of: list[str] = []
        self.expired = ""
        self.name_for_people = ""
        self.orders: list[object] = []
        self.process = SystemProcess()
        self._path = str(folder / self.node_id.hex()[:8])
        self._version = 0
        self.methods = {
            "PeerNodes": lambda _, call: self.learn(decoder_of(PeerNodes).decode(call.body)),
            "NodeExpired": lambda _, call: setattr(self, "expired", decoder_of(NodeExpired).decode(call.body).reason),
            "NodeOrder": lambda _, call: self.orders.append(decoder_of(NodeOrder).decode(call.body).event),
        }

    async def start(self, head: ProcessAddress) -> "Node":
        self._head = head
        await self.process.start(make_endpoint(self.process, self._path))
        self.process.actors["node"] = self
        await self.process.endpoint.connect(head)
        return self

    async def join(self) -> None:
        body = RegisterNode(
            self.node_id, self.process.address, "127.0.0.1", RESOURCES.units(), {}, self.name_for_people
        )
        registered = asyncio.ensure_future(self.process.request(self._head, HEAD, body, PATIENCE))
        await asyncio.sleep(0)
        self.report()
        await registered

    def learn(self, told: PeerNodes) -> None:
        kept = {} if told.whole else {name: node for name, node in self.peers.items() if name not in told.gone}
        self.peers = kept | told.nodes
        self.heard_of += told.nodes

    def report(self) -> None:
        self._version += 1
        told = m.NodeReport(self.node_id.hex(), self._version, RESOURCES, RESOURCES.units(), {}, {})
        self.process.notify(self._head, HEAD, FromNode(self.node_id, told))

    async def ask(self, body) -> bytes:
        return await self.process.request(self._head, HEAD, body, PATIENCE)

    async def rows(self) -> dict[str, bool]:
        answer = msgspec.msgpack.decode(await self.ask(QueryState("nodes")))
        return {row["NodeID"]: row["Alive"] for row in answer}


def make_endpoint(process: SystemProcess, path: str) -> Endpoint:
    return Endpoint(
        process_id=secrets.token_hex(16), host_id="here", token=TOKEN, unix_path=path, info={}, handler=process
    )


@pytest_asyncio.fixture
async def nodes(tmp_path_factory, monkeypatch) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes, not registered yet, of a head whose patience is short."""
    monkeypatch.setattr(node_desk, "SILENCE_S", 0.3)
    monkeypatch.setattr(node_desk, "LOOK_S", 0.02)
    folder = tmp_path_factory.mktemp("h")
    process = SystemProcess()
    await process.start(make_endpoint(process, str(folder / "head")))
    head = process.actors[HEAD] = Head(process)
    made = [await Node(folder).start(process.address) for _ in range(2)]
    yield made[0], made[1]
    head.close()
    for node in made:
        await node.process.close()
    await process.close()


async def keep_reporting(node: Node) -> None:
    while True:
        node.report()
        await asyncio.sleep(0.02)


async def test_nodes_know_each_other(nodes) -> None:
    for node in nodes:
        await node.join()
    both = {node.node_id.hex() for node in nodes}
    await until(lambda: set(nodes[0].peers) == set(nodes[1].peers) == both)
    assert await nodes[0].rows() == dict.fromkeys(both, True)


async def test_a_node_that_ends_is_dead_at_once(nodes) -> None:
    first, second = nodes
    for node in nodes:
        await node.join()
    await until(lambda: len(first.peers) == 2)
    await second.process.close()
    await until(lambda: set(first.peers) == {first.node_id.hex()})
    assert (await first.rows())[second.node_id.hex()] is False
    rows = {row["NodeID"]: row for row in msgspec.msgpack.decode(await first.ask(QueryState("nodes")))}
    reason = rows[second.node_id.hex()]["DeathReasonMessage"]
    assert reason.startswith("its process closed the connection: Process ")


async def test_a_node_that_leaves_is_gone_and_known_by_its_name_and_reason(nodes) -> None:
    first, second = nodes
    second.name_for_people = "bee"
    for node in nodes:
        await node.join()
    for _ in range(2):  # it may be said twice
        second.process.notify(second._head, HEAD, NodeLeaving(second.node_id, "it was stopped"))
    await until(lambda: set(first.peers) == {first.node_id.hex()})
    await second.process.close()
    rows = {row["NodeName"]: row for row in msgspec.msgpack.decode(await first.ask(QueryState("nodes")))}
    assert rows["bee"]["Alive"] is False
    assert rows["bee"]["DeathReasonMessage"] == "it was stopped"
    assert rows["127.0.0.1"]["Alive"] is True


async def test_a_node_that_falls_silent_is_given_up_and_told(nodes) -> None:
    first, second = nodes
    for node in nodes:
        await node.join()
    reporting = asyncio.ensure_future(keep_reporting(first))
    await until(lambda: second.expired)
    assert "said nothing" in second.expired
    assert await first.rows() == {first.node_id.hex(): True, second.node_id.hex(): False}
    assert not first.expired
    reporting.cancel()


async def test_a_node_that_was_given_up_does_not_come_back_by_reporting(nodes) -> None:
    first, second = nodes
    for node in nodes:
        await node.join()
    reporting = asyncio.ensure_future(keep_reporting(first))
    await until(lambda: second.expired)
    second.expired = ""
    second.report()
    await until(lambda: second.expired)
    assert (await first.rows())[second.node_id.hex()] is False
    reporting.cancel()


async def test_a_node_that_was_given_up_cannot_register_again_under_its_name(nodes) -> None:
    first, second = nodes
    for node in nodes:
        await node.join()
    reporting = asyncio.ensure_future(keep_reporting(first))
    await until(lambda: second.expired)
    second.expired = ""
    body = RegisterNode(second.node_id, second.process.address, "127.0.0.1", RESOURCES.units(), {})
    second.process.notify(second._head, HEAD, body)
    await until(lambda: second.expired)
    assert await first.rows() == {first.node_id.hex(): True, second.node_id.hex(): False}
    assert set(first.peers) == {first.node_id.hex()}
    assert first.heard_of.count(second.node_id.hex()) == 1, "it was no node of the cluster meanwhile either"
    reporting.cancel()


async def test_a_job_is_described_to_every_node_until_its_driver_leaves(nodes) -> None:
    first, second = nodes
    for node in nodes:
        await node.join()
    driver = RegisterDriver(ProcessAddress("dd" * 16, "here"), b"job1", "space", log_to_driver=True)
    first.process.notify(first._head, HEAD, driver)
    await first.rows()  # by now it has arrived
    assert decoder_of(RegisterDriver).decode(await second.ask(DescribeJob(b"job1"))) == driver
    first.process.notify(first._head, HEAD, DriverLeft(b"job1", driver.address.process_id))
    await until(lambda: m.JobEnded(b"job1") in first.orders and m.JobEnded(b"job1") in second.orders)
    assert await second.ask(DescribeJob(b"job1")) == b""


async def test_a_job_ends_with_its_drivers_node(nodes) -> None:
    first, second = nodes
    for node in nodes:
        await node.join()
    driver = RegisterDriver(ProcessAddress("dd" * 16, "here"), b"job2", "space", log_to_driver=True)
    second.process.notify(second._head, HEAD, driver)
    await second.rows()
    await second.process.close()
    await until(lambda: m.JobEnded(b"job2") in first.orders)


def test_the_newest_of_the_nodes_that_are_gone_are_remembered_and_no_more(monkeypatch) -> None:
    monkeypatch.setattr(node_desk, "_REMEMBERED", 2)
    world = World(1, nodes=4)
    world.run(1.0)
    for number, node in enumerate(world.nodes[:3]):
        with world.running():
            world.head.node_desk.end(node.node_id.hex(), f"reason {number}")
    assert [reason for _, reason in world.head.node_desk.dead.values()] == ["reason 1", "reason 2"]
