"""Small tools on tasks and actors: pools, queues, executors, placement groups. Public as `limelight.util`."""

import importlib
from typing import Any

from ... import (
    PlacementGroup,
    deregister_serializer,
    get_current_placement_group,
    get_placement_group,
    inspect_serializability,
    list_named_actors,
    placement_group,
    placement_group_table,
    register_serializer,
    remove_placement_group,
)
from .actor_pool import ActorPool
from .completion import as_completed, map_unordered
from .debug import disable_log_once_globally, enable_periodic_logging, log_once
from .executor import Executor
from .node_address import get_node_ip_address

__all__ = [
    "ActorPool",
    "Executor",
    "PlacementGroup",
    "as_completed",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
]


def __getattr__(name: str) -> Any:
    """Modules of this package, imported when they are first used: also those that it has by a second name only."""
    full_name = f"{__name__.partition('.')[0]}.util.{name}"
    if not name.startswith("_"):
        try:
            return importlib.import_module(full_name)
        except ModuleNotFoundError as error:
            if error.name != full_name:  # it is there, and what it needs is not
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
