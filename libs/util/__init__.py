"""Small tools on tasks and actors: pools, queues, executors, scheduling strategies. Public as `limelight.util`."""

from .actor_pool import ActorPool
from .executor import Executor

__all__ = ["ActorPool", "Executor"]
