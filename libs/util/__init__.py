"""Small tools on tasks and actors: pools, queues, executors, placement groups. Public as `limelight.util`."""

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
