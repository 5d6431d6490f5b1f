"""Where the calling code runs: `get_runtime_context()`."""

from collections.abc import Mapping
from typing import Any

from . import runtime
from .actor import ActorHandle
from .identifier import ActorID, JobID, NodeID, TaskID, WorkerID


class RuntimeContext:
    """Ids, names, resources and environment of the code that asks. Reads them when asked; thread-safe."""

    __slots__ = ()

    def get_job_id(self) -> str:
        """Id of the job, in hexadecimal."""
        return _state().job_id.hex()

    def get_node_id(self) -> str:
        """Id of the node this runs on, in hexadecimal."""
        return _state().node_id.hex()

    def get_worker_id(self) -> str:
        """Id of this process, in hexadecimal."""
        return _state().worker_id.hex()

    def get_task_id(self) -> str | None:
        """Id of the task or actor call this runs in, in hexadecimal; None in a driver."""
        task_id = _state().task_id
        return None if task_id is None else task_id.hex()

    def get_task_name(self) -> str | None:
        """Its name: the function's, or what `name=` said."""
        return _state().task_name

    def get_task_function_name(self) -> str | None:
        """Its function's name with the module."""
        return _state().function_name

    def get_actor_id(self) -> str | None:
        """Id of the actor this runs in, in hexadecimal; None outside of actors."""
        actor_id = _state().actor_id
        return None if actor_id is None else actor_id.hex()

    def get_actor_name(self) -> str | None:
        """The actor's name, "" when it has none; None outside of actors."""
        return _state().actor_name

    def get_placement_group_id(self) -> str | None:
        """Id of the placement group this runs in, in hexadecimal."""
        group = _state().placement_group_id
        return None if group is None else group.hex()

    def get_assigned_resources(self) -> dict[str, float]:
        """What the task or actor holds: resource names and quantities."""
        return dict(_state().resources)

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Ids of the accelerators it may use, by kind ("GPU")."""
        return {kind: list(ids) for kind, ids in _state().accelerator_ids.items()}

    def get_runtime_env_string(self) -> str:
        """The runtime environment, in JSON."""
        import json

        return json.dumps(dict(_state().runtime_env), sort_keys=True)

    def get_session_name(self) -> str:
        """Name of the session."""
        return _state().session_name

    def get_temp_dir(self) -> str:
        """Folder of the session."""
        return _state().session_dir

    def get_node_labels(self) -> dict[str, str]:
        """Labels of the node."""
        return dict(_state().node_labels)

    def is_canceled(self) -> bool:
        """Whether the task this runs in was cancelled: long loops ask, and end."""
        return _state().cancelled

    @property
    def namespace(self) -> str:
        """Namespace in which actors are named and found."""
        return _state().namespace

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor this runs in has been restarted."""
        return _state().was_restarted

    @property
    def runtime_env(self) -> Mapping[str, Any]:
        """The runtime environment."""
        from .runtime_env import RuntimeEnv

        shown = {name: value for name, value in _state().runtime_env.items() if not name.startswith("_")}
        return RuntimeEnv(**shown, _validate=False)

    @property
    def gcs_address(self) -> str:
        """Address of the head, for `init(address=...)`."""
        return _state().address

    @property
    def current_actor(self) -> ActorHandle[Any]:
        """A handle to the actor this runs in.

        Raises:
            RuntimeError: it is not an actor.
        """
        entry = _state().actor
        if entry is None:
            raise RuntimeError("current_actor is only there in an actor: this code runs in a driver or a task.")
        return ActorHandle(entry)

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether tasks started here run in the same placement group."""
        return _state().capture_child_tasks

    @property
    def job_id(self) -> JobID:
        """As `get_job_id`, as an object."""
        return JobID(_state().job_id)

    @property
    def node_id(self) -> NodeID:
        """As `get_node_id`, as an object."""
        return NodeID(_state().node_id)

    @property
    def worker_id(self) -> WorkerID:
        """As `get_worker_id`, as an object."""
        return WorkerID(_state().worker_id)

    @property
    def task_id(self) -> TaskID | None:
        """As `get_task_id`, as an object."""
        task_id = _state().task_id
        return None if task_id is None else TaskID(task_id)

    @property
    def actor_id(self) -> ActorID | None:
        """As `get_actor_id`, as an object."""
        actor_id = _state().actor_id
        return None if actor_id is None else ActorID(actor_id)

    def get(self) -> dict[str, Any]:
        """Job, node and namespace, and in tasks and actors their ids."""
        known: dict[str, Any] = {"job_id": self.job_id, "node_id": self.node_id, "namespace": self.namespace}
        if self.task_id is not None:
            known["task_id"] = self.task_id
        if self.actor_id is not None:
            known["actor_id"] = self.actor_id
        return known


def _state() -> runtime.ContextState:
    return runtime.current().context()


_context = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """Where the calling code runs: ids, names, resources, environment. Starts a session when there is none."""
    return _context


def get_gpu_ids() -> list[int] | list[str]:
    """Ids of the GPUs that the calling task or actor may use: indices where they are numbers, as CUDA counts them."""
    gpus = list(_state().accelerator_ids.get("GPU", ()))
    return [int(gpu) for gpu in gpus] if all(gpu.isdigit() for gpu in gpus) else gpus
