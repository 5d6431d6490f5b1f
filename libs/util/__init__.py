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
from .executor import Executor

__all__ = [
    "ActorPool",
    "Executor",
    "PlacementGroup",
    "as_completed",
    "deregister_serializer",
    "get_current_placement_group",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
]
