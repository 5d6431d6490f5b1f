"""How the tasks of one scheduling class get workers: demand, leases, adaptive pipelining, recall.

Free of I/O and clocks: everything it wants done goes through a `LeasePort`, and time comes in as an argument. The
tests drive it with a simulated port.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from ..contract import LeaseSpec
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

LOOKED_AT = 16
"""So many of the tasks that go next are looked at for one whose large arguments lie where a free worker is."""

MOST_PASSED_OVER = 64
"""So often the first in the queue may be passed over for such a one."""

_SMOOTHING = 0.2
_TICK_S = 0.001
_EXACT = 8


class Lease:
    """A worker that is this process's to use.

    Attributes:
        in_flight: tasks sent and not answered, oldest first.
        reclaimed: the node manager wants it back as soon as it is empty.
        spent: its worker is not to be used any more, by anybody.
        progressed: when it was granted, or last answered (seconds).
    """

    __slots__ = ("in_flight", "lease_id", "link", "progressed", "recalling", "reclaimed", "spent")

    def __init__(self, lease_id: str, link: object, now: float) -> None:
        self.lease_id = lease_id
        self.link = link
        self.in_flight: dict[bytes, TaskRecord] = {}
        self.reclaimed = False
        self.spent = False
        self.recalling = False
        self.progressed = now


class LeasePort(Protocol):
    """What a `LeaseClass` can have done."""

    def push(self, lease: Lease, task: TaskRecord) -> Push:
        """Send a task to a lease's worker, if that takes it now. One that is too large to be sent has ended then."""
        ...

    def is_near(self, lease: Lease, task: TaskRecord) -> bool:
        """Whether the task's large arguments lie on the lease's node, at least most of them."""
        ...

    def recall(self, lease: Lease, tasks: list[TaskRecord]) -> None:
        """Ask a worker to give back those of the tasks that it has not started."""
        ...

    def demand(self, lease_class: "LeaseClass", wanted: int) -> None:
        """Tell the node managers how many workers the class could use in all."""
        ...

    def give_back(self, lease: Lease, worker_ok: bool) -> None:
        """Return a lease."""
        ...

    def wake_at(self, lease_class: "LeaseClass", when: float) -> None:
        """Call `tick` at about that time."""
        ...


