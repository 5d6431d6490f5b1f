"""What nodes' reports cost the head: `python -m tests.sim.reports` prints it, with a bound on them and without.

On every node something begins or ends fifty times a second. `test_reports.py` asserts the bound, of fewer nodes.
"""

import argparse
import sys
from random import Random

import msgspec

from limelight.cluster.cluster_message import FromNode
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.cluster_view import ClusterView
from limelight.cluster.scheduling.report_budget import BUDGET, ReportBudget
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.scheduler import Scheduler
from limelight.cluster.scheduling.strategy import LeaseSpec

from .cluster import SimCluster
from .meter import Meter

CHANGE_S = 0.02
ONE = LeaseSpec(ResourceSet.parse({"CPU": 1}))
_decoder = msgspec.msgpack.Decoder(FromNode)


class BusyCluster(SimCluster):
    """Nodes that always have something to report, while they are `busy`."""

    def __init__(self, nodes: int, budget: float = BUDGET, meter: Meter | None = None) -> None:
        super().__init__(1, meter=meter)
        self.budget = ReportBudget(budget)
        self.scheduler = Scheduler(ClusterView(Random(1)), reports=self.budget)
        self.busy: set[str] = set()
        self.reports: list[tuple[float, str]] = []
        for i in range(nodes):
            self.add_node(f"n{i}", {"CPU": 4, "memory": 64 << 30})

    def keep_busy(self, nodes: list[str]) -> None:
        self.busy.update(nodes)
        for node_id in nodes:
            self.world.after(CHANGE_S * self.world.random.random(), self._change, node_id, 0)

    def _change(self, node_id: str, turn: int) -> None:
        if node_id not in self.busy:
            return
        request = f"{node_id}-{turn // 2}"
        event = m.ReleaseWorker(request) if turn % 2 else m.RequestWorker(request, ONE)
        self._node_event(node_id, event)
        self.world.after(CHANGE_S, self._change, node_id, turn + 1)

    def run_for(self, seconds: float) -> None:
        self.world.run(lambda: False, self.world.now + seconds)

    def rate(self, seconds: float) -> float:
        """Reports a second, in the last so many."""
        return sum(at > self.world.now - seconds for at, _ in self.reports) / seconds

    def _head_event(self, event) -> None:
        if isinstance(event, m.NodeReport):
            self.reports.append((self.world.now, event.node_id))
            if self.meter is not None:  # what comes is bytes
                body = msgspec.msgpack.encode(FromNode(event.node_id.encode(), event))
                event = self.run("decode", _decoder.decode, body).command
        super()._head_event(event)


def main() -> None:
    """Print what a second costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=2000)
    parser.add_argument("--settle", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    for name, budget in (("without a bound", float("inf")), ("with the bound", BUDGET)):
        cluster = BusyCluster(chosen.nodes, budget, Meter(every=10**9))
        cluster.keep_busy(list(cluster.nodes))
        cluster.run_for(chosen.settle)
        before = _seconds(cluster.meter)
        cluster.run_for(chosen.seconds)
        spent = (_seconds(cluster.meter) - before) / chosen.seconds
        sys.stdout.write(
            f"{chosen.nodes:,} busy nodes {name}: {cluster.rate(chosen.seconds):,.0f} reports/s (factor "
            f"{cluster.budget.factor}), {spent:.3f} CPU seconds a second for decoding and deciding\n"
        )
        cluster.meter.costs()


def _seconds(meter: Meter) -> float:
    return sum(meter.seconds(part) for part in ("decode", "scheduler"))


if __name__ == "__main__":
    main()
