"""What is asked of a cluster that shall run a job: the body of POST /api/jobs/, checked."""

import re
import secrets
import string
from typing import Any

import msgspec

from ...actors.options import actor_options
from ...actors.runtime_env import RuntimeEnv, received
from ..job_environment import MAX_TEXT
from ..scheduling.labels import parse_selector

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_LETTERS = string.ascii_letters + string.digits
_UNIT = 10_000


class SubmitRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Fields as in Ray. `job_id` is the older name of `submission_id`."""

    entrypoint: str
    submission_id: str | None = None
    job_id: str | None = None
    runtime_env: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None
    entrypoint_label_selector: dict[str, str] | None = None

    def name(self) -> str:
        """Its submission id; one that is made up where none was given.

        Raises:
            ValueError: it cannot be one: it is part of the name of a file, and of addresses.
        """
        given = self.submission_id or self.job_id
        if not given:
            return new_name()
        if _NAME.fullmatch(given) is None:
            raise ValueError(
                f"submission_id={given!r}: it may have letters, digits, '_', '-' and '.' (not first), and at most 128 "
                "of them."
            )
        return given

    def units(self) -> dict[str, int]:
        """What its entrypoint holds, in 1/10000.

        Raises:
            ValueError, TypeError: a quantity or selector makes no sense.
        """
        if not self.entrypoint.strip():
            raise ValueError("entrypoint is empty: give the command that the job runs, such as 'python script.py'.")
        size = len(self.entrypoint.encode())
        if size > MAX_TEXT or "\0" in self.entrypoint:
            why = "has a NUL character" if size <= MAX_TEXT else f"has {size} bytes, and may have {MAX_TEXT}"
            raise ValueError(f"entrypoint {why}. Put the program into a file of the working_dir, and name that.")
        given = {
            "num_cpus": self.entrypoint_num_cpus or 0,
            "num_gpus": self.entrypoint_num_gpus,
            "memory": self.entrypoint_memory,
            "resources": self.entrypoint_resources,
        }
        placement = actor_options({name: value for name, value in given.items() if value is not None}, is_async=False)
        parse_selector(self.entrypoint_label_selector or {})
        return {kind: round(quantity * _UNIT) for kind, quantity in placement.placement.running.items()}

    def environment(self) -> RuntimeEnv:
        """Its runtime environment.

        Raises:
            ValueError, TypeError, NotImplementedError: it makes no sense.
        """
        return received(self.runtime_env)


def new_name() -> str:
    """A name for a job that nobody has named."""
    return "job_" + "".join(secrets.choice(_LETTERS) for _ in range(16))
