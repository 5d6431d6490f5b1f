"""Shared memory as every process of a node sees it: the arena, stored objects, pins, nurseries."""
