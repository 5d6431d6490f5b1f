"""Which task goes to which lease, where leases, or tasks' large arguments, lie on several nodes. Free of I/O."""

from collections import deque
from itertools import islice
from typing import Protocol

from .burst import Burst
from .lease import Lease
from .task_record import TaskRecord

LOOKED_AT = 16
"""So many of the tasks that go next are looked at for one whose large arguments lie where a free worker is."""

MOST_PASSED_OVER = 64
"""So often the first in the queue may be passed over for such a one."""


class ChoicePort(Protocol):
    """What is known of where things lie."""

    def is_near(self, lease: Lease, task: TaskRecord) -> bool:
        """Whether the task's large arguments lie on the lease's node, at least most of them."""
        ...

    def is_home(self, lease: Lease) -> bool:
        """Whether the lease is on the caller's own node."""
        ...

    def patience(self, lease: Lease, task: TaskRecord) -> float:
        """Seconds that it would take to have the task's large arguments at the lease's node; 0.0 where they are few."""
        ...


class TaskChoice:
    """The choices of one scheduling class.

    A task whose large arguments lie elsewhere leaves a free lease alone while a nearer one is asked for, for as long as
    it would take to fetch them: so it never loses more than twice what it would have had to wait in any case (the "ski
    rental" rule; Karlin et al., "Competitive snoopy caching", 1988). A grant that is not near it ends that, too: then
    the cluster has no room there. What is queued behind may go meanwhile.

    Attributes:
        matters: tasks with large arguments have come.
        holding: there are free leases, and tasks that leave them alone until `held_until`, or until `until` where that
            is for their arguments.
        burst: how tasks are shared among nodes, where they are to be spread.
    """

    def __init__(self, port: ChoicePort) -> None:
        self.matters = self.holding = False
        self.held_until = 0.0
        self.until: float | None = None
        self.burst: Burst | None = None
        self._port = port
        self._passed_over = 0

    def lease(self, queue: deque[TaskRecord], idle: dict[str, Lease]) -> Lease | None:
        """The best of the free leases for the task that goes next; None: the newest, for all will be used in any case.

        That is one near its large arguments, or else one at home, which answers sooner; where tasks are spread, one on
        the node that had fewest of them.
        """
        if len(queue) >= len(idle) or not queue:
            return None
        task, port = queue[0], self._port
        free = [lease for _, lease in islice(reversed(idle.items()), LOOKED_AT)]
        if self.burst is not None:
            had = self.burst.had
            return min(free, key=lambda lease: had(lease.node))
        near = next((lease for lease in free if port.is_near(lease, task)), None) if self.matters else None
        return near or next((lease for lease in free if port.is_home(lease)), None)

    def task(self, queue: deque[TaskRecord], lease: Lease, now: float) -> TaskRecord | None:
        """The task that goes to this lease, put first in the queue; None: none of those that are queued does."""
        burst = self.burst
        if burst is not None and not burst.over:
            if not burst.may_have(lease.node, len(queue)):
                self._hold(burst.until)
                return None
            burst.give(lease.node)
            return queue[0]
        if not self.matters:
            return queue[0]
        port = self._port
        if self._passed_over < MOST_PASSED_OVER:
            for index, task in enumerate(islice(queue, LOOKED_AT)):
                if port.is_near(lease, task):
                    self._passed_over += bool(index)
                    return _put_first(queue, index)
        self._passed_over = 0
        if not self._leaves_alone(lease, queue[0], now):
            return queue[0]
        for index, task in enumerate(islice(queue, LOOKED_AT)):
            if not port.patience(lease, task):
                return _put_first(queue, index)
        self._hold(self.until)
        return None

    def untaken(self, lease: Lease) -> None:
        """A lease was too full for the task that it was to have."""
        if self.burst is not None and not self.burst.over:
            self.burst.take_again(lease.node)

    def _hold(self, until: float | None) -> None:
        if until is not None:
            self.held_until = min(until, self.held_until) if self.holding else until
            self.holding = True

    def granted(self, queue: deque[TaskRecord], lease: Lease, now: float) -> None:
        """There is a new lease: the answer to those who asked for a near one."""
        if self.until is not None and queue and not self._port.is_near(lease, queue[0]):
            self.until = now

    def _leaves_alone(self, lease: Lease, task: TaskRecord, now: float) -> bool:
        patience = self._port.patience(lease, task)
        if patience and self.until is None:
            self.until = now + patience
        return patience > 0.0 and self.until is not None and now < self.until


def _put_first(queue: deque[TaskRecord], index: int) -> TaskRecord:
    task = queue[index]
    if index:
        del queue[index]
        queue.appendleft(task)
    return task
