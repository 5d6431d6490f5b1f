"""Errors of tasks for which the runtime, and not the user's code, is the reason."""

from ...exceptions import (
    DeathCause,
    DeathKind,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    RaySystemError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
    WorkerCrashedError,
)
from ..contract import LeaseInfeasible
from .task_record import TaskRecord
from .worker_link import WorkerLink


def cancelled_error(record: TaskRecord) -> TaskCancelledError:
    """The error of a cancelled task."""
    return TaskCancelledError(record.task_id.hex())


def too_large_error(record: TaskRecord) -> ValueError:
    """The error of a task that no message can hold."""
    return ValueError(
        f"{record.template.wire.name} cannot be sent to a worker: its pickled function, with all it captures, is "
        f"{len(record.template.wire.function)} bytes. Pass large values as arguments, or pass refs to them."
    )


def lost_error(record: TaskRecord, cause: DeathCause | None) -> RayError:
    """The error of a task whose worker has ended under it; `cause` is what its node manager knows of that."""
    name = record.template.wire.name
    if cause is not None and cause.kind is DeathKind.GROUP_REMOVED:
        return TaskPlacementGroupRemoved(f"{name} was ended: {cause.explanation}.")
    if cause is not None and cause.kind is DeathKind.OUT_OF_MEMORY:
        return OutOfMemoryError(f"{name} was stopped. {cause.render()}", cause=cause)
    lost = cause is not None and cause.kind is DeathKind.NODE_LOST
    kind = NodeDiedError if lost else WorkerCrashedError
    return kind(task_name=name, cause=cause, attempt=record.attempt + 1)


def refused_error(record: TaskRecord, link: WorkerLink) -> RaySystemError:
    """The error of a task that a worker's runtime could not take."""
    return RaySystemError(
        f"{record.template.wire.name} was refused by the runtime of process {link.channel.peer.process_id}; see "
        "its log. This is a defect of Limelight, please report it."
    )


def unplaceable_error(record: TaskRecord, verdict: LeaseInfeasible) -> RayError:
    """The error of a task that waits in vain for a worker."""
    name = record.template.wire.name
    if verdict.kind == "environment":
        return RuntimeEnvSetupError(verdict.reason)
    if verdict.kind == "group":
        return TaskPlacementGroupRemoved(f"{name} cannot run: {verdict.reason}.")
    return TaskUnschedulableError(f"{name} cannot be scheduled: {verdict.reason}")
