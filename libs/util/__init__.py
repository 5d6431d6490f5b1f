"""Small tools over tasks and actors: pools, queues, executors, placement groups, scheduling strategies."""
