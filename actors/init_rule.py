"""What each argument of `init` may be; checked before anything is started for it."""

import logging
import string
from collections.abc import Mapping
from typing import Any

from .option_rule import TASK_RULES, Rule, check

LEAST_STORE = 1 << 20
"""Bytes that an object store needs at least."""
_LEAST_TOKEN = 32


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError for the first argument of `init` that makes no sense."""
    check("init", INIT_RULES, {name: value for name, value in settings.items() if name in INIT_RULES})


def _labels(value: Mapping[Any, Any] | None) -> str:
    wrong = next((item for item in (value or {}).items() if not all(isinstance(part, str) for part in item)), None)
    return "" if wrong is None else f"{wrong[0]!r}: {wrong[1]!r} is not a label (str) and its value (str)"


def _store(value: float | None) -> str:
    return "" if value is None or value >= LEAST_STORE else f"{value} is too little, {LEAST_STORE} is the least"


def _level(value: int | str) -> str:
    names = logging.getLevelNamesMapping()
    return "" if isinstance(value, int) or value.upper() in names else f"{value!r} is none of {', '.join(names)}"


def _token(value: object) -> str:
    """Never shows it: that is why its type is looked at here, too."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return f"what was given is of type {type(value).__name__}"
    if len(value) < _LEAST_TOKEN or not set(value) <= set(string.hexdigits) or len(value) % 2:
        return f"what was given, of {len(value)} characters, is none"
    return ""


_NONE = type(None)
_FLAG = Rule((bool,), "True or False")
_TEXT = Rule((str, _NONE), "a str or None")

INIT_RULES: dict[str, Rule] = {
    "address": _TEXT,
    "num_cpus": TASK_RULES["num_cpus"],
    "num_gpus": TASK_RULES["num_gpus"],
    "resources": TASK_RULES["resources"],
    "labels": Rule((dict, _NONE), "a dict of labels and their values", _labels),
    "object_store_memory": Rule((int, float, _NONE), "a number of bytes, for example 500e6", _store),
    "local_mode": _FLAG,
    "ignore_reinit_error": _FLAG,
    "dashboard_host": Rule((str,), "an address to listen on (a str)"),
    "dashboard_port": Rule((int, _NONE), "a port number or None"),
    "configure_logging": _FLAG,
    "logging_level": Rule((int, str), 'a level of `logging`, such as "INFO"', _level),
    "logging_format": _TEXT,
    "log_to_driver": Rule((bool, _NONE), "True, False or None"),
    "namespace": TASK_RULES["name"],
    "token": Rule((object,), "the cluster's token, in hexadecimal", _token),
}
"""The arguments that are checked; of the others, each is checked where it is used."""
