"""Settings of a node that hardly anybody changes: by environment variable, or by `init(_system_config={...})`.

The names are Ray's, where it has the setting.
"""

import os
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from .head_patience import PATIENCE_S

PREFIX = "LIMELIGHT_"
"""Of environment variables: LIMELIGHT_memory_usage_threshold=0.9."""


class NodeSettings(msgspec.Struct, frozen=True):
    """What can be set.

    Attributes:
        memory_usage_threshold: share of the node's memory above which the memory monitor stops workers; 1: never.
        memory_monitor_refresh_ms: how often it looks, in milliseconds; 0: never.
        oom_grace_period_s: how long a request for memory of the object store waits while none comes free, in seconds.
        runtime_env_cache_bytes: what environments made by pip, uv and conda may take of the disk, over all sessions
            of the user; those used longest ago are removed, but never what a worker uses.
        runtime_env_packages_bytes: likewise for the packages (working_dir, py_modules) of the session.
        gcs_server_request_timeout_seconds: how long the head may take to answer a question that changes nothing
            (`nodes()`, `get_actor()` and such) before that raises RpcError, in seconds; 0: without end.
        runtime_env_idle_s: how long an interpreter that no worker runs in any more stays warm, in seconds.
    """

    memory_usage_threshold: float = 0.95
    memory_monitor_refresh_ms: float = 250
    oom_grace_period_s: float = 2
    runtime_env_cache_bytes: float = 10 * 2**30
    runtime_env_packages_bytes: float = 10 * 2**30
    gcs_server_request_timeout_seconds: float = PATIENCE_S
    runtime_env_idle_s: float = 60

    @classmethod
    def read(cls, given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """The settings, from `given` first, then from environment variables.

        Raises:
            ValueError: there is no such setting, or its value makes no sense.
        """
        names = cls.__struct_fields__
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise ValueError(f"_system_config has no setting {', '.join(unknown)}; there are {', '.join(names)}.")
        values = {name: given.get(name, environment.get(PREFIX + name)) for name in names}
        settings = cls(**{name: _number(name, value) for name, value in values.items() if value is not None})
        if not 0 < settings.memory_usage_threshold <= 1:
            raise ValueError(
                "memory_usage_threshold is a share of the node's memory, above 0 and up to 1, "
                f"not {settings.memory_usage_threshold}."
            )
        return settings


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} is a number, at least 0, not {value!r} ({PREFIX}{name}, or _system_config).")
    return number