class LeaseClass:
    """The queue and the leases of one scheduling class in one caller.

    Attributes:
        scattered: there may be leases on several nodes, so that it matters which task goes to which.
    """

    def __init__(self, key: int, spec: LeaseSpec, port: LeasePort) -> None:
        self.key = key
        self.spec = spec
        self.scattered = False
        self._passed_over = 0
        self.leases: dict[str, Lease] = {}
        self.queue: deque[TaskRecord] = deque()
        self._withdrawn: set[TaskRecord] = set()
        self._port = port
        self._average: float | None = None
        self.declared = 0
        self._refused = False
        self._wake_at: float | None = None

    # --- events ---

    def submit(self, task: TaskRecord) -> None:
        """Queue a task. Call `dispatch` once after a burst of these."""
        self.queue.append(task)

    def granted(self, lease: Lease, now: float) -> None:
        """The node manager granted a lease."""
        self.leases[lease.lease_id] = lease
        self.dispatch(now)

    def reclaim(self, lease_id: str, now: float) -> None:
        """The node manager wants a lease back."""
        lease = self.leases.get(lease_id)
        if lease is not None:
            lease.reclaimed = True
            self._recall(lease)
            self.dispatch(now)

    def answered(self, lease: Lease, task: TaskRecord, seconds: float, now: float) -> None:
        """A task ended on a worker after that many seconds. Call `dispatch` after a burst of these."""
        lease.in_flight.pop(task.task_id, None)
        lease.progressed = now
        average = self._average
        self._average = seconds if average is None else average + _SMOOTHING * (seconds - average)

    def spent(self, lease: Lease) -> None:
        """A worker has done all it is to do: give it back. Call `dispatch` afterwards."""
        lease.spent = lease.reclaimed = True
        self._recall(lease)

    def returned(self, lease: Lease, task: TaskRecord) -> None:
        """A worker gave back a task that it had not started."""
        lease.in_flight.pop(task.task_id, None)
        lease.recalling = False
        self.queue.appendleft(task)

    def lost(self, lease_id: str, now: float) -> list[TaskRecord]:
        """A lease's worker is gone; returns the tasks that were with it, oldest first.

        Which of several tasks brought it down cannot be told, so each of them runs alone from now on: the next death
        then counts against the right one.
        """
        lease = self.leases.pop(lease_id, None)
        if lease is None:
            return []
        tasks = list(lease.in_flight.values())
        if len(tasks) > 1:
            for task in tasks:
                task.alone = True
        lease.in_flight.clear()
        # The caller knows best whether the tasks run again; until it has said so they count as work.
        self._declare(now, tasks)
        self._port.give_back(lease, worker_ok=False)
        self.dispatch(now, tasks)
        return tasks

    def refused(self) -> list[TaskRecord]:
        """No worker can ever be had as things are; returns the tasks that wait for one.

        The node manager has dropped the demand. So it must hear of any that is left, or comes, even if the number is
        the same: a task that is still with a worker which has just died will be back in the queue soon.
        """
        self._refused = True
        tasks = list(self.queue)
        self.queue.clear()
        return tasks

    def abandon(self) -> list[TaskRecord]:
        """The node manager is gone: forget all leases; returns the tasks that were there."""
        tasks = [task for lease in self.leases.values() for task in lease.in_flight.values()]
        tasks += self.queue
        self.queue.clear()
        self.leases.clear()
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
            now: the time (seconds).
            due: the time that `LeasePort.wake_at` was given. An earlier one may have been asked for since: then this
                one has no effect, so that there is never more than one that has.
        """
        if due != self._wake_at:
            return
        self._wake_at = None
        for lease in list(self.leases.values()):
            if not lease.in_flight:
                if not self.queue and now - lease.progressed >= IDLE_S:
                    lease.reclaimed = True
            elif len(lease.in_flight) > 1 and self._is_stuck(lease, now) and not lease.recalling:
                # What is taking long is long: do not queue behind its like until they have shown to be short again.
                self._average = max(self._average or 0.0, now - lease.progressed)
                self._recall(lease)
        self.dispatch(now)

    # --- decisions ---

    def dispatch(self, now: float, lost: Sequence[TaskRecord] = ()) -> None:
        """Send what can be sent, and bring demand and timer up to date."""
        if self._withdrawn:
            self._sweep()
        full = self._fill(now) if self.queue else False
        unused = [lease for lease in self.leases.values() if lease.reclaimed and not lease.in_flight]
        for lease in unused:
            del self.leases[lease.lease_id]
        # Demand goes down before the leases go back, or they would be granted again at once.
        self._declare(now, lost)
        for lease in unused:
            self._port.give_back(lease, worker_ok=not lease.spent)
        self._arm(now, full)

    def depth(self) -> int:
        """How many tasks a worker may have at once."""
        if self._average is None or self._average >= SHORT_S:
            return 1
        return min(MAX_DEPTH, max(2, int(QUEUED_S / max(self._average, 1e-7))))

    def _fill(self, now: float) -> bool:
        """Send what the leases take; whether there is one that would take more, were its channel not full."""
        queue = self.queue
        usable = [lease for lease in self.leases.values() if not lease.reclaimed]
        if not usable:
            return False
        limit = self.depth()
        if limit > 1:
            # An even share each: the last lease must not find an empty queue because the first took it all.
            waiting = len(queue) + sum(len(lease.in_flight) for lease in usable)
            limit = min(limit, -(-waiting // len(usable)))
        full = False
        for lease in usable:
            in_flight = lease.in_flight
            if not in_flight:
                lease.progressed = now
            elif self._is_stuck(lease, now) or lease.recalling:
                continue  # nothing is queued behind what is taking long, however short others are
            while queue and len(in_flight) < limit:
                task = self._favourite(lease) if self.scattered else queue[0]
                if in_flight and (task.alone or next(iter(in_flight.values())).alone):
                    break
                pushed = self._port.push(lease, task)
                if pushed is Push.LATER:
                    full = True
                    break
                queue.popleft()
                if pushed is Push.SENT:
                    in_flight[task.task_id] = task
        return full

    def _favourite(self, lease: Lease) -> TaskRecord:
        """The first task, after one whose large arguments lie where the lease is was put first, if any goes soon."""
        if self._passed_over < MOST_PASSED_OVER:
            for index, task in enumerate(islice(self.queue, LOOKED_AT)):
                if self._port.is_near(lease, task):
                    if index:
                        self._passed_over += 1
                        del self.queue[index]
                        self.queue.appendleft(task)
                        return task
                    break
        self._passed_over = 0
        return self.queue[0]

    @staticmethod
    def _is_stuck(lease: Lease, now: float) -> bool:
        return now - lease.progressed >= STUCK_S

    def _recall(self, lease: Lease) -> None:
        behind = list(lease.in_flight.values())[1:]
        if behind:
            lease.recalling = True
            self._port.recall(lease, behind)

    def _declare(self, now: float, lost: Sequence[TaskRecord] = ()) -> None:
        work, busy = len(self.queue) + len(lost), 0
        for lease in self.leases.values():
            if lease.in_flight and self._is_stuck(lease, now):
                busy += 1  # nothing can be queued there: what waits needs other workers, however short it is
            else:
                work += len(lease.in_flight)
        depth = 1 if self.queue and self.queue[0].alone else self.depth()
        wanted = max(len(self.leases), busy + _rounded(-(-work // depth)))
        if wanted != self.declared or self._refused:
            self.declared, self._refused = wanted, False
            self._port.demand(self, wanted)

    def _arm(self, now: float, full: bool) -> None:
        when: float | None = now + FULL_S if full else None
        for lease in self.leases.values():
            if len(lease.in_flight) > 1 and not lease.recalling:
                due = lease.progressed + STUCK_S
            elif lease.in_flight and self.queue and not self._is_stuck(lease, now):
                due = lease.progressed + STUCK_S  # then what waits asks for another worker
            elif not lease.in_flight and not self.queue:
                due = lease.progressed + IDLE_S
            else:
                continue
            when = due if when is None else min(when, due)
        if when is not None and (self._wake_at is None or when < self._wake_at - _TICK_S):
            self._wake_at = max(when, now + _TICK_S)
            self._port.wake_at(self, self._wake_at)


def _rounded(count: int) -> int:
    """A count rounded up to two significant binary digits: a queue that shrinks is not worth a message each time."""
    if count <= _EXACT:
        return count
    step = 1 << (count.bit_length() - 2)
    return -(-count // step) * step
