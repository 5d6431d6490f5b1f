"""Limelight: tasks, actors and objects over a cluster of ordinary machines.

    import limelight as ll

    @ll.task
    def square(x: int) -> int:
        return x * x

    print(ll.get([square.remote(i) for i in range(4)]))

The names are Ray's. Libraries and whatever else is large are imported when they are first used.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .actors import alias, api, runtime
from .actors import interrupt as _interrupt
from .actors import session as _session
from .actors.actor import ActorClass, ActorHandle
from .actors.actor_method import method
from .actors.api import (
    available_resources,
    cancel,
    cluster_resources,
    get,
    get_actor,
    kill,
    nodes,
    put,
    remote,
    task,
    timeline,
    wait,
)
from .actors.context import get_gpu_ids, get_runtime_context
from .actors.identifier import (
    ActorClassID,
    ActorID,
    FunctionID,
    JobID,
    NodeID,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)
from .actors.object_ref import ObjectRef
from .actors.object_ref_generator import DynamicObjectRefGenerator, ObjectRefGenerator
from .actors.session import init, is_initialized, shutdown
from .transport.version import VERSION

if TYPE_CHECKING:
    from . import exceptions
    from .actors import runtime_env
    from .actors.api import actor
    from .actors.api import list_named_actors as list_named_actors
    from .actors.pickling.diagnosis import inspect_serializability as inspect_serializability
    from .actors.pickling.reducer import deregister_serializer as deregister_serializer
    from .actors.pickling.reducer import register_serializer as register_serializer
    from .actors.placement_group import PlacementGroup as PlacementGroup
    from .actors.placement_group import get_current_placement_group as get_current_placement_group
    from .actors.placement_group import get_placement_group as get_placement_group
    from .actors.placement_group import placement_group as placement_group
    from .actors.placement_group import placement_group_table as placement_group_table
    from .actors.placement_group import remove_placement_group as remove_placement_group
    from .libs import util

__version__ = VERSION

ObjectID = ObjectRef

__all__ = [
    "ActorClass",
    "ActorClassID",
    "ActorHandle",
    "ActorID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "actor",
    "available_resources",
    "cancel",
    "cluster_resources",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "runtime_env",
    "shutdown",
    "task",
    "timeline",
    "util",
    "wait",
]

_ALIASES = {
    "limelight.actor": "limelight.actors.actor",
    "limelight.autoscaler": "limelight.actors.autoscaler",
    "limelight.cloudpickle": "cloudpickle",
    "limelight.cluster_utils": "limelight.cluster.local_cluster",
    "limelight.dag": "limelight.actors.dag",
    "limelight.data": "limelight.libs.data",
    "limelight.job_submission": "limelight.cluster.job",
    "limelight.remote_function": "limelight.actors.task",
    "limelight.rl": "limelight.libs.rl",
    "limelight.rllib": "limelight.libs.rl",
    "limelight.runtime_context": "limelight.actors.context",
    "limelight.runtime_env": "limelight.actors.runtime_env",
    "limelight.serve": "limelight.libs.serve",
    "limelight.train": "limelight.libs.train",
    "limelight.tune": "limelight.libs.tune",
    "limelight.types": "limelight.actors.object_ref",
    "limelight.util": "limelight.libs.util",
    "limelight.util.check_serialize": "limelight.actors.pickling.diagnosis",
    "limelight.util.helpers": "limelight.libs.util.completion",
    "limelight.util.placement_group": "limelight.actors.placement_group",
    "limelight.util.scheduling_strategies": "limelight.actors.scheduling_strategy",
    "limelight.util.serialization": "limelight.actors.pickling.reducer",
}
"""Ray's public modules, and where Limelight keeps them."""

_FOR_UTIL = {
    "PlacementGroup": "placement_group",
    "deregister_serializer": "pickling.reducer",
    "get_current_placement_group": "placement_group",
    "get_placement_group": "placement_group",
    "inspect_serializability": "pickling.diagnosis",
    "list_named_actors": "api",
    "placement_group_table": "placement_group",
    "register_serializer": "pickling.reducer",
    "remove_placement_group": "placement_group",
}
"""Names that `limelight.util` has, as in Ray, and that a library gets from here; and where in `actors` they are."""

_LAZY = {*(name.removeprefix(f"{__name__}.") for name in _ALIASES), "exceptions"}


class _ActorModule(ModuleType):
    """`limelight.actor` is Ray's module of that name and the decorator: a module that can be called."""

    __call__ = staticmethod(api.actor)

    def __reduce__(self) -> tuple[Any, ...]:
        """By name, as cloudpickle does for modules: only of their very own type, though."""
        return importlib.import_module, (self.__name__,)


if not TYPE_CHECKING:
    actor = sys.modules[ActorClass.__module__]
    actor.__class__ = _ActorModule


def _start_session(**settings: Any) -> runtime.Runtime:
    """Start or join a cluster; the import waits until somebody does."""
    with _interrupt.hearing_interrupts():
        from .cluster.session import start

    return start(**settings)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        full_name = f"{__name__}.{name}"
        try:
            return importlib.import_module(full_name)
        except ModuleNotFoundError as error:
            if error.name != full_name:  # it is there, and what it needs is not
                raise
    if name == "placement_group":
        return importlib.import_module(f"{__name__}.actors.placement_group")
    if name in _FOR_UTIL:
        return getattr(importlib.import_module(f"{__name__}.actors.{_FOR_UTIL[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


alias.install(_ALIASES)
runtime.register_starter(_start_session, _session.auto_init)
