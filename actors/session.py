"""Starting and ending the process's session: `init`, `shutdown`, `is_initialized`."""

import atexit
import inspect
import logging
import os
import sys
import threading
from collections.abc import ItemsView, Iterator, Mapping
from typing import Any, Self

from . import option_rule, runtime
from .init_rule import check_settings

logger = logging.getLogger("limelight")

ADDRESS_VARIABLES = ("LIMELIGHT_ADDRESS", "RAY_ADDRESS")
"""Environment variables that say which cluster to connect to when `init` gets no address, the first set one."""

_lock = threading.RLock()


class SessionContext(Mapping[str, Any]):
    """What `init` returns: facts about the session, as attributes and by key; a context manager that shuts it down.

    Keys: address, gcs_address, node_id, session_name, session_dir, namespace, job_id, webui_url.
    """

    def __init__(self, address_info: dict[str, Any]) -> None:
        self.address_info = address_info
        self.dashboard_url: str = address_info.get("webui_url") or ""
        self.python_version = ".".join(map(str, sys.version_info[:3]))
        self.address: str = address_info["address"]

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def items(self) -> ItemsView[str, Any]:
        """All facts."""
        return self.address_info.items()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutdown()

    def disconnect(self) -> None:
        """End the session."""
        shutdown()

    def __repr__(self) -> str:
        return f"SessionContext(address={self.address!r}, dashboard_url={self.dashboard_url!r})"


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    object_spilling_directory: str | os.PathLike[str] | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: Any = None,
    configure_logging: bool = True,
    logging_level: int | str = logging.INFO,
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    enable_resource_isolation: bool = False,
    cgroup_path: str | None = None,
    system_reserved_cpu: float | None = None,
    system_reserved_memory: int | None = None,
    proxy_server_url: str | None = None,
    token: str | None = None,
    **more: Any,
) -> SessionContext:
    """Start a session on this machine, or connect to a cluster.

    Args:
        address: None: what LIMELIGHT_ADDRESS says, else a new local session; "local": always a new one; "auto": what
            LIMELIGHT_ADDRESS says, else the cluster on this machine; "host:port": a cluster's head; "ray://host:port":
            an existing Ray cluster.
        num_cpus: CPUs of the new session; as many as there are unless given.
        num_gpus: GPUs of the new session; found unless given.
        resources: further resources of the new session, by name.
        labels: labels of its node.
        object_store_memory: size of its object store in bytes.
        object_spilling_directory: where objects go that find no room in it: a folder, or a URL that fsspec knows
            ("s3://bucket/prefix"); the session's folder unless given.
        local_mode: run everything in the calling thread, for debuggers; no process is started.
        ignore_reinit_error: return the session there is instead of raising.
        include_dashboard: start the dashboard; None: where it is installed.
        dashboard_host: address the dashboard listens on.
        dashboard_port: its port; None: 8265 or the next free one.
        job_config: job settings (an object or a dict).
        configure_logging: let the session set up the logger "limelight".
        logging_level: level of that logger.
        logging_format: format of its records.
        logging_config: logging of the workers.
        log_to_driver: show what workers print; None: yes.
        namespace: where this job's named actors live; a new one of its own unless given.
        runtime_env: environment of the job's workers.
        enable_resource_isolation: put the system's processes into a cgroup of their own.
        cgroup_path: the cgroup under which they are put.
        system_reserved_cpu: CPUs kept for them.
        system_reserved_memory: memory kept for them, in bytes.
        proxy_server_url: where the dashboard is reached through a proxy.
        token: the cluster's token; unless given it is read from the file `cluster token` shows.
        more: settings that begin with an underscore, for tests.

    Returns:
        A context with facts about the session, also by key: `init()["address"]`.

    Raises:
        RuntimeError: there is a session already, or an argument does not exist.
        ValueError, TypeError: an argument makes no sense.
        ConnectionError: there is no cluster at `address`.
    """
    settings = {name: value for name, value in locals().items() if name != "more"}
    for name in more:
        if not name.startswith("_"):
            valid = [known for known in inspect.signature(init).parameters if known != "more"]
            raise RuntimeError(option_rule.unknown_name(f"Unknown keyword argument of init: {name!r}", name, valid))
    settings |= more
    check_settings(settings)
    _tell_what_is_ignored(settings)
    with _lock:
        if (existing := runtime.current_or_none()) is not None:
            if not ignore_reinit_error:
                raise RuntimeError(
                    "There is a session already, so init() cannot start one: call shutdown() before, "
                    "or pass ignore_reinit_error=True to go on with the one there is."
                )
            logger.info("init() was called again; the session there is goes on")
            return _describe(existing)
        if configure_logging:
            _set_up_logging(logging_level, logging_format)
        made = _start(settings)
        runtime.install(made)
        atexit.register(_end_with_interpreter)
        return _describe(made)


