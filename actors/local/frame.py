"""What runs, in local mode: the context of the calling code."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from ..options import Placement

if TYPE_CHECKING:
    from .actor import LocalActor


class Session(msgspec.Struct, frozen=True):
    """Facts of one local session."""

    job_id: bytes
    node_id: bytes
    worker_id: bytes
    namespace: str
    session_name: str
    session_dir: str
    resources: dict[str, float]
    runtime_env: dict[str, Any]


class Frame:
    """One task or call that runs, or (with no task id) the driver. Implements `ContextState`."""

    def __init__(
        self,
        session: Session,
        task_id: bytes | None = None,
        *,
        name: str | None = None,
        function_name: str | None = None,
        placement: Placement | None = None,
        actor: "LocalActor | None" = None,
    ) -> None:
        self.session = session
        self.task_id = task_id
        self.task_name = name
        self.function_name = function_name
        self.placement = placement or Placement()
        self.actor = actor
        self.attempt_number = 0
        self.cancelled = False
        self.local_mode = True
        self.address = "local"
        self.dashboard_url = ""

    @property
    def job_id(self) -> bytes:
        """The session's job."""
        return self.session.job_id

    @property
    def node_id(self) -> bytes:
        """The only node."""
        return self.session.node_id

    @property
    def worker_id(self) -> bytes:
        """The only process."""
        return self.session.worker_id

    @property
    def namespace(self) -> str:
        """Where named actors are found."""
        return self.session.namespace

    @property
    def session_name(self) -> str:
        """Name of the session."""
        return self.session.session_name

    @property
    def session_dir(self) -> str:
        """Where the session would keep files."""
        return self.session.session_dir

    @property
    def actor_id(self) -> bytes | None:
        """The actor this runs in."""
        return self.actor.actor_id if self.actor else None

    @property
    def actor_name(self) -> str | None:
        """The actor's name."""
        return self.actor.options.name if self.actor else None

    @property
    def was_restarted(self) -> bool:
        """Whether the actor was restarted."""
        return self.actor is not None and self.actor.restarts > 0

    @property
    def placement_group_id(self) -> bytes | None:
        """The group it was placed in."""
        group = getattr(self.placement.strategy, "placement_group", None)
        return group.id.binary() if group is not None else None

    @property
    def capture_child_tasks(self) -> bool:
        """Whether tasks started here are placed in the same group."""
        return bool(getattr(self.placement.strategy, "placement_group_capture_child_tasks", None))

    @property
    def resources(self) -> Mapping[str, float]:
        """What it asked for."""
        return self.placement.running

    @property
    def accelerator_ids(self) -> Mapping[str, Sequence[str]]:
        """The GPUs it asked for; they are not told apart here, so every task gets the first ones."""
        count = self.placement.running.get("GPU", 0)
        return {"GPU": [str(index) for index in range(-int(-count // 1))]}

    @property
    def runtime_env(self) -> Mapping[str, Any]:
        """The environment it asked for; not set up here."""
        return {**self.session.runtime_env, **self.placement.runtime_env}

    @property
    def node_labels(self) -> Mapping[str, str]:
        """None here."""
        return {}


current_frame: ContextVar[Frame | None] = ContextVar("limelight_local_frame", default=None)
