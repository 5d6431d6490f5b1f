"""What the tests of clusters run: tasks and an actor that say where they are, and waits with a deadline."""

import os
import time
import zlib
from pathlib import Path

import numpy as np

import limelight as ll
from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SIZE = 5_000_000
PATIENCE = 20.0


def at(node, soft=False):
    return NodeAffinitySchedulingStrategy(node.node_id, soft=soft)


def eventually(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.01)


def alive(node) -> bool:
    """What the cluster says of a node."""
    return next(row for row in ll.nodes() if row["NodeID"] == node.node_id)["Alive"]


def runs(pid) -> bool:
    return Path(f"/proc/{pid}").exists()


def idle() -> None:
    """Wait until nobody holds a CPU: leases are kept for a moment after their last task."""
    eventually(lambda: ll.available_resources().get("CPU") == ll.cluster_resources()["CPU"])


@ll.task
def where(seconds: float = 0.0) -> str:
    time.sleep(seconds)
    return ll.get_runtime_context().get_node_id()


@ll.task
def noise(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


@ll.task
def digest(array: np.ndarray) -> tuple[int, str]:
    return zlib.crc32(array), ll.get_runtime_context().get_node_id()


@ll.actor
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def where(self) -> str:
        return ll.get_runtime_context().get_node_id()

    def pid(self) -> int:
        return os.getpid()

    def restarted(self) -> bool:
        return ll.get_runtime_context().was_current_actor_reconstructed

    def put(self, size: int) -> list[ll.ObjectRef]:
        return [ll.put(np.ones(size, np.uint8))]


def expected(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
