"""Runtime environments on the caller's side: what a task asks for, merged with its job's and its parent's."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hub import Hub


class Environments:
    """Names environments by their content. Thread-safe.

    The key of an environment is its own description, in canonical JSON: a node manager that is asked for a worker of
    an environment needs no table to know what it is.
    """

    def __init__(self, hub: "Hub", job: dict[str, Any] | None = None) -> None:
        self._hub = hub
        self.job = job or {}

    def key(self, runtime_env: dict[str, Any]) -> str:
        """The key of the environment that results for a task; "" is the default environment."""
        merged = {**self._hub.runtime_env, **runtime_env}
        if not merged:
            return ""
        return json.dumps(merged, sort_keys=True)
