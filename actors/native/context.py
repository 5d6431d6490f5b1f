"""What `get_runtime_context()` reads in a cluster."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..contract import AssignWorker
from .running import running
from .templates import UNIT

if TYPE_CHECKING:
    from .hub import Hub


class NativeContext:
    """Where the calling code runs, read at each access. Implements `actors.runtime.ContextState`."""

    local_mode = False
    dashboard_url = ""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._job = running.get()

    @property
    def _assignment(self) -> AssignWorker:
        """What this process was told of its lease, or of the actor among several that it hosts."""
        actor = self._hub.executor.hosted(self.actor_id) if self.actor_id else None
        return self._hub.assignment if actor is None else actor.assignment

    @property
    def job_id(self) -> bytes:
        """The job that the process works for."""
        return self._hub.job_id

    @property
    def node_id(self) -> bytes:
        """The node it runs on."""
        return self._hub.identity.node_id

    @property
    def worker_id(self) -> bytes:
        """The process, 28 bytes: its own id, and its pid for people."""
        return bytes.fromhex(self._hub.process_id) + os.getpid().to_bytes(12, "big")

    @property
    def task_id(self) -> bytes | None:
        """The task or call."""
        return self._job.invocation.task_id if self._job else None

    @property
    def task_name(self) -> str | None:
        """Its name."""
        return self._job.template.name if self._job else None

    @property
    def function_name(self) -> str | None:
        """Its function's name, with the module."""
        return self._job.template.options.get("function") if self._job else None

    @property
    def actor_id(self) -> bytes | None:
        """The actor."""
        return (self._job.invocation.actor_id or None) if self._job else None

    @property
    def actor_name(self) -> str | None:
        """The actor's name; "" where it has none."""
        return self._hub.actors.name(self._job.invocation.actor_id) if self._job and self.actor_id else None

    @property
    def actor(self) -> Any:
        """The actor's entry, for a handle to itself."""
        return self._hub.actors.own(self.actor_id) if self.actor_id else None

    @property
    def namespace(self) -> str:
        """Where its named actors live."""
        return self._hub.namespace

    @property
    def placement_group_id(self) -> bytes | None:
        """The placement group it runs in."""
        return self._assignment.placement_group or None

    @property
    def capture_child_tasks(self) -> bool:
        """Whether what it starts runs in its placement group, too."""
        return self._assignment.capture

    @property
    def was_restarted(self) -> bool:
        """Whether the actor has been restarted."""
        return self._assignment.incarnation > 0

    @property
    def attempt_number(self) -> int:
        """0 for the first run."""
        return self._job.invocation.attempt if self._job else 0

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to stop."""
        return bool(self._job and self._job.cancelled)

    @property
    def resources(self) -> Mapping[str, float]:
        """What it holds."""
        return {name: amount / UNIT for name, amount in self._assignment.resources.items()}

    @property
    def accelerator_ids(self) -> Mapping[str, Sequence[str]]:
        """The accelerators it may use."""
        return {"GPU": [], **self._assignment.accelerator_ids}

    @property
    def runtime_env(self) -> Mapping[str, Any]:
        """Its runtime environment."""
        return self._hub.runtime_env

    @property
    def address(self) -> str:
        """The head's address."""
        return self._hub.identity.cluster

    @property
    def session_name(self) -> str:
        """The session's name."""
        return self._hub.identity.session

    @property
    def session_dir(self) -> str:
        """The session's folder."""
        return self._hub.identity.session_folder

    @property
    def node_labels(self) -> Mapping[str, str]:
        """The node's labels."""
        return self._hub.identity.node_labels
