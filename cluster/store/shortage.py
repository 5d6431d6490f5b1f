"""The words for a full store: who holds it, and what to do."""

from collections import Counter
from collections.abc import Callable

from .reading import Reader
from .request import Request
from .state import StoreState

_LISTED = 3


def describe_shortage(state: StoreState, request: Request, now: float) -> str:
    """Why memory was not to be had."""
    limits, objects = state.limits, state.objects
    pinned = sum(s.size for s in objects.by_key.values() if s.retry_at is not None and s.offset is not None)
    who = state.name_of(request.process) if request.process else "restoring a spilled object"
    waited = now - request.since
    needs = f"{who} needs {amount(request.size)}, which did not come free in {waited:.1f} s"
    lines = [f"The object store of this node is full: {needs}."]
    lines.append(
        f"Of {amount(limits.capacity)}, {amount(objects.resident)} are objects ({amount(pinned)} in use by readers)"
        f" and {amount(state.grants.bytes)} are granted to processes that write."
    )
    lines += _largest("Objects by owner", _named(objects.bytes_by_owner(), state.name_of))
    lines += _largest("Objects by reader", _read(state.readers()))
    lines += _largest("Grants by process", _named(state.grants.bytes_by_process(), state.name_of))
    if not limits.can_spill:
        lines.append("Spilling to disk is off.")
    elif state.spill_error:
        lines.append(f"Spilling to disk fails: {state.spill_error}")
    lines.append(
        "What to do: drop references to objects (and arrays made of them) that are not needed, work on fewer or "
        "smaller objects at a time, start the node with a larger object_store_memory, or have puts wait longer for "
        "others to let go (the setting oom_grace_period_s)."
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


def _named(held: "Counter[str]", name_of: Callable[[str], str]) -> "Counter[str]":
    return Counter({name_of(process) if process else "the store": size for process, size in held.most_common(_LISTED)})


def _read(readers: list[Reader]) -> "Counter[str]":
    return +Counter({reader.name: reader.size for reader in readers})


def _largest(title: str, held: "Counter[str]") -> list[str]:
    listed = [f"{name} {amount(size)}" for name, size in held.most_common(_LISTED)]
    return [f"{title}: {', '.join(listed)}."] if listed else []
