"""How the tasks of one scheduling class get workers: demand, leases, adaptive pipelining, recall.

Free of I/O and clocks: everything it wants done goes through a `LeasePort`, and time comes in as an argument. The
tests drive it with a simulated port.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence

from ..contract import LeaseSpec
from .burst import Burst
from .declaration import Declaration
from .lease import Lease, LeaseLoads
from .lease_port import LeasePort
from .task_choice import LOOKED_AT, TaskChoice
from .task_record import TaskRecord
from .worker_link import Push

SHORT_S = 0.001
"""Tasks that take less than this on average are queued at the workers; longer ones go out one by one."""

QUEUED_S = 0.004
"""As much work as a worker may have queued: enough to hide a round trip, too little to matter when it must move."""

MAX_DEPTH = 1024
STUCK_S = 0.01
"""When nothing came back from a worker with queued tasks for this long, what has not started is recalled."""

IDLE_S = 0.25
"""An unused lease is kept this long, for the task that follows on the last one's result."""

FULL_S = 0.005
"""A worker whose channel is full is looked at again after this long."""

_SMOOTHING = 0.2
_TICK_S = 0.001


class LeaseClass:
    """The queue and the leases of one scheduling class in one caller.

    There may be thousands of leases, and something happens to one of them thousands of times a second: nothing here
    looks at more of them than it does something with.

    Attributes:
        scattered: there may be leases, or large arguments, on several nodes, so that it matters which task goes where.
        burst: how its tasks are shared among nodes, where they are to be spread.
        keeps: a lease that falls idle is kept for a moment; else where the next task goes is decided anew.
        held: how many leases there are, by node process.
        moved: node processes of which there are more, or fewer, leases than when demand was last divided among them.
    """

    def __init__(self, key: int, spec: LeaseSpec, port: LeasePort) -> None:
        self.key = key
        self.spec = spec
        self.scattered = False
        self.keeps = True
        self.burst: Burst | None = None
        self.choice = TaskChoice(port)
        self.leases: dict[str, Lease] = {}
        self.held: dict[str, int] = {}
        self.queue: deque[TaskRecord] = deque()
        self.moved: dict[str, None] = {}
        self._loads = LeaseLoads()  # those that may take tasks: not reclaimed, not stuck
        self._idle = self._loads.idle
        self._lighter: list[Lease] = []  # have fewer tasks than `_loads` knows of
        self._unused: list[Lease] = []  # reclaimed, and empty
        self._in_flight = 0
        self._working: OrderedDict[str, Lease] = OrderedDict()  # with tasks, not stuck; by `seen`, nearly
        self._stuck = 0
        self._crowded: dict[str, Lease] = {}  # stuck, with tasks behind the one that takes long
        self._in_flight_stuck = 0
        self._queued = False  # tasks were left in the queue when it was last looked at
        self._withdrawn: set[TaskRecord] = set()
        self._port = port
        self._average: float | None = None
        self._declaration = Declaration()
        self._wake_at: float | None = None

    def spread(self) -> None:
        """Have the tasks of a burst go to all nodes with room, and each that comes alone be placed anew."""
        self.keeps = False
        self.burst = self.choice.burst = Burst()

    @property
    def declared(self) -> int:
        """How many workers the node managers were last told that it could use."""
        return self._declaration.count

    # --- events ---

    def submit(self, task: TaskRecord) -> None:
        """Queue a task. Call `dispatch` once after a burst of these."""
        self.queue.append(task)

    def granted(self, lease: Lease, now: float) -> None:
        """The node manager granted a lease."""
        self._remove(lease.lease_id)
        self.leases[lease.lease_id] = lease
        self.held[lease.node] = self.held.get(lease.node, 0) + 1
        self.moved[lease.node] = None
        self._loads.put(lease)
        self.choice.granted(self.queue, lease, now)
        self.dispatch(now)

    def reclaim(self, lease_id: str, now: float) -> None:
        """The node manager wants a lease back."""
        lease = self.leases.get(lease_id)
        if lease is not None:
            self.take_back(lease)
            self._recall(lease)
            self.dispatch(now)

    def take_back(self, lease: Lease) -> None:
        """Use a lease no more, and return it when it is empty. Call `dispatch` afterwards."""
        if not lease.reclaimed and lease.lease_id in self.leases:
            self._loads.take(lease)
            if not lease.in_flight:
                self._unused.append(lease)
        lease.reclaimed = True

    def answered(self, lease: Lease, task: TaskRecord, seconds: float, now: float) -> None:
        """A task ended on a worker after that many seconds. Call `dispatch` after a burst of these."""
        lease.progressed = now
        self._landed(lease, task)
        if lease.stuck:
            self._set_stuck(lease, False)
        average = self._average
        self._average = seconds if average is None else average + _SMOOTHING * (seconds - average)

    def spent(self, lease: Lease) -> None:
        """A worker has done all it is to do: give it back. Call `dispatch` afterwards."""
        lease.spent = True
        self.take_back(lease)
        self._recall(lease)

    def returned(self, lease: Lease, task: TaskRecord) -> None:
        """A worker gave back a task that it had not started."""
        self._landed(lease, task)
        lease.recalling = False
        self.queue.appendleft(task)

    def lost(self, lease_id: str, now: float) -> list[TaskRecord]:
        """A lease's worker is gone; returns the tasks that were with it, oldest first.

        Which of several tasks brought it down cannot be told, so each of them runs alone from now on: the next death
        then counts against the right one.
        """
        lease = self._remove(lease_id)
        if lease is None:
            return []
        tasks = list(lease.in_flight.values())
        if len(tasks) > 1:
            for task in tasks:
                task.alone = True
        self._in_flight -= len(tasks)
        lease.in_flight.clear()
        # The caller knows best whether the tasks run again; until it has said so they count as work.
        self._declare(tasks)
        self._port.give_back(lease, worker_ok=False)
        self.dispatch(now, tasks)
        return tasks

    def refused(self) -> list[TaskRecord]:
        """No worker can ever be had as things are; returns the tasks that wait for one.

        The node manager has dropped the demand. So it must hear of any that is left, or comes, even if the number is
        the same: a task that is still with a worker which has just died will be back in the queue soon.
        """
        self._declaration.drop()
        tasks = list(self.queue)
        self.queue.clear()
        return tasks

    def abandon(self) -> list[TaskRecord]:
        """The node manager is gone: forget all leases; returns the tasks that were there."""
        tasks = [task for lease in self.leases.values() for task in lease.in_flight.values()]
        tasks += self.queue
        self.queue.clear()
        for gone in (self.leases, self.held, self._loads, self._lighter, self._unused, self._working, self._crowded):
            gone.clear()
        self._in_flight = self._in_flight_stuck = self._stuck = 0
        return tasks

    def withdraw(self, task: TaskRecord) -> None:
        """Take a task that has not been sent off the queue (it was cancelled). Call `dispatch` after a burst of these.

        Nothing where it is not there. All of a burst are found in one pass over the queue.
        """
        self._withdrawn.add(task)

    def _sweep(self) -> None:
        withdrawn, self._withdrawn = self._withdrawn, set()
        self.queue = deque(task for task in self.queue if task not in withdrawn)

    def tick(self, now: float, due: float) -> None:
        """Look after leases that are stuck or idle.

        Args:
            now: the time.
            due: the time that `LeasePort.wake_at` was given. An earlier one may have been asked for since: then this
                one has no effect, so that there is never more than one that has.
        """
        if due != self._wake_at:
            return
        self._wake_at = None
        self._look_for_stuck(now)
        while self._idle and not self.queue:
            lease = next(iter(self._idle.values()))
            if now - lease.progressed < IDLE_S:
                break
            self.take_back(lease)
        for lease in list(self._crowded.values()):
            if not lease.recalling:
                # What is taking long is long: do not queue behind its like until they have shown to be short again.
                self._average = max(self._average or 0.0, now - lease.progressed)
                self._recall(lease)
        self.dispatch(now)

    # --- decisions ---

    def dispatch(self, now: float, lost: Sequence[TaskRecord] = ()) -> None:
        """Send what can be sent, and bring demand and timer up to date."""
        if self._withdrawn:
            self._sweep()
        if self.queue and not self._queued:
            self._look_for_stuck(now)
        if self.burst is not None and self.queue:
            self._share(self.burst, now, lost)
        full = self._fill(now) if self.queue else False
        self._queued = bool(self.queue)
        if not self.keeps and self._idle and not self.queue:
            for lease in list(self._idle.values()):
                self.take_back(lease)
        unused, self._unused = self._unused, []
        unused = [lease for lease in unused if self._remove(lease.lease_id) is not None]
        # Demand goes down before the leases go back, or they would be granted again at once.
        if unused and self.queue and not self.keeps:
            self._declaration.drop()  # as many as before, but elsewhere
        self._declare(lost)
        for lease in unused:
            self._port.give_back(lease, worker_ok=not lease.spent)
        self._arm(now, full)

    def _remove(self, lease_id: str) -> Lease | None:
        lease = self.leases.pop(lease_id, None)
        if lease is not None:
            self.held[lease.node] -= 1
            if not self.held[lease.node]:
                del self.held[lease.node]
            self.moved[lease.node] = None
            if lease.stuck:
                self._set_stuck(lease, False)
            self._working.pop(lease_id, None)
            self._loads.take(lease)
        return lease

    def _landed(self, lease: Lease, task: TaskRecord) -> None:
        """A task is with a worker no more."""
        in_flight = lease.in_flight
        if in_flight.pop(task.task_id, None) is None:
            return
        self._in_flight -= 1
        if lease.stuck:
            self._in_flight_stuck -= 1
            if len(in_flight) <= 1:
                self._crowded.pop(lease.lease_id, None)
        if lease.lease_id not in self.leases:
            return
        if not in_flight:
            self._emptied(lease)
        elif not lease.lighter:
            lease.lighter = True
            self._lighter.append(lease)

    def _emptied(self, lease: Lease) -> None:
        if lease.stuck:
            self._set_stuck(lease, False)
        self._working.pop(lease.lease_id, None)
        if lease.reclaimed:
            self._unused.append(lease)
        elif not (self.keeps or self._queued) and len(self.queue) <= len(self.leases):  # few are placed anew, too
            self.take_back(lease)
        elif not lease.stuck:
            self._loads.put(lease)

    def _set_stuck(self, lease: Lease, stuck: bool) -> None:
        lease.stuck = stuck
        change = 1 if stuck else -1
        self._stuck += change
        self._in_flight_stuck += change * len(lease.in_flight)
        if stuck:
            self._working.pop(lease.lease_id, None)
            self._loads.take(lease)
            if len(lease.in_flight) > 1:
                self._crowded[lease.lease_id] = lease
            return
        self._crowded.pop(lease.lease_id, None)
        if lease.in_flight:
            self._works(lease)
        if not lease.reclaimed and lease.lease_id in self.leases:
            self._loads.put(lease)

    def _look_for_stuck(self, now: float) -> None:
        while self._working:
            lease = next(iter(self._working.values()))
            if now - lease.progressed >= STUCK_S:
                self._set_stuck(lease, True)
            elif lease.progressed > lease.seen:
                lease.seen = lease.progressed
                self._working.move_to_end(lease.lease_id)
            else:
                break

    def _works(self, lease: Lease) -> None:
        """A lease without tasks got some, or one that was stuck goes on."""
        lease.seen = lease.progressed
        self._working[lease.lease_id] = lease

    def depth(self) -> int:
        """How many tasks a worker may have at once."""
        if self._average is None or self._average >= SHORT_S:
            return 1
        return min(MAX_DEPTH, max(2, int(QUEUED_S / max(self._average, 1e-7))))

    def _share(self, burst: Burst, now: float, lost: Sequence[TaskRecord]) -> None:
        if not (self._queued or self._working):
            burst.begin()
        if burst.over or not self.scattered:
            return
        self._declare(lost)  # first, or a lease that is there would have what none was asked for yet
        if self.leases:
            burst.look(self._port.coming(self), self.held, len(self.queue), now)

    def _fill(self, now: float) -> bool:
        """Send what the leases take; whether there is one that would take more, were its channel not full."""
        queue, loads = self.queue, self._loads
        self._weigh()
        self.choice.holding = False
        limit = self._limit()
        full = False
        passed: list[Lease] = []  # nothing is queued behind what is taking long, however short others are
        for load in loads.below(limit):
            while queue and (lease := self._pick(load)) is not None:
                if not load:
                    lease.progressed = now
                    full = self._fill_one(lease, limit, now) or full
                    if lease.in_flight:
                        self._works(lease)
                elif not lease.recalling:
                    full = self._fill_one(lease, limit, now) or full
                if len(lease.in_flight) == load:
                    passed.append(lease)
                    if self.choice.holding and len(passed) == LOOKED_AT:
                        break
                else:
                    loads.put(lease)
        for lease in passed:
            loads.put(lease)
        if not queue:
            self.choice.until = None
        return full

    def _limit(self) -> int:
        """How many tasks a lease may have now."""
        limit = 1 if self.queue[0].alone else self.depth()
        if limit > 1:
            # An even share each: the last lease must not find an empty queue because the first took it all.
            waiting = len(self.queue) + self._in_flight - self._in_flight_stuck
            limit = min(limit, -(-waiting // max(1, len(self.leases) - self._stuck)))
        return limit

    def _pick(self, load: int) -> Lease | None:
        """Take out a lease with so many tasks: the newest, or one that suits the next task where that matters."""
        lease = self.choice.lease(self.queue, self._idle) if self.scattered and not load else None
        if lease is None:
            return self._loads.pop(load)
        self._loads.take(lease)
        return lease

    def _weigh(self) -> None:
        """Have `_loads` know of the tasks that ended since it was last asked."""
        for lease in self._lighter:
            lease.lighter = False
            if lease.load >= 0:
                self._loads.put(lease)
        self._lighter.clear()

    def _fill_one(self, lease: Lease, limit: int, now: float) -> bool:
        """Send what one lease takes up to `limit`; whether it would take more, were its channel not full."""
        queue, in_flight = self.queue, lease.in_flight
        while queue and len(in_flight) < limit:
            task = self.choice.task(queue, lease, now) if self.scattered else queue[0]
            if task is None:
                break
            if in_flight and (task.alone or next(iter(in_flight.values())).alone):
                break
            pushed = self._port.push(lease, task)
            if pushed is Push.LATER:
                if self.scattered:
                    self.choice.untaken(lease)
                return True
            queue.popleft()
            if pushed is Push.SENT:
                in_flight[task.task_id] = task
                self._in_flight += 1
        return False

    def _recall(self, lease: Lease) -> None:
        behind = list(lease.in_flight.values())[1:]
        if behind:
            lease.recalling = True
            self._port.recall(lease, behind)

    def _declare(self, lost: Sequence[TaskRecord] = ()) -> None:
        # Nothing can be queued where a task is stuck: what waits needs other workers, however short it is.
        busy, held, queued = self._stuck, len(self.leases), len(self.queue)
        work = queued + len(lost) + self._in_flight - self._in_flight_stuck
        depth = 1 if queued and self.queue[0].alone else self.depth()
        if self.burst is not None:  # however short its tasks are, each is asked a place for
            busy, work, depth = busy + len(self._working), queued + len(lost), 1
        if self.choice.holding:  # what is free does not count
            busy, work = held, queued
        declaration = self._declaration
        if declaration.change(busy, -(-work // depth), held, waits=queued > 0):
            self._port.demand(self, declaration.count)

    def _arm(self, now: float, full: bool) -> None:
        """See that `tick` comes when there may be something for it to do, or sooner."""
        times = [now + FULL_S] if full else []
        if self.choice.holding:
            times.append(self.choice.held_until)
        if self._working and (self.queue or self._in_flight > len(self.leases) - len(self._idle)):
            # A worker may turn out to be stuck: then what waits behind it moves, or asks for another.
            times.append(next(iter(self._working.values())).seen + STUCK_S)
        if self._idle and not self.queue:
            times.append(next(iter(self._idle.values())).progressed + IDLE_S)
        if times and (self._wake_at is None or min(times) < self._wake_at - _TICK_S):
            self._wake_at = max(min(times), now + _TICK_S)
            self._port.wake_at(self, self._wake_at)
