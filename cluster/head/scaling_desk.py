"""The head's autoscaler: it sees the cluster through the head's tables, and has its desk for that drain nodes."""

from typing import TYPE_CHECKING

from ..autoscaler import message as m
from ..autoscaler.loop import ScalingLoop
from ..cluster_message import DrainNode
from ..launch.cluster_file import read_cluster_file
from ..provider.instance import INSTANCE_LABEL
from ..scheduling.labels import LabelSelector
from ..scheduling.resources import HEAD_RESOURCE, ResourceSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..scheduling.cluster_view import Node
    from .head import Head

DRAIN_S = 600.0
"""How long an idle node may take to get rid of its objects."""

Waiting = dict[tuple[ResourceSet, LabelSelector], int]


class HeadPort:
    """What `ClusterPort` asks for, from a head's tables."""

    def __init__(self, head: "Head") -> None:
        self._head = head
        self._seen: dict[str, tuple[tuple[object, ...], m.NodeSeen]] = {}
        self._before: Waiting = {}

    def nodes(self) -> "Mapping[str, m.NodeSeen]":
        """See `ClusterPort.nodes`."""
        found: dict[str, tuple[tuple[object, ...], m.NodeSeen]] = {}
        for node_id, node in self._head.view.nodes.items():
            holds = self._holds(node)
            state = (node.version, node.draining, holds, sum(node.transit.values()))
            known = self._seen.get(node_id)
            found[node_id] = known if known is not None and known[0] == state else (state, _seen(node, holds))
        self._seen = found
        return {node_id: seen for node_id, (_, seen) in found.items()}

    def load(self) -> m.LoadSeen:
        """See `ClusterPort.load`. What waits is what has waited a look before, too: most finds room in an instant."""
        now: Waiting = dict(self._head.scheduler.pending())
        for key, count in self._head.actors.directory.unserved().items():
            now[key] = now.get(key, 0) + count
        lasting = {key: min(count, self._before.get(key, 0)) for key, count in now.items()}
        self._before = now
        wants = tuple(m.Want(resources, count, selector) for (resources, selector), count in lasting.items() if count)
        return m.LoadSeen(wants, tuple(self._head.groups.pending()), self._head.requested.floor)

    def drain(self, node_id: str, reason: str) -> None:
        """See `ClusterPort.drain`."""
        self._head.drains.drain(DrainNode(bytes.fromhex(node_id), reason, DRAIN_S, if_idle=True))

    def _holds(self, node: "Node") -> str:
        if node.draining:
            return "it is leaving"  # its objects are copied away; then it is gone
        if self._head.jobs.has_drivers_at(node.node_id):
            return "a driver"
        return "" if self._head.drains.is_idle(node.node_id) else "work"


class ScalingDesk:
    """On the head's loop, until `close`.

    Args:
        head: whose cluster it is.
        path: the cluster's file.
        token: the cluster's secret, for new machines.
        address: where the head listens.

    Raises:
        DocumentError: the file has faults.
    """

    def __init__(self, head: "Head", path: str, token: str, address: str) -> None:
        file = read_cluster_file(path)
        start = file.worker_start(token, address)
        self._loop = ScalingLoop(file.scaling(), file.provider(), start, HeadPort(head))
        head.scaling = self._lines
        self._loop.start()

    def _lines(self) -> list[str]:
        problem = [f"the provider cannot be asked: {self._loop.problem}"] if self._loop.problem else []
        return [*problem, *self._loop.summary().lines()]

    async def close(self) -> None:
        """Decide nothing more; the machines stay."""
        await self._loop.close()


def _seen(node: "Node", holds: str) -> m.NodeSeen:
    return m.NodeSeen(
        node.node_id,
        node.labels.get(INSTANCE_LABEL, ""),
        ResourceSet.of_units(node.total),
        dict(node.available),
        {kind: dict(units) for kind, units in node.free.items()},
        node.labels,
        holds,
        node.draining,
        HEAD_RESOURCE in node.total,
    )
