"""Runs of tasks as events of chrome://tracing (and Perfetto): what `timeline()` returns."""

from typing import Any

_MICROSECONDS = 1e6


def timeline_event(
    name: str, start: float, seconds: float, status: str, *, node: str, process: str, **about: str
) -> dict[str, Any]:
    """A bar in the row of a process, under its node.

    Args:
        name: the task's, or "Class.method".
        start: seconds since the epoch.
        seconds: how long the user's code ran.
        status: "ok", "error" or "cancelled".
        node: the row's group.
        process: the row.
        about: what is shown for the bar, such as its `task_id`; "" is left out.
    """
    return {
        "cat": f"task::{name}",
        "name": name,
        "ph": "X",
        "pid": node,
        "tid": process,
        "ts": start * _MICROSECONDS,
        "dur": seconds * _MICROSECONDS,
        "cname": "generic_work" if status == "ok" else "terrible",
        "args": {"name": name, "status": status, **{key: value for key, value in about.items() if value}},
    }
