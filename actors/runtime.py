"""The seam between the public API and whatever runs it.

`limelight.get`, `f.remote()` and the rest speak to one `Runtime` per process. Implementations: `actors/native` (the
cluster), `actors/local` (everything in the caller's thread, for debuggers). Both pass tests/contracts/test_runtime.py.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .actor_descriptor import ActorDescriptor
    from .object_ref import ObjectRef
    from .object_ref_generator import ObjectRefGenerator
    from .options import ActorOptions, MethodOptions, TaskOptions
    from .task import FunctionDescriptor


class Runtime(Protocol):
    """Runs tasks and actors and keeps objects, for one process. All methods may be called from any thread."""

    def submit(
        self, function: "FunctionDescriptor", args: tuple[Any, ...], kwargs: dict[str, Any], options: "TaskOptions"
    ) -> "list[ObjectRef[Any]] | ObjectRefGenerator[Any]":
        """Run a function elsewhere, once its arguments are ready. Never blocks on the cluster.

        Returns a list with one ref per return value (`options.num_returns`), a generator for "streaming", and for
        "dynamic" a list of the one ref whose value will be a `DynamicObjectRefGenerator`. The caller has checked the
        arguments against `function.signature`.
        """
        ...

    def create_actor(
        self, cls: "ActorDescriptor", args: tuple[Any, ...], kwargs: dict[str, Any], options: "ActorOptions"
    ) -> "ActorEntry":
        """Create an actor; its constructor runs in the background.

        With `options.get_if_exists`, return the living actor of that name instead, if there is one.

        Raises:
            ActorAlreadyExistsError: the name is taken and `get_if_exists` is not set.
        """
        ...

    def call(
        self,
        actor: "ActorEntry",
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: "MethodOptions",
    ) -> "list[ObjectRef[Any]] | ObjectRefGenerator[Any]":
        """Call a method of an actor; returns what `submit` would.

        Calls from one process arrive in the order they were made.

        Besides the methods of `actor.descriptor.methods` there are `__ray_ready__` (True once the constructor has run),
        `__ray_terminate__` (the actor ends after the calls before it) and `__ray_call__` (args[0] is a function, run as
        `function(instance, *args[1:], **kwargs)`).
        """
        ...

    def put(self, value: Any, owner: "ActorEntry | None" = None) -> "ObjectRef[Any]":
        """Store a value and return a ref to it."""
        ...

    def get(self, refs: "Sequence[ObjectRef[Any]]", timeout: float | None) -> list[Any]:
        """Wait for all values; raise the first error among them, in the order of `refs`.

        Raises:
            GetTimeoutError: not all were there within `timeout` seconds.
        """
        ...

    def wait(
        self,
        waitables: "Sequence[ObjectRef[Any] | ObjectRefGenerator[Any]]",
        num_returns: int,
        timeout: float | None,
        fetch_local: bool,
    ) -> "tuple[list[Any], list[Any]]":
        """Wait until `num_returns` of the waitables are ready or `timeout` seconds have gone.

        A ref is ready when its task has ended; a generator when `next_item` would not block. Returns (ready, others),
        each in the order given, at most `num_returns` in the first. The caller has checked the arguments.
        """
        ...

    def future(self, ref: "ObjectRef[Any]") -> "Future[Any]":
        """A future that gets the ref's value or error."""
        ...

    def is_ready(self, ref: "ObjectRef[Any]") -> bool:
        """Whether `get` of it would not wait for a task."""
        ...

    def on_ready(self, ref: "ObjectRef[Any]", callback: Callable[[], object]) -> None:
        """Call back once, from any thread, when the ref is ready; at once where it is already.

        A callback that has an attribute `given_up` may be dropped once that is true.
        """
        ...

    def next_item(self, generator: "ObjectRefGenerator[Any]", timeout: float | None) -> "ObjectRef[Any] | None":
        """The ref to a streaming task's next item, or None when there are no more. Blocks.

        Raises:
            GetTimeoutError: there was none within `timeout` seconds.
        """
        ...

    def on_next_item(self, generator: "ObjectRefGenerator[Any]", callback: Callable[[], object]) -> None:
        """Call back once, from any thread, when `next_item` would not block."""
        ...

    def forget_next_item(self, generator: "ObjectRefGenerator[Any]", callback: Callable[[], object]) -> None:
        """Do not call back any more: who gave `on_next_item` the callback has given up waiting."""
        ...

    def cancel(self, ref: "ObjectRef[Any] | ObjectRefGenerator[Any]", force: bool, recursive: bool) -> None:
        """Cancel the task that makes the ref. No effect when it has finished."""
        ...

    def kill(self, actor: "ActorEntry", no_restart: bool) -> None:
        """End an actor at once, without running its `atexit` handlers."""
        ...

    def get_actor(self, name: str, namespace: str | None) -> "ActorEntry":
        """The live actor of that name.

        Raises:
            ValueError: there is none.
        """
        ...

    def list_named_actors(self, all_namespaces: bool) -> list[dict[str, str]]:
        """Names (and namespaces) of live actors."""
        ...

    def export_ref(self, ref: "ObjectRef[Any]") -> tuple[Any, ...]:
        """What a pickle holds for a ref: arguments for `import_ref` in any process of the cluster.

        Called while a value is serialized; the serialization context records the ref as contained in the value.
        """
        ...

    def import_ref(self, *exported: Any) -> "ObjectRef[Any]":
        """The ref that `export_ref` described. Called while a value is deserialized."""
        ...

    def export_actor(self, actor: "ActorEntry") -> tuple[Any, ...]:
        """What a pickle holds for an actor handle, like `export_ref`."""
        ...

    def import_actor(self, *exported: Any) -> "ActorEntry":
        """The actor that `export_actor` described."""
        ...

    def exit_actor(self) -> None:
        """End the actor that the caller runs in, after the current call. Raises to unwind the call."""
        ...

    def context(self) -> "ContextState":
        """Where the calling code runs: ids, resources, environment."""
        ...

    def state(self, kind: str, **filters: Any) -> Any:
        """Cluster state.

        `kind` is "nodes", "cluster_resources", "available_resources", "actors", "tasks", "placement_groups",
        "timeline", "objects" or "workers".
        """
        ...

    def create_placement_group(
        self,
        bundles: Sequence[Mapping[str, float]],
        strategy: str,
        name: str,
        lifetime: str | None,
        selectors: Sequence[Mapping[str, str]] = (),
        target: str = "",
        topology: str = "",
    ) -> bytes:
        """Have bundles of resources reserved; returns the group's id at once.

        `selectors` are label selectors for the nodes of the bundles, none or one for each; `target` is the node (id in
        hexadecimal) to be preferred; `topology` is the label that all nodes of the group must have with one value.

        Raises:
            ValueError: the name is taken, or this can never be a group.
        """
        ...

    def request_resources(self, bundles: Sequence[Mapping[str, float]], selectors: Sequence[Mapping[str, str]]) -> None:
        """Tell the cluster's autoscaler what there is to be room for, on nodes that meet the selectors, one for each.

        Raises:
            ValueError, TypeError: a selector is of the wrong syntax.
        """
        ...

    def placement_group_ready(self, placement_group_id: bytes, value: Any) -> "ObjectRef[Any]":
        """A ref to `value` that becomes ready when the group is reserved.

        To TaskPlacementGroupRemoved when it is gone.
        """
        ...

    def remove_placement_group(self, placement_group_id: bytes) -> None:
        """Give the bundles back and end what runs in them."""
        ...

    def get_placement_group(self, name: str) -> tuple[bytes, list[dict[str, float]]]:
        """The id and the bundles of a named group.

        Raises:
            ValueError: there is none.
        """
        ...

    def shutdown(self) -> None:
        """Leave the cluster; end it where this process started it. Idempotent."""
        ...


