"""Heads and a node without workers, each with a real endpoint, for tests of the way between them."""

import asyncio
import secrets
import time

from limelight.actors.contract import HEAD, NODE, decoder_of, encode
from limelight.cluster.cluster_message import (
    FromProcess,
    HeadLeads,
    HeadTroubled,
    NodeDrained,
    NodeOrder,
    NodeRegistered,
    RegisterNode,
)
from limelight.cluster.node.head_check import about_this_process
from limelight.cluster.node.head_link import HeadLink
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.system_process import SystemActor, SystemProcess
from limelight.transport.address import ProcessAddress
from limelight.transport.endpoint import Endpoint

TOKEN = secrets.token_bytes(32)
PATIENCE = 10.0
NODE_ID = b"n" * 28
JOB = NodeOrder(m.JobEnded(b"job"))


class HeadDouble(SystemActor):
    """A head as a node sees it: it takes every node in."""

    def __init__(self, term: int, session: str, port: int = 0) -> None:
        super().__init__(asyncio.get_running_loop())
        self.process = SystemProcess()
        self.about = about_this_process("head", session, is_head=True) | {"term": str(term)}
        self.leads = HeadLeads(term, session)
        self.registered: list[RegisterNode] = []
        self.said: list[str] = []
        self.port = port
        self.answers = True
        self.trouble = ""
        self.clock = 0.0
        self.methods = {"RegisterNode": self._on_register, "FromProcess": self._on_from_process}

    async def start(self) -> "HeadDouble":
        self.process.actors[HEAD] = self
        await self.process.start(make_endpoint(self.process, self.about, tcp=f"127.0.0.1:{self.port}"))
        return self

    @property
    def route(self) -> ProcessAddress:
        return ProcessAddress("", "", "", self.process.address.tcp)

    @staticmethod
    def at(port: int) -> ProcessAddress:
        return ProcessAddress("", "", "", f"127.0.0.1:{port}")

    def _on_register(self, channel, call) -> None:
        self.registered.append(decoder_of(RegisterNode).decode(call.body))
        self.node = channel.peer
        if self.trouble:
            self.order(HeadTroubled(self.trouble), self.node)
        if self.answers:
            channel.reply(call.call_id, encode(NodeRegistered(time.time() + self.clock)))

    def _on_from_process(self, channel, call) -> None:
        said = decoder_of(FromProcess).decode(call.body)
        self.said.append(said.method)
        channel.reply(call.call_id, b"")

    def order(self, body, node: ProcessAddress) -> None:
        self.process.notify(node, NODE, body)


class Jobs:
    """What of the manager's desks is told of jobs."""

    def ended(self, job_id: bytes) -> None:
        """A job is over."""

    job_ended = ended


class ManagerDouble(SystemActor):
    """What of a node's manager the link needs."""

    name = NODE

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.fed: list[object] = []
        self.ended: list[tuple[str, bool]] = []
        ignored = ("StartActor", "TerminateActor", "RequestLightWorker", "ReleaseLightWorker", "DrainOrder")
        self.methods = {name: lambda _, call: self.fed.append(call.method) for name in ignored}
        self.methods["NodeDrained"] = lambda channel, call: channel.reply(call.call_id, b"")  # see `settled`
        self.jobs = self.actors = Jobs()

    def feed(self, event) -> None:
        self.fed.append(event)

    def on_lost(self, channel, error) -> None:
        self.link.process_lost(channel.peer.process_id, str(error))


def make_endpoint(process: SystemProcess, about: dict[str, str], tcp: str) -> Endpoint:
    return Endpoint(process_id=secrets.token_hex(16), host_id="here", token=TOKEN, tcp=tcp, info=about, handler=process)


class NodeDouble:
    """A node's process with a real link."""

    async def start(self, head: HeadDouble) -> "NodeDouble":
        self.process = SystemProcess()
        await self.process.start(make_endpoint(self.process, {"kind": "node"}, "127.0.0.1:0"))
        self.link = HeadLink(self.process, head.route, NODE_ID, any_python=False)
        await self.link.greet()
        self.manager = ManagerDouble()
        self.manager.link = self.link
        self.process.actors |= {NODE: self.manager, HEAD: self.link.relay}
        self.moved_to: list[str] = []
        self.link.attach(
            self.manager,
            lambda reason, over: self.manager.ended.append((reason, over)),
            lambda: self.moved_to.append(self.link.cluster),
        )
        await self.link.join(RegisterNode(NODE_ID, self.process.address, "127.0.0.1", {}, {}), lambda: None)
        return self

    @property
    def orders(self) -> list[object]:
        return [event for event in self.manager.fed if not isinstance(event, m.HeadConnected)]


class World:
    """Heads and one node; all of it is ended."""

    def __init__(self) -> None:
        self.processes: list[SystemProcess] = []

    async def head(self, term: int, session: str = "s", port: int = 0) -> HeadDouble:
        made = await HeadDouble(term, session, port).start()
        self.processes.append(made.process)
        return made

    async def node(self, head: HeadDouble) -> NodeDouble:
        made = await NodeDouble().start(head)
        self.processes.append(made.process)
        self.link = made.link
        return made

    async def close(self) -> None:
        self.link.close()
        for process in reversed(self.processes):
            await process.close()


async def settled(head: HeadDouble, node: NodeDouble) -> None:
    """What a head has said to the node so far has been heard."""
    await head.process.request(node.process.address, NODE, NodeDrained(b""), PATIENCE)
