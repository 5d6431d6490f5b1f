"""The autoscaler: a state machine that decides when machines come and go.

It is told of nodes, of what waits, and of the provider's instances, and decides at each `Decide`:

* **more**: until each type has its `min_workers`, until what `request_resources` asked for would fit into what there
  is in all, and until all that waits would fit into what is free and what is starting (`packing.py`);
* **less**: a machine whose node has had no work and no object that only it has for `idle_timeout` is drained, and ends
  once it is known to be empty and to take no more, or its node has left.

A node belongs to an instance by its label `limelight/instance`. All that is remembered beside that can be found out
again: a new autoscaler adopts the instances that it finds by listing them, and decides nothing before it has.

**What if a message is lost, late or doubled?** A request names the instances to be made, and providers make none twice:
a request without an answer is repeated as it is. An answer only adds what the next listing would show, too. A listing
that was asked for before an instance was does not say that the instance is not there.
"""

from collections.abc import Callable, Hashable

from ..provider.instance import Instance
from . import message as m
from .backoff import Backoff
from .config import ALWAYS_STARTING, ScalingConfig
from .fleet import COMING, Fleet, Machine, surplus
from .packing import Offer, Plan
from .room import Room, RoomIndex, Rooms, is_idle, room_of

MAX_GROUPS = 100
"""Placement groups that one decision looks at; the others come later, and those that had no luck last come last."""

REPEAT_DRAIN = 5.0
"""Seconds after which a node that has not begun to drain is told again, if it is idle still."""

MAX_NEWS = 100