class ActorEntry(Protocol):
    """What a runtime keeps for an actor that this process has a handle to.

    Held by every handle; when it is garbage collected the process has none left.
    """

    @property
    def actor_id(self) -> bytes:
        """Its id, 16 bytes."""
        ...

    @property
    def descriptor(self) -> "ActorDescriptor":
        """Its class, as far as it is known here."""
        ...


class ContextState(Protocol):
    """What `get_runtime_context()` reads. Ids are bytes, None where they do not apply."""

    @property
    def job_id(self) -> bytes:
        """Id of the job."""
        ...

    @property
    def node_id(self) -> bytes:
        """Id of the node this runs on."""
        ...

    @property
    def worker_id(self) -> bytes:
        """Id of this process."""
        ...

    @property
    def task_id(self) -> bytes | None:
        """Id of the task or call; None in a driver."""
        ...

    @property
    def task_name(self) -> str | None:
        """Its name: the function's, or what `name=` said."""
        ...

    @property
    def function_name(self) -> str | None:
        """Its function's name with the module."""
        ...

    @property
    def actor_id(self) -> bytes | None:
        """Id of the actor."""
        ...

    @property
    def actor_name(self) -> str | None:
        """Name of the actor, "" when it has none."""
        ...

    @property
    def actor(self) -> "ActorEntry | None":
        """The actor itself."""
        ...

    @property
    def namespace(self) -> str:
        """Where this job's named actors are."""
        ...

    @property
    def placement_group_id(self) -> bytes | None:
        """Id of the placement group this runs in."""
        ...

    @property
    def capture_child_tasks(self) -> bool:
        """Whether tasks started here run in that group too."""
        ...

    @property
    def was_restarted(self) -> bool:
        """Whether the actor was restarted."""
        ...

    @property
    def attempt_number(self) -> int:
        """How often the task was retried."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled."""
        ...

    @property
    def resources(self) -> Mapping[str, float]:
        """What the task or actor holds."""
        ...

    @property
    def accelerator_ids(self) -> Mapping[str, Sequence[str]]:
        """Ids of the accelerators it may use, by kind."""
        ...

    @property
    def runtime_env(self) -> Mapping[str, Any]:
        """Its runtime environment."""
        ...

    @property
    def address(self) -> str:
        """Address of the head, for `init`."""
        ...

    @property
    def dashboard_url(self) -> str:
        """Where the dashboard is, or ""."""
        ...

    @property
    def session_name(self) -> str:
        """Name of the session."""
        ...

    @property
    def session_dir(self) -> str:
        """Folder of the session."""
        ...

    @property
    def node_labels(self) -> Mapping[str, str]:
        """Labels of the node."""
        ...

    @property
    def local_mode(self) -> bool:
        """Whether this is local mode."""
        ...


