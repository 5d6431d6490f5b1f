"""The words for a full store: who holds it, and what to do."""

from collections import Counter

from .state import StoreState


def describe_shortage(state: StoreState, size: int, process: str, waited: float) -> str:
    """Why `size` bytes were not to be had by `process` after `waited` seconds."""
    limits, objects = state.limits, state.objects
    pinned = sum(s.size for s in objects.by_key.values() if s.retry_at is not None and s.offset is not None)
    who = f"process {process}" if process else "restoring a spilled object"
    lines = [
        f"The object store of this node is full: {who} needs {amount(size)}, and none came free in {waited:.0f} s."
    ]
    lines.append(
        f"Of {amount(limits.capacity)}, {amount(objects.resident)} are objects ({amount(pinned)} in use by readers)"
        f" and {amount(state.grants.bytes)} are granted to processes that write."
    )
    lines += _largest("Objects by owner", objects.bytes_by_owner())
    lines += _largest("Grants by process", state.grants.bytes_by_process())
    if not limits.can_spill:
        lines.append("Spilling to disk is off.")
    elif state.spill_error:
        lines.append(f"Spilling to disk fails: {state.spill_error}")
    lines.append(
        "What to do: drop references to objects (and arrays made of them) that are not needed, work on fewer or "
        "smaller objects at a time, or start the node with a larger object_store_memory."
    )
    return "\n".join(lines)


def describe_too_large(capacity: int, size: int) -> str:
    """Why `size` bytes will never be had."""
    return (
        f"An object of {amount(size)} can never fit into this node's object store of {amount(capacity)}. Start the "
        "node with a larger object_store_memory, or split the object."
    )


def amount(size: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _largest(title: str, held: "Counter[str]") -> list[str]:
    if not held:
        return []
    return [
        f"{title}: " + ", ".join(f"{name or 'the store'} {amount(size)}" for name, size in held.most_common(3)) + "."
    ]