class Autoscaler:
    """The state machine. Single-threaded.

    Args:
        config: what may be done.
        incarnation: a name that no autoscaler of this cluster had before: lower-case letters and digits.
        jitter: numbers from 0 to 1.

    Attributes:
        news: what was decided lately, and why: (time, sentence), for `cluster status`.
        unmet: what waits and cannot be helped, and why.
    """

    def __init__(self, config: ScalingConfig, incarnation: str, jitter: Callable[[], float]) -> None:
        self.config = config
        self.fleet = Fleet()
        self.backoff = Backoff(config, jitter)
        self.news: list[tuple[float, str]] = []
        self.unmet: list[str] = []
        self._incarnation = incarnation
        self._requests = 0
        self._nodes = RoomIndex()
        self._idle: dict[str, float] = {}  # node id -> since when, longest first; of nodes on instances only
        self._nodes_on: dict[str, list[str]] = {}  # the newest last: one before may not be known as lost yet
        self._load = m.LoadSeen()
        self._luckless: dict[m.PendingGroup, float] = {}  # and when nothing was found for them
        self._listed = False
        self._out: list[m.Command] = []

    def handle(self, event: m.Event, now: float) -> list[m.Command]:
        """Take in one event; returns what is to be done."""
        self._out = []
        match event:
            case m.NodeSeen():
                self._node_seen(event, now)
            case m.NodeGone():
                self._node_gone(event.node_id, now)
            case m.LoadSeen():
                self._load = event
            case m.InstancesListed():
                self._on_listed(event, now)
            case m.LaunchAnswered():
                self._on_answered(event, now)
            case m.Decide():
                if self._listed:
                    self._give_up_overdue(now)
                    self._repeat_requests(now)
                    plan = self._plan(now)
                    self._launch_planned(plan, now)
                    self._release_idle(plan, now)
        return self._out

    def change(self, config: ScalingConfig) -> None:
        """Go by another config from now on; machines of types that it does not have go when they are idle."""
        self.config = self.backoff.config = config

    def node_of(self, name: str) -> m.NodeSeen | None:
        """The node on an instance, if it has joined."""
        machine = self.fleet.machines.get(name)
        return self._nodes.nodes.get(machine.node_id) if machine is not None else None

    # --- nodes ---

    def _node_seen(self, node: m.NodeSeen, now: float) -> None:
        self._nodes.learn(node)
        if not node.instance or node.is_head:
            return
        here = self._nodes_on.setdefault(node.instance, [])
        if node.node_id not in here:
            here.append(node.node_id)
        if node.holds:
            self._idle.pop(node.node_id, None)
        else:
            self._idle.setdefault(node.node_id, now)
        machine = self.fleet.machines.get(node.instance)
        if machine is not None and machine.stage != "ending" and node.node_id == here[-1]:
            self._joined(machine, node, now)  # else it is not listed yet, or it is too late

    def _joined(self, machine: Machine, node: m.NodeSeen, now: float) -> None:
        if machine.stage not in {"joined", "draining"}:
            self.backoff.succeeded(machine.node_type)
        machine.node_id = node.node_id
        told_to_go = machine.stage == "draining" and not node.holds
        self.fleet.move(machine, "draining" if node.draining or told_to_go else "joined", now)

    def _node_gone(self, node_id: str, now: float) -> None:
        node = self._nodes.nodes.get(node_id)
        self._nodes.forget(node_id)
        self._idle.pop(node_id, None)
        here = self._nodes_on.get(node.instance, []) if node is not None else []
        if node is None or node_id not in here:
            return
        here.remove(node_id)
        if not here:
            del self._nodes_on[node.instance]
        machine = self.fleet.machines.get(node.instance)
        if machine is not None and machine.stage in {"joined", "draining"} and machine.node_id == node_id:
            if here:
                self._joined(machine, self._nodes.nodes[here[-1]], now)
                return
            was_to_go = machine.stage == "draining"
            machine.node_id = ""
            self.fleet.move(machine, "lost", now)
            if was_to_go:
                self._end(machine, f"its node {node_id[:8]} was drained and has left", now)

    # --- the provider ---

    def _on_listed(self, event: m.InstancesListed, now: float) -> None:
        self._listed = True
        there = {instance.name: instance for instance in event.instances if instance.role == "worker"}
        for instance in there.values():
            self._learn(instance, now)
        for name, machine in list(self.fleet.machines.items()):
            if name not in there and machine.answered_at is not None and event.asked_at >= machine.answered_at:
                self._vanished(machine, now)

    def _on_answered(self, event: m.LaunchAnswered, now: float) -> None:
        for instance in event.instances:
            self._learn(instance, now)
        waiting = [one for one in self.fleet.by_stage["requested"].values() if one.request_id == event.request_id]
        if waiting and event.error:
            self._note(now, f"{len(waiting)} x {waiting[0].node_type} could not be launched: {event.error}")
            self.backoff.failed(waiting[0].node_type, event.error, now)
            for machine in waiting:
                self.fleet.remove(machine)

    def _learn(self, instance: Instance, now: float) -> None:
        """The provider has this instance."""
        machine = self.fleet.machines.get(instance.name)
        if machine is None:
            if instance.state == "ending":
                return
            machine = Machine(instance.name, instance.node_type, "", now)
            self.fleet.add(machine)
        machine.instance = instance
        if machine.answered_at is None:
            machine.answered_at = now
        if machine.stage == "requested":
            self.fleet.move(machine, "starting", now)
            here = self._nodes_on.get(instance.name)
            if here is not None:
                self._joined(machine, self._nodes.nodes[here[-1]], now)
        if machine.stage == "ending":
            if instance.state != "ending" and now >= machine.sent_at + self.config.answer_timeout:
                self._terminate(machine, "it was told to end before, and has not", now)
        else:
            self._heed(machine, instance, now)

    def _heed(self, machine: Machine, instance: Instance, now: float) -> None:
        """It may be on its way out without having been told to."""
        if instance.state == "failed" and not machine.node_id:
            text = instance.text or "it failed"
            if machine.request_id and machine.stage in COMING:  # else it was found, or has served: no launch failed
                self.backoff.failed(machine.node_type, text, now)
            self._end(machine, f"it failed: {text}", now)
        elif instance.state == "ending":
            if machine.stage in COMING:
                self.backoff.failed(machine.node_type, instance.text or "it ended before it joined", now)
            self.fleet.move(machine, "ending", now)
            machine.sent_at = now

    def _vanished(self, machine: Machine, now: float) -> None:
        if machine.stage in COMING:
            text = "the provider ended it before its node joined"
            self._note(now, f"{machine.name} is gone: {text}")
            self.backoff.failed(machine.node_type, text, now)
        self.fleet.remove(machine)

    def _give_up_overdue(self, now: float) -> None:
        for stage in COMING:
            for machine in list(self.fleet.by_stage[stage].values()):
                if now < machine.since + self.config.launch_timeout:
                    break  # they are in the order in which they came to this stage
                text = f"its node has not joined within {self.config.launch_timeout:g} s"
                self.backoff.failed(machine.node_type, text, now)
                if machine.instance is not None:
                    self._end(machine, text, now)
                else:
                    self._note(now, f"{machine.name} was given up: the provider never answered")
                    self.fleet.remove(machine)  # should it come all the same, a listing will show it
        for machine in list(self.fleet.by_stage["lost"].values()):
            if now >= machine.since + self.config.rejoin_timeout:
                self._end(machine, "its node was lost and has not come back", now)

    def _repeat_requests(self, now: float) -> None:
        overdue: dict[str, list[Machine]] = {}
        for machine in self.fleet.by_stage["requested"].values():
            if now >= machine.sent_at + self.config.answer_timeout:
                overdue.setdefault(machine.request_id, []).append(machine)
        for request_id, machines in overdue.items():
            for machine in machines:
                machine.sent_at = now
            names = tuple(machine.name for machine in machines)
            self._out.append(m.Launch(request_id, machines[0].node_type, names, "the provider has not answered"))

    # --- more ---

    def _plan(self, now: float) -> Plan:
        """What there should be beside what there is."""
        config, load, fleet = self.config, self._load, self.fleet
        asked = [*load.wants, *load.floor, *(want for group in load.groups for want in group.wants())]
        self._nodes.focus((want.resources, want.selector) for want in asked)
        existing = fleet.existing()
        spare = max(0, config.max_workers - sum(existing.values()))
        offers = [
            Offer(node_type, max(0, node_type.max_workers - existing.get(name, 0)), order,
                  is_open=self.backoff.may_launch(name, now))
            for order, (name, node_type) in enumerate(config.node_types.items())
        ]  # fmt: skip
        starting = [
            room_of(config.node_types[name], "starting", count)
            for name, count in fleet.coming().items()
            if name in config.node_types
        ]
        floor = self._floor(offers, spare, starting)
        plan = Plan(Rooms([*self._nodes.free(), *starting]), offers, spare)
        for name, count in floor.launches.items():
            plan.add_machines(name, count, "; ".join(floor.reasons[name]))
        tried = self._groups_to_try()
        luckless = {group: now for group in tried if not plan.add_group(group, self._taken(plan.rooms, group))}
        self._luckless = luckless if len(load.groups) <= MAX_GROUPS else self._luckless | luckless
        plan.add_wants(load.wants, "tasks or actors wait for")
        self.unmet = [*floor.unmet, *plan.unmet]
        plan.floor_rooms = floor.rooms
        return plan

    def _groups_to_try(self) -> list[m.PendingGroup]:
        """Of more groups than one decision looks at, those that nothing was found for come last, the latest at the end.

        Else those that came first are first.
        """
        groups = list(self._load.groups)
        if len(groups) > MAX_GROUPS:
            groups.sort(key=lambda group: self._luckless.get(group, 0.0))
            self._luckless = {group: self._luckless[group] for group in groups if group in self._luckless}
        return groups[:MAX_GROUPS]

    def _floor(self, offers: list[Offer], spare: int, starting: list[Room]) -> Plan:
        """What there should be however little there is to do."""
        own = [Offer(offer.node_type, offer.spare, offer.order, is_open=offer.open) for offer in offers]
        whole = self._nodes.whole()
        copies = [room.copy(room.count) for room in starting]
        rooms = [*(r for r in whole if not is_idle(r.source)), *copies, *(r for r in whole if is_idle(r.source))]
        floor = Plan(Rooms(rooms), own, spare)
        for name, node_type in self.config.node_types.items():
            missing = node_type.min_workers - self.fleet.staying(name)
            if missing > 0:
                floor.add_machines(name, missing, f"min_workers is {node_type.min_workers}")
        if self._load.floor:
            floor.add_wants(self._load.floor, "request_resources asks for")
        return floor

    def _taken(self, rooms: Rooms, group: m.PendingGroup) -> list[Room]:
        """The rooms of the nodes that hold bundles of a group already."""
        found: list[Room] = []
        for node_id in group.taken:
            key = self._nodes.key_of(node_id)
            room = next((room for room in rooms.rooms if room.source == key and room not in found), None)
            if key is not None and room is not None:
                found.append(rooms.take(room, 1))
        return found

    def _launch_planned(self, plan: Plan, now: float) -> None:
        fleet = self.fleet
        joined = len(fleet.by_stage["joined"])
        allowed = max(ALWAYS_STARTING, int(self.config.upscaling_speed * joined)) - sum(fleet.coming().values())
        for name, wanted in plan.launches.items():
            owed = self.config.node_types[name].min_workers - fleet.staying(name)
            count = min(wanted, max(allowed, owed))
            if count <= 0:
                continue
            allowed -= count
            self._requests += 1
            request_id = f"{name}-{self._incarnation}-{self._requests}"
            names = tuple(f"{request_id}-{i}" for i in range(count))
            for one in names:
                fleet.add(Machine(one, name, request_id, now))
            reason = _first(plan.reasons[name])
            self._note(now, f"launching {count} x {name}: {reason}")
            self._out.append(m.Launch(request_id, name, names, reason))

    # --- less ---

    def _release_idle(self, plan: Plan, now: float) -> None:
        fleet, config = self.fleet, self.config
        for machine in list(fleet.by_stage["draining"].values()):
            node = self._nodes.nodes[machine.node_id]
            if node.draining and not node.holds:
                self._end(machine, f"its node {machine.node_id[:8]} is empty and takes no more work", now)
            elif not node.draining and now >= machine.drained_at + REPEAT_DRAIN:
                self._drain(machine, "it was told before", now)
        over = surplus(fleet, config.node_types, config.max_workers)
        keep = _kept(plan)
        for node_id, since in list(self._idle.items()):
            idle_for = now - since
            if idle_for < config.idle_timeout and not over:
                break  # longest first
            machine = fleet.machines.get(self._nodes.nodes[node_id].instance)
            if machine is None or machine.stage != "joined" or machine.node_id != node_id:
                continue
            name = machine.node_type
            if over.get(name, 0):
                over[name] -= 1
                self._drain(machine, "there are more of its type, or in all, than there may be (max_workers)", now)
                continue
            key = self._nodes.key_of(node_id)
            if keep.get(key, 0) > 0:
                keep[key] -= 1
                continue
            least = config.node_types[name].min_workers if name in config.node_types else 0
            if idle_for >= config.idle_timeout and fleet.staying(name) > least:
                self._drain(machine, f"it has had no work for {idle_for:.0f} s (idle_timeout)", now)

    def _drain(self, machine: Machine, reason: str, now: float) -> None:
        if machine.stage != "draining":
            self._note(now, f"draining {machine.name}: {reason}")
        machine.drained_at = now
        self.fleet.move(machine, "draining", now)
        self._out.append(m.DrainNode(machine.node_id, reason))

    def _end(self, machine: Machine, reason: str, now: float) -> None:
        self._note(now, f"ending {machine.name}: {reason}")
        self.fleet.move(machine, "ending", now)
        self._terminate(machine, reason, now)

    def _terminate(self, machine: Machine, reason: str, now: float) -> None:
        machine.sent_at = now
        if machine.instance is not None:
            self._out.append(m.Terminate({machine.instance.instance_id: machine.name}, reason))

    def _note(self, now: float, text: str) -> None:
        self.news.append((now, text))
        del self.news[:-MAX_NEWS]


def _kept(plan: Plan) -> dict[Hashable, int]:
    """How many idle nodes of each kind are counted on: for the floor, or for what waits."""
    kept: dict[Hashable, int] = {}
    for rooms in (plan.floor_rooms, plan.rooms):
        found: dict[Hashable, int] = {}
        for room in rooms.rooms:
            if room.used and is_idle(room.source):
                found[room.source] = found.get(room.source, 0) + room.count
        for key, count in found.items():
            kept[key] = max(kept.get(key, 0), count)
    return kept


def _first(reasons: list[str]) -> str:
    return reasons[0] + (f"; and {len(reasons) - 1} more" if len(reasons) > 1 else "")
