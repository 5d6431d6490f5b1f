"""The whole head in a simulated cluster: actors and placement groups beside tasks."""

from limelight.cluster.scheduling import actor_table as a
from limelight.cluster.scheduling import group_table as g
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling import scheduler as s
from limelight.cluster.scheduling.actor_directory import ActorDirectory
from limelight.cluster.scheduling.placement_group import PlacementGroups
from limelight.transport.address import ProcessAddress

from .cluster import HEAD, LOSS_NOTICED, SimCluster

ACTORS, GROUPS = "actors", "groups"
CONSTRUCTION_S = 0.005


class WholeCluster(SimCluster):
    """A `SimCluster` with the actor directory and the placement groups, wired as the head wires them."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.directory = ActorDirectory(self.scheduler)
        self.groups = PlacementGroups(self.scheduler.view)

    def actors(self, event: a.ActorEvent) -> None:
        for command in self.run("actor directory", self.directory.handle, event, self.world.now):
            match command:
                case a.ToLeaseMachine():
                    self.to_node(HEAD, command.node_id, command.event)
                case a.CreateActor():
                    address = ProcessAddress(command.worker_id, "host")
                    created = a.ActorCreated(command.actor_id, command.incarnation, address)
                    self.world.after(CONSTRUCTION_S, self._constructed, command.node_id, created)
                case _:
                    pass
        self._wake(ACTORS, self.directory.wake_at())

    def form(self, event: g.GroupEvent) -> None:
        for command in self.run("placement groups", self.groups.handle, event, self.world.now):
            if isinstance(command, g.GroupToNode):
                self.to_node(HEAD, command.node_id, command.event)
        self._wake(GROUPS, self.groups.wake_at())

    def states(self) -> dict[str, int]:
        """How many actors there are, by state."""
        counts: dict[str, int] = {}
        for record in self.directory.table.actors.values():
            counts[record.state] = counts.get(record.state, 0) + 1
        return counts

    def kill_node(self, node_id: str) -> None:
        super().kill_node(node_id)
        self.world.after(LOSS_NOTICED, self.actors, a.ActorNodeLost(node_id, "killed by the test"))
        self.world.after(LOSS_NOTICED, self.form, g.GroupNodeLost(node_id))

    def _constructed(self, node_id: str, created: a.ActorCreated) -> None:
        if node_id in self.nodes:
            self.actors(created)

    def _carry_out(self, node_id: str, command: m.LeaseCommand) -> None:
        match command:
            case m.WorkerGranted() | m.WorkerRefused() | m.RequestedWorkerLost() | m.WorkersHeld():
                self.world.send(node_id, HEAD, self.actors, a.FromNode(node_id, command), once=True)
            case m.Reserved():
                self.world.send(node_id, HEAD, self.form, g.GroupFromNode(node_id, command), once=True)
            case _:
                super()._carry_out(node_id, command)

    def _head_event(self, event: s.SchedulerEvent) -> None:
        super()._head_event(event)
        if isinstance(event, m.NodeReport):
            if self.directory.wake_at() is not None:
                self.actors(a.PlaceActors(event.node_id))
            if self.groups.wake_at() is not None:
                self.form(g.PlaceGroups())

    def _tick(self, who: str, at: float) -> None:
        if who not in (ACTORS, GROUPS):
            super()._tick(who, at)
        elif self._wakes.get(who) == at:
            del self._wakes[who]
            if who == ACTORS:
                self.actors(a.PlaceActors())
            else:
                self.form(g.PlaceGroups())
