"""An actor in the process that hosts it."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .running import ActorExit, Job
from .timeline import UNTRACED

if TYPE_CHECKING:
    from .hub import Hub
    from .main_host import MainHost

logger = logging.getLogger(__name__)

TERMINATE = "__ray_terminate__"
"""The method that ends an actor after the calls before it."""

_LABEL_LENGTH = 64


class HostedActor:
    """The instance of a user's class and the way its methods are found. Subclasses say where they run.

    Attributes:
        actor_id: 16 bytes.
        instance: the user's object; None until its constructor has run.
        label: what its lines of output begin with: its class's name, or its `repr` where the class says what that is.
        assignment: what its process was told of it: its resources, incarnation, placement group.
        dropped: it has ended.
    """

    def __init__(self, hub: "Hub", creation: Job) -> None:
        self._hub = hub
        self._creation = creation
        self.actor_id = creation.invocation.actor_id
        self.class_name = creation.template.name
        self.label = self.class_name
        self.name: str = creation.template.options.get("name", "")
        self.outline: bytes = creation.template.options.get("outline", b"")
        self.instance: Any = None
        self.assignment = hub.assignment
        self.dropped = False
        if UNTRACED in creation.template.options:
            hub.execution.recorder.untraced.add(self.actor_id)

    def run(self) -> None:
        """Construct the instance and serve its calls; returns when this kind of actor needs the thread no more."""
        raise NotImplementedError

    def deliver(self, job: Job) -> None:
        """Take a job; on the wire thread."""
        raise NotImplementedError

    def interrupt(self, job: Job) -> None:
        """Interrupt a running job, where that is possible; on the wire thread."""
        raise NotImplementedError

    def construct(self, job: Job) -> Callable[..., Any]:
        """The "create" job's function: constructs the instance."""
        cls = self._hub.execution.functions.load(job.template)

        def create(*args: Any, **kwargs: Any) -> None:
            self.instance = cls(*args, **kwargs)
            self.constructed()

        return create

    def constructed(self) -> None:
        """Take calls from now on. Before the head hears of it and tells callers, so that their first calls find it."""
        if type(self.instance).__repr__ is not object.__repr__ and not self._creation.template.options.get("light"):
            self.label = _described(self.instance) or self.class_name
            self._hub.announce(self.label)
        if not self.dropped:
            self._hub.executor.host_actor(self.actor_id, self)

    def drop(self) -> None:
        """The actor has ended: it takes no more calls. From any thread."""
        self.dropped = True

    def finish(self) -> None:
        """Let the instance clean up (`__ray_shutdown__`), then give it up. It ends by itself, on this thread."""
        instance, self.instance = self.instance, None
        shut_down = getattr(instance, "__ray_shutdown__", None)
        if shut_down is None:
            return
        try:
            shut_down()
        except Exception:
            logger.exception("%s.__ray_shutdown__() failed; the actor ends nevertheless", self.class_name)

    def method(self, job: Job) -> Callable[..., Any]:
        """A "method" job's function.

        Raises:
            AttributeError: the class has no such method.
        """
        name: str = job.template.options["method"]
        match name:
            case "__ray_ready__":
                return _ready
            case "__ray_terminate__":
                return _terminate
            case "__ray_call__":
                return self._call
            case _:
                return getattr(self.instance, name)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(self.instance, *args, **kwargs)


class SyncActor(HostedActor):
    """One call at a time, on the main thread."""

    def __init__(self, hub: "Hub", creation: Job, main: "MainHost") -> None:
        super().__init__(hub, creation)
        self._main = main

    def run(self) -> None:
        """Construct the instance; the main host's loop serves the calls."""
        self._hub.execution.run(self._creation, self.construct)

    def deliver(self, job: Job) -> None:
        """Queue a call for the main thread."""
        self._main.deliver(job)

    def interrupt(self, job: Job) -> None:
        """Ray does not interrupt a synchronous actor's running method, and neither does Limelight."""


def _described(instance: Any) -> str:
    """The beginning of the first line of its `repr`; "" where there is none."""
    try:
        lines = repr(instance).splitlines()
    except Exception:
        logger.exception("repr() of an actor failed; its lines of output begin with the name of its class")
        return ""
    return lines[0][:_LABEL_LENGTH] if lines else ""


def _ready() -> bool:
    return True


def _terminate() -> None:
    raise ActorExit
