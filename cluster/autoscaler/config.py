"""What the autoscaler may do, and how patient it is."""

import msgspec

from ..provider.instance import NodeType


class ScalingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and times. All times are in seconds.

    Attributes:
        node_types: what can be launched, by name; of two that serve equally well the first is taken.
        max_workers: how many machines there may be of all types together, without the head's.
        upscaling_speed: how many machines may be starting at a time, as a multiple of those in use; five always may.
        idle_timeout: after so long without work a machine is given back.
        launch_timeout: a machine that has not joined so long after it was asked for is given up.
        rejoin_timeout: a machine whose node was lost, and has not come back for so long, is given up.
        answer_timeout: a request that the provider has not answered for so long is repeated.
        backoff: pause after the first failed launch of a type; doubles with each further one.
        max_backoff: the longest pause.
    """

    node_types: dict[str, NodeType]
    max_workers: int
    upscaling_speed: float = 1.0
    idle_timeout: float = 300.0
    launch_timeout: float = 600.0
    rejoin_timeout: float = 60.0
    answer_timeout: float = 30.0
    backoff: float = 5.0
    max_backoff: float = 600.0


ALWAYS_STARTING = 5
"""So many machines may be starting at a time, however few are in use."""
