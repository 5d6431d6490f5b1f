"""What each option may be: the rules that `task`, `actor`, `.options` and `method` check when options are given."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from .scheduling_strategy import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

SMALLEST_QUANTITY = 0.0001
"""Resources are counted in units of this."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL}\Z")
_LABEL_VALUE = re.compile(rf"(?:!?(?:{_LABEL}|in\(\s*{_LABEL}(?:\s*,\s*{_LABEL})*\s*\)))?\Z")


class Rule(msgspec.Struct, frozen=True):
    """One option: its types, what it may be in words, and a check that says what is wrong with one ("": nothing)."""

    types: tuple[type, ...]
    wanted: str
    problem: Callable[[Any], str] = lambda _value: ""


def check(what: str, rules: Mapping[str, Rule], given: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError for the first option in `given` that `rules` do not allow.

    Args:
        what: whose options they are, for the message: "a task".
        rules: the options there are.
        given: the options that were given.
    """
    for name, value in given.items():
        rule = rules.get(name)
        if rule is None:
            raise ValueError(unknown_name(f"Invalid option keyword {name!r} for {what}", name, rules))
        if not isinstance(value, rule.types):
            raise TypeError(f"{name} must be {rule.wanted}, but {value!r} was given, of type {type(value).__name__}.")
        problem = rule.problem(value)
        if problem:
            raise ValueError(f"{name} must be {rule.wanted}: {problem}.")


def unknown_name(problem: str, name: str, valid: Iterable[str]) -> str:
    """An error message about a name that does not exist: names the nearest that do, or all."""
    known = list(valid)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"{problem}. Did you mean {' or '.join(map(repr, near))}? Valid names: {', '.join(known)}."
    return f"{problem}. Valid names: {', '.join(known)}."


def _quantity(value: float | None) -> str:
    if value is None:
        return ""
    if not 0 <= value < float("inf"):
        return f"{value} cannot be asked for"
    if 0 < value < SMALLEST_QUANTITY:
        return f"{value} is smaller than the smallest quantity that is counted, {SMALLEST_QUANTITY}"
    return ""


def _gpus(value: float | None) -> str:
    if value is not None and value > 1 and value != int(value):
        return f"more than one GPU must be a whole number, not {value}"
    return _quantity(value)


def _resources(value: Mapping[Any, Any] | None) -> str:
    for name, quantity in (value or {}).items():
        if name in ("CPU", "GPU"):
            return f"{name} is asked for with num_{name.lower()}s="
        if name in ("memory", "object_store_memory"):
            return f"{name} is asked for with {name}="
        if not isinstance(name, str) or not isinstance(quantity, int | float):
            return f"{name!r}: {quantity!r} is not a name (str) and a quantity (number)"
        problem = _gpus(quantity) if name in ("TPU", "neuron_cores", "NPU", "HPU") else _quantity(quantity)
        if problem:
            return f"of {name!r}, {problem}"
    return ""


def _at_least(least: int) -> Callable[[int | None], str]:
    return lambda value: f"{value} is less than {least}" if value is not None and value < least else ""


def _num_returns(value: int | str | None) -> str:
    if isinstance(value, str):
        return "" if value in ("dynamic", "streaming") else f"{value!r} is neither"
    return _at_least(0)(value)


def _backpressure(value: int | None) -> str:
    if value is None or value == -1 or value > 0:
        return ""
    return f"{value} would never let an item through (-1: no limit; 1: an item is made when the one before was taken)"


def _exceptions(value: Any) -> str:
    if isinstance(value, bool):
        return ""
    wrong = next((item for item in value if not (isinstance(item, type) and issubclass(item, Exception))), None)
    return "" if wrong is None else f"{wrong!r} is not a class of exceptions"


def _strategy(value: Any) -> str:
    return f"{value!r} is neither" if isinstance(value, str) and value not in ("DEFAULT", "SPREAD") else ""


def label_selector_problem(value: Mapping[Any, Any] | None) -> str:
    """What is wrong with a label selector, or ""."""
    for key, wanted in (value or {}).items():
        if not isinstance(key, str) or not _LABEL_KEY.match(key):
            return f"{key!r} is not a label's name (at most 63 letters, digits, '-', '_', '.')"
        if not isinstance(wanted, str) or not _LABEL_VALUE.match(wanted):
            return f"{wanted!r} for {key!r} is not a value, '!value', 'in(a,b)' or '!in(a,b)'"
    return ""


def _fallback(value: list[Any] | None) -> str:
    for item in value or []:
        if not isinstance(item, dict) or list(item) != ["label_selector"]:
            return f"{item!r} is not of the form {{'label_selector': {{...}}}}"
        problem = label_selector_problem(item["label_selector"])
        if problem:
            return problem
    return ""


def _name(value: str | None) -> str:
    return "an empty name names nothing (leave it out, or give None)" if value == "" else ""


def _groups(value: Any) -> str:
    for name, size in value.items() if isinstance(value, dict) else ():
        if not isinstance(name, str) or not isinstance(size, int) or size < 1:
            return f"{name!r}: {size!r} is not a name and a number of threads, at least 1"
    return ""


_NONE = type(None)
_NUMBER = Rule((int, float, _NONE), "a number, 0 or more", _quantity)
_FLAG = Rule((bool,), "True or False")
_TEXT = Rule((str, _NONE), "a str or None")
_COUNT = Rule((int, _NONE), "an int, -1 (no limit), 0 or more", _at_least(-1))
_NAME = Rule((str, _NONE), "a str that is not empty, or None", _name)
_RETRY = Rule((bool, list, tuple), "True, False or a list of exception classes", _exceptions)
_NUM_RETURNS = Rule((int, str, _NONE), 'an int, 0 or more, "streaming" or "dynamic"', _num_returns)
_BACKPRESSURE = Rule((int, _NONE), "a number of items, 1 or more, or -1", _backpressure)
_PER_YIELD = Rule((int, _NONE), "a number of items, 1 or more", _at_least(1))

_STRATEGIES = (
    str,
    _NONE,
    PlacementGroupSchedulingStrategy,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
)

_SHARED: dict[str, Rule] = {
    "num_cpus": _NUMBER,
    "num_gpus": Rule((int, float, _NONE), "a number, 0 or more", _gpus),
    "memory": Rule((int, float, _NONE), "a number of bytes, 0 or more", _quantity),
    "resources": Rule((dict, _NONE), "a dict of names and quantities", _resources),
    "accelerator_type": _TEXT,
    "label_selector": Rule((dict, _NONE), "a dict of labels and wanted values", label_selector_problem),
    "fallback_strategy": Rule((list, _NONE), "a list of {'label_selector': {...}}", _fallback),
    "scheduling_strategy": Rule(_STRATEGIES, '"DEFAULT", "SPREAD" or a strategy from limelight.util', _strategy),
    "placement_group": Rule((object,), "a placement group"),
    "placement_group_bundle_index": Rule((int,), "the index of a bundle, or -1 for any", _at_least(-1)),
    "placement_group_capture_child_tasks": Rule((bool, _NONE), "True, False or None"),
    "runtime_env": Rule((dict, _NONE), "a dict, a RuntimeEnv or None"),
    "name": _NAME,
    "enable_task_events": _FLAG,
    "_labels": Rule((dict, _NONE), "a dict or None"),
    "_metadata": Rule((dict, _NONE), "a dict or None"),
}

TASK_RULES: dict[str, Rule] = {
    **_SHARED,
    "num_returns": _NUM_RETURNS,
    "max_retries": _COUNT,
    "retry_exceptions": _RETRY,
    "max_calls": Rule((int, _NONE), "an int, 0 (no limit) or more", _at_least(0)),
    "object_store_memory": Rule((_NONE,), "left out for tasks"),
    "_generator_backpressure_num_objects": _BACKPRESSURE,
    "_num_objects_per_yield": _PER_YIELD,
}

ACTOR_RULES: dict[str, Rule] = {
    **_SHARED,
    "namespace": _NAME,
    "lifetime": Rule(
        (str, _NONE),
        '"detached", "non_detached" or None',
        lambda value: "" if value in (None, "detached", "non_detached") else f"{value!r} is neither",
    ),
    "get_if_exists": _FLAG,
    "max_restarts": _COUNT,
    "max_task_retries": _COUNT,
    "max_pending_calls": _COUNT,
    "max_concurrency": Rule((int, _NONE), "an int, 1 or more", _at_least(1)),
    "concurrency_groups": Rule((dict, list, _NONE), "a dict of names and numbers of threads", _groups),
    "allow_out_of_order_execution": Rule((bool, _NONE), "True, False or None"),
    "object_store_memory": Rule((int, _NONE), "a number of bytes, 0 or more", _at_least(0)),
    "enable_tensor_transport": Rule((bool, _NONE), "True, False or None"),
    "isolation": Rule(
        (str,),
        '"process" or "shared"',
        lambda value: "" if value in ("process", "shared") else f"{value!r} is neither",
    ),
    "_actor_generator_backpressure_num_objects": _BACKPRESSURE,
}

METHOD_RULES: dict[str, Rule] = {
    "num_returns": _NUM_RETURNS,
    "max_task_retries": _COUNT,
    "retry_exceptions": _RETRY,
    "concurrency_group": _NAME,
    "enable_task_events": _FLAG,
    "tensor_transport": _TEXT,
    "_generator_backpressure_num_objects": _BACKPRESSURE,
    "_num_objects_per_yield": _PER_YIELD,
}

CALL_RULES: dict[str, Rule] = {**METHOD_RULES, "name": _NAME}
"""What the `.options` of an actor's method takes."""
