"""What a task gets that has an environment of its own, and whose job or parent task has one, too."""

from collections.abc import Mapping
from typing import Any

from .environment import HOOK, PICKLED_HOOK, RuntimeEnv

INTERPRETER_FIELDS = ("pip", "uv", "conda", "py_executable")
"""The fields that say which interpreter a worker runs in: an environment has at most one of them."""


def merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> RuntimeEnv:
    """What a task gets whose own environment is `child` and whose job's or parent task's is `parent`.

    As in Ray: environment variables of both, the child's winning; any other field of the child replaces the parent's.
    A child that says which interpreter it runs in (by pip, uv, conda or py_executable) gets none of its parent's.
    """
    replaced: set[str] = set()
    if any(name in child for name in INTERPRETER_FIELDS):
        replaced.update(INTERPRETER_FIELDS)
    if HOOK in child:
        replaced.add(PICKLED_HOOK)
    fields = {name: value for name, value in parent.items() if name not in replaced} | dict(child)
    env_vars = {**parent.get("env_vars", {}), **child.get("env_vars", {})}
    if env_vars:
        fields["env_vars"] = env_vars
    return RuntimeEnv(**fields, _validate=False)
