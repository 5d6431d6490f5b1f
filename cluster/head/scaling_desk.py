"""The head's autoscaler: it sees the cluster through the head's tables, and has its desk for that drain nodes."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ..autoscaler import message as m
from ..autoscaler.loop import ScalingLoop
from ..cluster_message import DrainNode
from ..launch.cluster_file import read_cluster_file
from ..launch.document import DocumentError
from ..provider.instance import INSTANCE_LABEL
from ..scheduling.labels import LabelSelector
from ..scheduling.resources import HEAD_RESOURCE, ResourceSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..launch.cluster_file import ClusterFile
    from ..scheduling.cluster_view import Node
    from .head import Head

DRAIN_S = 600.0
"""How long an idle node may take to get rid of its objects."""

LOOK_S = 2.0
"""Seconds between looks whether the cluster's file was changed."""

logger = logging.getLogger(__name__)

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

    def may_decide(self) -> bool:
        """See `ClusterPort.may_decide`: what the head decides while it is in trouble it cannot say."""
        return not self._head.trouble

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
    """On the head's loop, until `close`. A file that is changed is read again, as `cluster up` writes it anew.

    Args:
        head: whose cluster it is.
        path: the cluster's file; where it has faults, as on a machine that takes over, nothing is added or removed.
        token: the cluster's secret, for new machines.
        address: where the head listens.
    """

    def __init__(self, head: "Head", path: str, token: str, address: str) -> None:
        self._head = head
        self._path = Path(path)
        self._token = token
        self._address = address
        self._stamp: tuple[int, ...] | None = ()  # which no file has
        self._file: ClusterFile | None = None
        self._scaling: ScalingLoop | None = None
        self._trouble = ""
        head.scaling = self._lines
        self._look()

    def _look(self) -> None:
        self._timer = self._head.loop.call_later(LOOK_S, self._look)
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._trouble = self._read(read_cluster_file(self._path))
            except DocumentError as error:
                self._trouble = f"the cluster's file will not do, and what it said before counts: {error}"
            if self._trouble:
                logger.warning("%s", self._trouble)

    def _read(self, file: "ClusterFile") -> str:
        """Go by a file; returns why not."""
        start = file.worker_start(self._token, self._address)
        if self._file is None or self._scaling is None:
            self._scaling = ScalingLoop(file.scaling(), file.provider(), start, HeadPort(self._head))
            self._scaling.start()
        elif (file.name, file.settings) != (self._file.name, self._file.settings):
            return "another name or provider counts for a new head only: `cluster down` and `cluster up` make one"
        else:
            self._scaling.change(file.scaling(), start)
        self._file = file
        return ""

    def _lines(self) -> list[str]:
        problem = self._scaling.problem if self._scaling is not None else ""
        told = [self._trouble, f"the provider cannot be asked: {problem}" if problem else ""]
        return [*filter(None, told), *(self._scaling.summary().lines() if self._scaling is not None else ())]

    async def close(self) -> None:
        """Decide nothing more; the machines stay."""
        self._timer.cancel()
        if self._scaling is not None:
            await self._scaling.close()


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with a file; None where it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


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
