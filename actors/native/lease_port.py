"""What a scheduling class can have done: the I/O around it."""

from typing import TYPE_CHECKING, Protocol

from .burst import OnTheWay
from .lease import Lease
from .task_choice import ChoicePort
from .task_record import TaskRecord
from .worker_link import Push

if TYPE_CHECKING:
    from .lease_class import LeaseClass


class LeasePort(ChoicePort, Protocol):
    """What a `LeaseClass` can have done."""

    def push(self, lease: Lease, task: TaskRecord) -> Push:
        """Send a task to a lease's worker, if that takes it now. One that is too large to be sent has ended then."""
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

    def coming(self, lease_class: "LeaseClass") -> OnTheWay:
        """The leases that were asked for and are not there yet."""
        ...

    def wake_at(self, lease_class: "LeaseClass", when: float) -> None:
        """Call `tick` at about that time."""
        ...
