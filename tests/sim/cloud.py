"""A simulated cloud, with nodes on its machines and work for them; the real autoscaler decides.

The cloud loses answers, answers late, fails in every way clouds do, and keeps books of what it was made to do.
"""

import time
from collections import Counter
from collections.abc import Callable

import msgspec

from limelight.cluster.autoscaler import message as m
from limelight.cluster.autoscaler.config import ScalingConfig
from limelight.cluster.autoscaler.machine import Autoscaler
from limelight.cluster.provider.instance import Instance
from limelight.cluster.scheduling.resources import ResourceSet

from .world import Faults, World


class Weather(msgspec.Struct, frozen=True):
    """Probabilities, per instance or request: an answer is lost; a request is refused; an instance goes wrong."""

    lost: float = 0.0
    refused: float = 0.0
    errored: float = 0.0
    mute: float = 0.0
    boot: float = 40.0


class SimNode:
    """A node of the cluster, on an instance."""

    def __init__(self, instance: Instance, total: ResourceSet, labels: dict[str, str]) -> None:
        self.instance, self.total, self.labels = instance, total, labels
        self.available = total.units()
        self.tasks = 0
        self.draining = False

    def seen(self) -> m.NodeSeen:
        holds = f"{self.tasks} tasks" if self.tasks else ""
        free = {}
        if gpus := self.total.get("GPU"):
            used = gpus - self.available["GPU"]
            free = {"GPU": {i: max(0, min(10_000, 10_000 * (i + 1) - used)) for i in range(gpus // 10_000)}}
        name = self.instance.name
        return m.NodeSeen(name, name, self.total, dict(self.available), free, self.labels, holds, self.draining)


class Cloud:
    """Owns the machine, the instances and the nodes.

    Attributes:
        made: how often each name was made; more than once is a fault.
        most: the most instances there were at a time, by type.
        spent: CPU seconds that the autoscaler's decisions took, and how many there were.
    """

    def __init__(self, seed: int, config: ScalingConfig, weather: Weather | None = None) -> None:
        self.world = World(seed, Faults())
        self.weather = weather or Weather()
        self.config = config
        self.incarnation = 0
        self.instances: dict[str, Instance] = {}
        self.nodes: dict[str, SimNode] = {}
        self.queue: Counter[ResourceSet] = Counter()
        self.seconds: dict[ResourceSet, float] = {}
        self.made: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.finished = 0
        self.spent = 0.0
        self.decisions = 0
        self.violations: list[str] = []
        self.start()
        self.world.after(0.0, self._tick)

    def start(self) -> None:
        """A new autoscaler, as after a restart of the head: it is told of the nodes again."""
        self.incarnation += 1
        self.autoscaler = Autoscaler(self.config, f"r{self.incarnation}", self.world.random.random)
        for node in self.nodes.values():
            self._tell(node.seen())

    def submit(self, amounts: dict[str, float], count: int, seconds: float = 10.0) -> None:
        shape = ResourceSet.parse(amounts)
        self.queue[shape] += count
        self.seconds[shape] = seconds
        self._schedule()

    def run(self, until: Callable[[], bool], within: float) -> float:
        """Seconds until the condition holds."""
        began = self.world.now
        deadline = began + within
        while not until():
            assert self.world.now < deadline, self.describe()
            self.world.run(lambda: False, min(deadline, self.world.now + 1.0))
        return self.world.now - began

    def describe(self) -> str:
        stages = {name: dict(counts) for name, counts in self.autoscaler.fleet.counts.items()}
        news = self.autoscaler.news[-5:]
        return f"{self.world.now:.0f} s: {stages}, waiting {dict(self.queue)}, {self.autoscaler.unmet}, {news}"

    def calm(self) -> None:
        self.weather = Weather()

    # the head

    def _tick(self) -> None:
        self._tell(m.LoadSeen(tuple(m.Want(shape, count) for shape, count in self.queue.items() if count)))
        self._tell(m.Decide(), timed=True)
        if int(self.world.now) % 5 == 0:
            self._list()
        self.world.after(1.0, self._tick)

    def _tell(self, event: m.Event, *, timed: bool = False) -> None:
        began = time.thread_time()
        commands = self.autoscaler.handle(event, self.world.now)
        if timed:
            self.spent += time.thread_time() - began
            self.decisions += 1
        for command in commands:
            match command:
                case m.Launch():
                    self.world.after(self.world.random.random(), self._create, command)
                case m.DrainNode():
                    self.world.after(0.1, self._drain, command.node_id)
                case m.Terminate():
                    self.world.after(self.world.random.random(), self._terminate, list(command.names.values()))

    def _drain(self, node_id: str) -> None:
        node = self.nodes.get(node_id)
        if node is not None and not node.tasks:
            node.draining = True
            self._tell(node.seen())

    def _schedule(self) -> None:
        """First fit; each task holds its resources for its time."""
        for shape in [shape for shape, count in self.queue.items() if count]:
            for node in self.nodes.values():
                changed = False
                while self.queue[shape] and not node.draining and shape.fits(node.available):
                    self.queue[shape] -= 1
                    for kind, units in shape.amounts:
                        node.available[kind] -= units
                    node.tasks += 1
                    changed = True
                    self.world.after(self.seconds[shape] * (0.5 + self.world.random.random()), self._done, node, shape)
                if changed:
                    self._tell(node.seen())
                if not self.queue[shape]:
                    break

    def _done(self, node: SimNode, shape: ResourceSet) -> None:
        for kind, units in shape.amounts:
            node.available[kind] += units
        node.tasks -= 1
        self.finished += 1
        if self.nodes.get(node.instance.name) is node:
            self._tell(node.seen())
            self._schedule()

    # the provider

    def _list(self) -> None:
        asked_at = self.world.now
        listed = tuple(self.instances.values())
        if self.world.random.random() >= self.weather.lost:
            self.world.after(self.world.random.random(), lambda: self._tell(m.InstancesListed(listed, asked_at)))

    def _create(self, launch: m.Launch) -> None:
        weather, random = self.weather, self.world.random
        error = "quota exceeded" if random.random() < weather.refused else ""
        wanted = launch.names[: len(launch.names) // 2] if error else launch.names
        for name in wanted:
            if name not in self.made:
                self.made[name] += 1
                self.instances[name] = Instance(name, f"id-{name}", launch.node_type, "starting")
                self.world.after(weather.boot * (0.5 + random.random()), self._boot, name)
        alive = Counter(one.node_type for one in self.instances.values())
        self.most = Counter({kind: max(alive[kind], self.most[kind]) for kind in alive | self.most})
        self.most["all"] = max(self.most["all"], len(self.instances))
        if random.random() >= weather.lost:
            made = tuple(self.instances[name] for name in launch.names if name in self.instances)
            answer = m.LaunchAnswered(launch.request_id, made, error)
            self.world.after(random.random(), self._tell, answer)
            if random.random() < weather.lost:
                self.world.after(20 * random.random(), self._tell, answer)

    def _boot(self, name: str) -> None:
        if name not in self.instances:
            return
        random = self.world.random
        if random.random() < self.weather.errored:
            self.instances[name] = msgspec.structs.replace(self.instances[name], state="failed", text="no valid host")
            return
        self.instances[name] = msgspec.structs.replace(self.instances[name], state="running")
        if random.random() >= self.weather.mute:
            node_type = self.config.node_types[self.instances[name].node_type]
            node = self.nodes[name] = SimNode(self.instances[name], node_type.resources, node_type.node_labels(name))
            self._tell(node.seen())
            self._schedule()

    def _terminate(self, names: list[str]) -> None:
        if self.world.random.random() < self.weather.lost:
            return
        for name in names:
            node = self.nodes.pop(name, None)
            if node is not None and (node.tasks or not node.draining):
                self.violations.append(f"{name} was ended with {node.tasks} tasks, draining={node.draining}")
            self.instances.pop(name, None)
            if node is not None:
                self._tell(m.NodeGone(name))
