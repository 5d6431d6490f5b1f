"""What a machine offers to the cluster."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ...actors import accelerator
from ...actors.ids import NODE_ID_LABEL
from ...actors.init_rule import LEAST_STORE
from ...exceptions.death import format_bytes
from ..scheduling.labels import check_labels
from ..scheduling.resources import HEAD_RESOURCE, ResourceSet
from .node_config import NodeConfig

_STORE_SHARE = 0.3
"""Of the machine's memory, for objects: Ray's default."""
_MOST_STORE = 200 << 30
_ACCELERATOR_LABEL = "ray.io/accelerator-type"


class Inventory(NamedTuple):
    """Resources and labels of a node.

    Attributes:
        resources: in fixed point.
        labels: checked, with those that every node has of itself, by Ray's names.
        store_bytes: size of the object store.
        devices: names of the GPUs, as CUDA_VISIBLE_DEVICES takes them.
    """

    resources: ResourceSet
    labels: dict[str, str]
    store_bytes: int
    devices: list[str]


def take_inventory(config: NodeConfig, host: str, node_id: str) -> Inventory:
    """What this machine has, where the config does not say otherwise.

    Raises:
        ValueError, TypeError: the config asks for something that makes no sense.
    """
    total = memory_limit()
    store = config.object_store_memory
    if store is None:
        store = min(int(total * _STORE_SHARE), _MOST_STORE)
    if store < LEAST_STORE:
        raise ValueError(f"object_store_memory is {store} bytes; an object store needs at least {LEAST_STORE}.")
    if store > total:
        raise ValueError(
            f"object_store_memory is {format_bytes(store)}, more than the {format_bytes(total)} of memory that this "
            "machine (or container) has. Objects that do not fit into the store are spilled to disk."
        )
    gpus = [] if config.num_gpus == 0 else accelerator.detect()
    amounts: dict[str, float] = {
        "CPU": available_cpus() if config.num_cpus is None else config.num_cpus,
        "memory": config.memory if config.memory is not None else max(0, total - store),
        "object_store_memory": store,
        f"node:{host}": 1.0,
        **({HEAD_RESOURCE: 1.0} if config.head is None or config.on_head else {}),
        **_offered(gpus, config.num_gpus),
        **config.resources,
    }
    labels = {**_accelerator_label(amounts), **check_labels(config.labels), NODE_ID_LABEL: node_id}
    return Inventory(ResourceSet.parse(amounts), labels, store, _names(gpus, config.num_gpus))


def _accelerator_label(amounts: Mapping[str, float]) -> dict[str, str]:
    """What kind of GPU it has; of several kinds the first."""
    kinds = sorted(kind for name in amounts if (kind := name.removeprefix(accelerator.TYPE_PREFIX)) != name)
    return {_ACCELERATOR_LABEL: kinds[0]} if kinds else {}


def _offered(gpus: list[accelerator.Gpu], count: float | None) -> dict[str, float]:
    """The GPUs that were found, or as many as the config says: of those found, and made-up ones (for tests) beside."""
    if count is None:
        return accelerator.resources(gpus)
    visible = accelerator.visible_devices()
    if visible is not None and count > len(visible):
        raise ValueError(f"num_gpus is {count:g}, but CUDA_VISIBLE_DEVICES names {len(visible)}: {','.join(visible)}.")
    return {**accelerator.resources(gpus[: int(count)]), "GPU": count}


def _names(gpus: list[accelerator.Gpu], count: float | None) -> list[str]:
    visible = accelerator.visible_devices()
    if count is not None and visible is not None:
        return visible  # what the user says is taken for true
    return [gpu.device for gpu in gpus]


def available_cpus() -> float:
    """CPUs that this process may use: by affinity, and by the cgroup's quota."""
    cpus = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    quota = _cgroup_quota()
    return max(1.0, float(int(min(cpus, quota)))) if quota is not None else cpus


def _cgroup_quota() -> float | None:
    """CPUs by the cgroup's quota; None where there is none.

    Source: cpu.max in Linux's Documentation/admin-guide/cgroup-v2.rst.
    """
    try:
        quota, _, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").partition(" ")
    except OSError:
        return None
    return None if quota == "max" else int(quota) / int(period)


def memory_limit() -> int:
    """Bytes of memory: the machine's, or the cgroup's limit where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # psutil says the same, and takes 8 ms to import
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return total if limit == "max" else min(total, int(limit))