def _tell_what_is_ignored(settings: Mapping[str, Any]) -> None:
    """Refuse what would be missed if it had no effect, and warn of the rest."""
    missed = [name for name in _NOT_YET if settings.get(name)]
    if missed:
        raise NotImplementedError(
            f"init({missed[0]}=...) is not in this version of Limelight. {_NOT_YET[missed[0]]} or leave it out."
        )
    ignored = [name for name in settings if name in _WITHOUT_EFFECT and settings[name]]
    ignored += [name for name in settings if name.startswith("_") and name not in _UNDERSCORED]
    if ignored:
        logger.warning("init() was given %s, which has no effect in this version of Limelight.", ", ".join(ignored))


_NOT_YET = {
    "job_config": "Give runtime_env= and namespace= to init() itself,",
    "enable_resource_isolation": "Start the program in a cgroup,",
    "cgroup_path": "Start the program in a cgroup,",
    "system_reserved_cpu": "Give num_cpus= what is left for tasks,",
    "system_reserved_memory": "Give _memory= what is left for tasks,",
}
"""Arguments of Ray's whose absence could do harm, and what to do instead."""

_WITHOUT_EFFECT = ("include_dashboard", "dashboard_port", "logging_config", "proxy_server_url")
_UNDERSCORED = ("_memory", "_system_config")


def _set_up_logging(level: int | str, form: str | None) -> None:
    """Do what `init` was told of the logger "limelight".

    Without a format its records go where the program's logging says: by Python's own default, warnings to stderr.
    """
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    if form is not None:
        logger.handlers[:] = [logging.StreamHandler()]
        logger.handlers[0].setFormatter(logging.Formatter(form))
        logger.propagate = False


def _start(settings: dict[str, Any]) -> runtime.Runtime:
    if settings["runtime_env"] is not None and not isinstance(settings["runtime_env"], Mapping):
        raise TypeError(f"runtime_env must be a dict or a RuntimeEnv, but {settings['runtime_env']!r} was given.")
    if settings["address"] in {None, "auto"}:
        found = (os.environ[name] for name in ADDRESS_VARIABLES if os.environ.get(name))
        settings["address"] = next(found, settings["address"])
    if settings.pop("local_mode"):
        from .local.runtime import LocalRuntime

        asked = {"CPU": settings["num_cpus"], "GPU": settings["num_gpus"], **(settings["resources"] or {})}
        resources = {name: float(quantity) for name, quantity in asked.items() if quantity is not None}
        return LocalRuntime(settings["namespace"], resources, settings["runtime_env"])
    settings.pop("ignore_reinit_error")
    return runtime.starter()(**settings)


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """End the session: a local one with all its processes; of a cluster, this job. Also done at exit; idempotent.

    Args:
        wait_for_processes: Ray's; it is always waited for.
    """
    del wait_for_processes, _exiting_interpreter
    with _lock:
        made = runtime.current_or_none()
        if made is None:
            return
        atexit.unregister(_end_with_interpreter)
        if runtime.interpreter_ends:
            runtime.install(None)  # daemon threads still run, and must not come upon a session that is half gone
        try:
            made.shutdown()
        finally:
            runtime.install(None)


def _end_with_interpreter() -> None:
    runtime.interpreter_ends = True
    shutdown()


def is_initialized() -> bool:
    """Whether there is a session."""
    return runtime.current_or_none() is not None


def _forget_in_child() -> None:
    """After a fork, in the child: the session is the parent's, whose wire thread the child does not have.

    Without this the child's end would be taken for the session's. The child may start a session of its own.
    """
    global _lock
    _lock = threading.RLock()
    atexit.unregister(_end_with_interpreter)
    runtime.install(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def auto_init() -> None:
    """What the first call without a session does: start one, as in Ray."""
    with _lock:
        if runtime.current_or_none() is None:
            init()


def _describe(made: runtime.Runtime) -> SessionContext:
    state = made.context()
    return SessionContext(
        {
            "address": state.address,
            "gcs_address": state.address,
            "node_id": state.node_id.hex(),
            "job_id": state.job_id.hex(),
            "namespace": state.namespace,
            "session_name": state.session_name,
            "session_dir": state.session_dir,
            "webui_url": state.dashboard_url,
        }
    )
