"""An autoscaler on a bench: events by hand, and a clock."""

from limelight.cluster.autoscaler import message as m
from limelight.cluster.autoscaler.config import ScalingConfig
from limelight.cluster.autoscaler.machine import Autoscaler
from limelight.cluster.provider.instance import Instance, NodeType
from limelight.cluster.scheduling.resources import ResourceSet

ONE_CPU = ResourceSet.parse({"CPU": 1})
GPU = ResourceSet.parse({"GPU": 1})


def node_types(**bounds):
    types = {
        "cpu": NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 4}), max_workers=10),
        "gpu": NodeType(name="gpu", resources=ResourceSet.parse({"CPU": 8, "GPU": 2}), max_workers=4),
    }
    for name, (least, most) in bounds.items():
        types[name] = NodeType(
            name=name,
            resources=types[name].resources if name in types else ONE_CPU,
            min_workers=least,
            max_workers=most,
        )
    return types


class Bench:
    """An autoscaler, and a clock; collects what it says."""

    def __init__(self, incarnation="a", listed=(), **options):
        options.setdefault("node_types", node_types())
        options.setdefault("max_workers", 12)
        self.config = ScalingConfig(idle_timeout=60, **options)
        self.autoscaler = Autoscaler(self.config, incarnation, lambda: 1.0)
        self.now = 100.0
        self.instances = {}
        if listed is not None:
            self.tell(m.InstancesListed(tuple(listed), self.now))

    def tell(self, event):
        return self.autoscaler.handle(event, self.now)

    def decide(self, after=1.0, wants=None, **load):
        self.now += after
        if wants is not None or load:
            self.tell(m.LoadSeen(tuple(m.Want(shape, count) for shape, count in wants or ()), **load))
        return self.tell(m.Decide())

    def list(self, *instances, asked_at=None):
        return self.tell(m.InstancesListed(instances, self.now if asked_at is None else asked_at))

    def join(self, name, node_type="cpu", **state):
        kind = (node_types() | self.config.node_types)[node_type]
        total = kind.resources
        free = {"GPU": {0: 10_000, 1: 10_000}} if total.get("GPU") else {}
        labels = kind.node_labels(name)
        state = {"available": total.units(), "free": free, "labels": labels, **state}
        return self.tell(m.NodeSeen(f"node-of-{name}", name, total, **state))


def instance(name, node_type="cpu", state="running", **about):
    return Instance(name, f"id-of-{name}", node_type, state, **about)


def running(bench, node_type="cpu", name="w1", **state):
    """An instance whose node has joined."""
    bench.list(*[one.instance for one in bench.autoscaler.fleet.machines.values() if one.instance],
               instance(name, node_type))  # fmt: skip
    bench.join(name, node_type, **state)
