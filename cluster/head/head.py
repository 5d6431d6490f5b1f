"""The head: the actor "head". Executes what the cluster-wide state machines decide, and feeds them what happens."""

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ...actors.contract import HEAD, NODE, QueryState, decoder_of
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call
from ..alarm import Alarm
from ..cluster_message import (
    EndCluster,
    FromNode,
    FromProcess,
    HeadLeads,
    HeadTroubled,
    KnownHeads,
    NodeExpired,
    NodeOrder,
    ProcessGone,
    StandBy,
)
from ..scheduling import lease_message as m
from ..scheduling.actor_table import ToLeaseMachine
from ..scheduling.cluster_view import ClusterView
from ..scheduling.group_table import GroupToNode
from ..scheduling.scheduler import Scheduler, SchedulerEvent, SchedulerTick, ToNode
from ..system_process import SystemActor, SystemProcess
from .actor_desk import ActorDesk
from .drain_desk import DrainDesk
from .environment_desk import EnvironmentDesk
from .floor_desk import FloorDesk
from .group_desk import GroupDesk
from .head_state import HeadState, Outbox, Rows
from .job_desk import JobDesk
from .node_desk import NodeDesk
from .package_desk import PackageDesk
from .relayed_process import RelayedProcess
from .state_query import StateQuery
from .submission_desk import SubmissionDesk

logger = logging.getLogger(__name__)


