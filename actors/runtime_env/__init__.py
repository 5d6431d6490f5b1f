"""Runtime environments: what a task or actor wants of the process it runs in.

A RuntimeEnv starts with paths and functions, as the user wrote them; `portable` and `packaged` turn them into text and
packages; `key` then names what worker processes must have in common; `apply` and `run_hook` set up the worker they are
called in.
"""

from .config import RuntimeEnvConfig
from .content import FIELDS_THAT_DIFFER, key, packaged, portable, received
from .environment import FIELDS, LATER, RuntimeEnv
from .inheritance import INTERPRETER_FIELDS, merge
from .remote_package import REMOTE_SCHEMES, is_remote
from .setup import apply, expanded, run_hook

__all__ = [
    "FIELDS",
    "FIELDS_THAT_DIFFER",
    "INTERPRETER_FIELDS",
    "LATER",
    "REMOTE_SCHEMES",
    "RuntimeEnv",
    "RuntimeEnvConfig",
    "apply",
    "expanded",
    "is_remote",
    "key",
    "merge",
    "packaged",
    "portable",
    "received",
    "run_hook",
]
