"""What a node offers, in words."""

from collections.abc import Mapping

from ...exceptions.death import format_bytes

_UNSHOWN = ("node:", "accelerator_type:")


def offer(resources: Mapping[str, float]) -> str:
    """Resources for people: "2 CPUs, 1 GPU, 15.2 GiB of memory, 6.5 GiB for objects"."""
    parts = [f"{resources.get('CPU', 0):g} CPU{'' if resources.get('CPU') == 1 else 's'}"]
    gpus = resources.get("GPU", 0)
    if gpus:
        parts.append(f"{gpus:g} GPU{'' if gpus == 1 else 's'}")
    parts.append(f"{format_bytes(int(resources.get('memory', 0)))} of memory")
    parts.append(f"{format_bytes(int(resources.get('object_store_memory', 0)))} for objects")
    known = {"CPU", "GPU", "memory", "object_store_memory"}
    parts += [
        f"{amount:g} {name}"
        for name, amount in sorted(resources.items())
        if name not in known and not name.startswith(_UNSHOWN)
    ]
    return ", ".join(parts)