class SessionStarter(Protocol):
    """Makes the process's runtime: starts a local cluster or connects to one. Registered by the root package."""

    def __call__(self, **settings: Any) -> Runtime:
        """Start or connect; `settings` are the arguments of `init` but for local_mode and ignore_reinit_error."""
        ...


_runtime: Runtime | None = None
_starter: SessionStarter | None = None
_auto_init: Callable[[], None] | None = None
interpreter_ends = False
"""The session has ended because the interpreter does: no other is started by itself."""


def register_starter(starter: SessionStarter, auto_init: Callable[[], None]) -> None:
    """Say how `init` makes a runtime, and what the first call without one does."""
    global _starter, _auto_init
    _starter, _auto_init = starter, auto_init


def starter() -> SessionStarter:
    """The registered way to make a runtime."""
    if _starter is None:
        raise RuntimeError("No way to start a session is registered: import limelight, not its inner packages.")
    return _starter


def current() -> Runtime:
    """The process's runtime; starts a local session when there is none yet, as in Ray."""
    if _runtime is None and interpreter_ends:
        raise _end_of_interpreter()
    if _runtime is None and _auto_init is not None:
        _auto_init()
    if _runtime is None:
        raise RuntimeError("Limelight is not running in this process: call limelight.init() first.")
    return _runtime


def _end_of_interpreter() -> BaseException:
    """What a call gets that comes too late. Daemon threads end without a word, as the interpreter itself ends them."""
    if threading.current_thread() is threading.main_thread():
        return RuntimeError("The session has ended, because the interpreter does: this call comes too late.")
    return SystemExit()


def current_or_none() -> Runtime | None:
    """The process's runtime, or None; never starts one."""
    return _runtime


def install(runtime: Runtime | None) -> None:
    """Make `runtime` the process's runtime (None: there is none)."""
    global _runtime
    _runtime = runtime
