"""One lease, and the leases of a class by how much each has to do. Free of I/O and clocks."""

from .task_record import TaskRecord


class Lease:
    """A worker that is this process's to use.

    Attributes:
        node: process id of the node manager that granted it.
        in_flight: tasks sent and not answered, oldest first.
        reclaimed: the node manager wants it back as soon as it is empty.
        spent: its worker is not to be used any more, by anybody.
        progressed: when it was granted, or last answered (seconds).
        stuck: nothing had come back for `STUCK_S` when that was last looked at.
        load: where `LeaseLoads` has it; -1: it is not there.
        lighter: tasks have ended since it was put there, which is looked at when there is something to send.
        seen: `progressed`, when that was last looked at.
    """

    __slots__ = (
        "in_flight",
        "lease_id",
        "lighter",
        "link",
        "load",
        "node",
        "progressed",
        "recalling",
        "reclaimed",
        "seen",
        "spent",
        "stuck",
    )

    def __init__(self, lease_id: str, node: str, link: object, now: float) -> None:
        self.lease_id = lease_id
        self.node = node
        self.link = link
        self.in_flight: dict[bytes, TaskRecord] = {}
        self.reclaimed = False
        self.spent = False
        self.recalling = False
        self.progressed = now
        self.stuck = False
        self.load = -1
        self.lighter = False
        self.seen = now


class LeaseLoads:
    """Leases that take tasks, by how many each has: those with the fewest are found at once, however many there are.

    Attributes:
        idle: those with nothing to do, longest first.
    """

    def __init__(self) -> None:
        self.idle: dict[str, Lease] = {}
        self._levels: dict[int, dict[str, Lease]] = {0: self.idle}

    def put(self, lease: Lease) -> None:
        """Put a lease where it belongs now."""
        load = len(lease.in_flight)
        if load != lease.load:
            if lease.load >= 0:
                self.take(lease)
            level = self._levels.get(load)
            if level is None:
                level = self._levels[load] = {}
            level[lease.lease_id] = lease
            lease.load = load

    def take(self, lease: Lease) -> None:
        """Take a lease out. No effect where it is not in."""
        if lease.load >= 0:
            level = self._levels[lease.load]
            del level[lease.lease_id]
            if not level and lease.load:
                del self._levels[lease.load]
            lease.load = -1

    def pop(self, load: int) -> Lease | None:
        """Take out the newest lease with so many tasks."""
        level = self._levels.get(load)
        if not level:
            return None
        _, lease = level.popitem()
        if not level and load:
            del self._levels[load]
        lease.load = -1
        return lease

    def below(self, load: int) -> list[int]:
        """The numbers of tasks, fewer than `load`, that leases have; fewest first."""
        return [0] if load == 1 else sorted(level for level in self._levels if level < load)

    def clear(self) -> None:
        """Take all out."""
        self._levels = {0: self.idle}
        self.idle.clear()