class Head(SystemActor):
    """Knows all nodes.

    Attributes:
        session: the cluster's name for its session; "" where the node beside it knows that.
        dashboard: the address of its web server; "" where it has none.
        has_stepped_down: whether it leads no more, with everything as it is, so that another can.
        trouble: why nothing can be kept, and so nothing be said, now; "": it can.
    """

    name = "head"

    def __init__(
        self,
        process: SystemProcess,
        state: HeadState | None = None,
        over: Callable[[], None] | None = None,
        packages: Path | None = None,
    ) -> None:
        """Begin.

        Args:
            process: it lives in.
            state: what outlives it; None: nothing.
            over: called when the cluster is over.
            packages: a folder for those that are given to the head, and may exist; None: it takes none.
        """
        super().__init__(asyncio.get_running_loop())
        self._over = over
        self._standbys: dict[str, tuple[ProcessAddress, str]] = {}
        self.session = self.dashboard = ""
        self.state = state or HeadState()
        self.process = Outbox(process, self.state)
        self._process = process
        self.trouble = ""
        self.has_stepped_down = False
        self.view = ClusterView(random.Random())  # noqa: S311 - spreads load, guards nothing
        self.scheduler = Scheduler(self.view)
        self._alarms: list[Alarm] = []
        self._unread: dict[str, m.NodeReport] = {}
        self._alarm = self.alarm(self.scheduler.wake_at, lambda: self.feed(SchedulerTick()))
        self._state = StateQuery(self)
        self._relayed: dict[str, dict[str, RelayedProcess]] = {}
        self._homes: dict[str, dict[str, None]] = {}
        self.methods = {
            "FromNode": self._on_from_node,
            "FromProcess": self._on_from_process,
            "ProcessHere": lambda _, __: None,
            "QueryState": self._on_query_state,
        }
        self.from_node: dict[type[Any], Callable[[str, Any], None]] = {
            m.NodeReport: self._on_report,
            m.WorkersHeld: self._on_node_back,
        }
        self.on_node_back: list[Callable[[str, m.WorkersHeld], None]] = []
        self.on_node_lost: list[Callable[[str], None]] = []
        self.on_process_lost: list[Callable[[str], None]] = []
        self.on_report: list[Callable[[str], None]] = []
        self.node_desk = NodeDesk(self)
        self.nodes = self.node_desk.alive
        self.jobs = JobDesk(self)
        self.actors = ActorDesk(self)
        self.groups = GroupDesk(self)
        self.environments = EnvironmentDesk(self)
        self.packages = PackageDesk(self, packages)
        self.submissions = SubmissionDesk(self)
        self.drains = DrainDesk(self)
        self.requested = FloorDesk(self)
        self.scaling: Callable[[], list[str]] = list
        """What an autoscaler has to say for itself; where there is one, that sets it."""
        self.on_node_lost.append(self._processes_lost)
        self.methods |= {"StandBy": self._on_stand_by, "EndCluster": self._on_end_cluster}

    def close(self) -> None:
        """Decide nothing more."""
        for alarm in self._alarms:
            alarm.cancel()
        self.node_desk.close()
        self.drains.close()
        self.packages.close()

    def restore(self, rows: Rows, leads: HeadLeads, before: str = "") -> None:
        """Go on where the head before this one was ended. Before anything is heard. `leads` is what nodes are told.

        `before` is where a head on another host listened that failed.

        Nodes come back by themselves; what they have free is not known before, so that nothing is placed on them.
        """
        self.environments.restore(rows)
        self.jobs.restore(rows)
        self.node_desk.restore(rows, leads, before)
        self.groups.restore(rows)
        self.actors.restore(rows)
        self.drains.restore(rows)
        self.submissions.restore(rows)
        self.requested.restore(rows)

    def feed(self, event: SchedulerEvent) -> None:
        """Give the scheduler an event and do what it says."""
        for command in self.scheduler.handle(event, self._loop.time()):
            self.order(command)
        self._alarm.set()
        if isinstance(event, m.NodeReport):
            self.node_desk.reported(event.node_id)
            for told in self.on_report:
                told(event.node_id)

    def _on_report(self, node_id: str, report: m.NodeReport) -> None:
        """A node has reported. While nothing can be said nothing is decided, and each node's newest report is kept.

        For what was decided then would be old when it can be said, and there would be ever more of it.
        """
        if self.trouble:
            self._unread[node_id] = report
        else:
            self.feed(report)

    def alarm(self, wake_at: Callable[[], float | None], tick: Callable[[], None]) -> Alarm:
        """What wakes one of the head's state machines: not while nothing can be said, and then at once."""
        made = Alarm(self._loop, wake_at, lambda: None if self.trouble else tick())
        self._alarms.append(made)
        return made

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it runs on."""
        return self._loop

    def node_of(self, channel: Channel) -> str:
        """The node that the process at the other end lives on, as far as is known; "" where it is not."""
        peer = channel.peer.process_id
        return channel.peer_info.get("node", "") or self.jobs.node_of(peer) or self.node_desk.at(peer)

    def order_all(self, event: m.JobEnded) -> None:
        """Send something to the lease machines of all nodes."""
        for node in self.nodes.values():
            self.process.notify(node.address, NODE, NodeOrder(event))

    def driver_of(self, job_id: bytes) -> str:
        """The process id of a job's driver; "" where the job is not known."""
        return self.jobs.driver_of(job_id)

    def order(self, command: ToNode | ToLeaseMachine | GroupToNode) -> None:
        """Send something to a node's lease machine."""
        node = self.nodes.get(command.node_id)
        if node is not None:
            self.process.notify(node.address, NODE, NodeOrder(command.event))

    def _on_from_node(self, channel: Channel, call: Call) -> None:
        message: FromNode = _from_node_decoder.decode(call.body)
        handler = self.from_node.get(type(message.command))
        if handler is None:
            raise LookupError(f"the head has no use for {type(message.command).__name__}")
        node_id = message.node_id.hex()
        if self.node_desk.heard(node_id, channel):
            handler(node_id, message.command)

    def _on_from_process(self, channel: Channel, call: Call) -> None:
        """What a process says by its node. It is answered in any case: until then its node keeps it."""
        said: FromProcess = _from_process_decoder.decode(call.body)
        node_id = self.node_desk.at(channel.peer.process_id)
        if not node_id:
            self.node_desk.heard(channel.peer_info.get("node", ""), channel)  # it is told that it is none of ours
            return
        if said.method == ProcessGone.__name__:
            self._relayed.get(node_id, {}).pop(said.sender.process_id, None)
            self.process_lost(said.sender.process_id)
        else:
            processes = self._relayed.setdefault(node_id, {})
            process = processes.get(said.sender.process_id)
            if process is None:
                process = RelayedProcess(said.sender, node_id, channel, self.process)
                processes[said.sender.process_id] = process
            handler = self.methods.get(said.method, self._no_such_method)
            handler(process, Call(call.call_id if said.wants_reply else 0, self.name, said.method, said.body))
        if not said.wants_reply:
            self.state.after(lambda: channel.reply(call.call_id, b""))

    def _on_end_cluster(self, channel: Channel, call: Call) -> None:
        for node in self.nodes.values():
            self.process.notify(node.address, NODE, NodeExpired("the cluster was stopped", over=True))
        for standby, _ in self._standbys.values():
            self.process.notify(standby, HEAD, EndCluster())
        self.state.clear()

        def done() -> None:
            channel.reply(call.call_id, b"")
            if self._over is not None:
                self._over()

        self.state.after(done)

    def _on_stand_by(self, channel: Channel, call: Call) -> None:
        self._standbys[channel.peer.process_id] = channel.peer, decoder_of(StandBy).decode(call.body).address
        self._tell_heads()
        if uris := self.environments.packages_of_head():
            self.spawn(self.packages.share(uris, [channel.peer]))

    def standbys(self) -> list[ProcessAddress]:
        """The heads that stand by for this one."""
        return [standby for standby, _ in self._standbys.values()]

    @property
    def has_standby(self) -> bool:
        """Whether another head would take over."""
        return bool(self._standbys)

    def step_down(self, reason: str) -> None:
        """Lead no more, with everything as it is: another head goes on with it."""
        logger.warning("this head steps down: %s", reason)
        self.has_stepped_down = True
        self.close()
        if self._over is not None:
            self._over()

    def _tell_heads(self) -> None:
        for node_id in self.nodes:
            self.tell_heads_to(node_id)

    def troubled(self, reason: str) -> None:
        """What is decided cannot be kept, and so is not said, for that reason; "": it can again. Nodes hear of that."""
        self.trouble = reason
        for node in self.nodes.values():
            self._process.notify(node.address, NODE, HeadTroubled(reason))  # at once, as nothing was decided
        if not reason:
            unread, self._unread = self._unread, {}
            for node_id, report in unread.items():
                if node_id in self.nodes:
                    self.feed(report)
            for alarm in self._alarms:
                alarm.set()

    def tell_heads_to(self, node_id: str) -> None:
        """Have a node know where heads listen."""
        if self._standbys:
            known = KnownHeads([self.process.address.tcp, *(where for _, where in self._standbys.values())])
            self.process.notify(self.nodes[node_id].address, NODE, known)

    def _on_node_back(self, node_id: str, held: m.WorkersHeld) -> None:
        """A node has connected: it and the desks bring together what each believes of the other."""
        if self.trouble:
            self._process.notify(self.nodes[node_id].address, NODE, HeadTroubled(self.trouble))
        for told in self.on_node_back:
            told(node_id, held)

    def _on_query_state(self, channel: Channel, call: Call) -> None:
        query: QueryState = decoder_of(QueryState).decode(call.body)
        channel.reply(call.call_id, msgspec.msgpack.encode(self._state.answer(query.kind)))

    def on_lost(self, channel: Channel, error: TransportError) -> None:
        """A process is out of reach for good."""
        self.node_desk.channel_lost(channel, error)
        if self._standbys.pop(channel.peer.process_id, None):
            self._tell_heads()
        self.process_lost(channel.peer.process_id)

    def _processes_lost(self, node_id: str) -> None:
        """The processes of a lost node are gone with it."""
        for process_id in {**self._relayed.pop(node_id, {}), **self._homes.pop(node_id, {})}:
            self.process_lost(process_id)

    def lives_at(self, node_id: str, process_id: str) -> None:
        """A process of that node owns something, as a head before this one knew: this one may never hear of it."""
        if node_id:
            self._homes.setdefault(node_id, {})[process_id] = None

    def process_lost(self, process_id: str) -> None:
        """A process has ended; may be said more than once."""
        for told in self.on_process_lost:
            told(process_id)


_from_node_decoder = msgspec.msgpack.Decoder(FromNode)
_from_process_decoder = msgspec.msgpack.Decoder(FromProcess)
