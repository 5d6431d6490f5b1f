"""Node labels, and conditions on them."""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

Operator = Literal["in", "not_in", "exists", "does_not_exist"]

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_key_pattern = re.compile(rf"([A-Za-z0-9]([-A-Za-z0-9.]{{0,251}}[A-Za-z0-9])?/)?{_NAME}")
_value_pattern = re.compile(rf"({_NAME})?")
_list_pattern = re.compile(r"(!?)in\((.*)\)", re.DOTALL)


class LabelCondition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One condition on one label. As in Kubernetes, `not_in` holds where the label is missing."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels meets it."""
        match self.operator:
            case "in":
                return labels.get(self.key) in self.values
            case "not_in":
                return labels.get(self.key) not in self.values
            case "exists":
                return self.key in labels
            case "does_not_exist":
                return self.key not in labels

    def describe(self) -> str:
        """For people: `zone in (a, b)`."""
        listed = f" ({', '.join(self.values)})" if self.values else ""
        return f"{self.key} {self.operator.replace('_', ' ')}{listed}"


LabelSelector = tuple[LabelCondition, ...]
"""Conditions that must all hold."""


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether all conditions hold."""
    for condition in selector:  # noqa: SIM110 - all() with a generator takes twice as long here
        if not condition.holds(labels):
            return False
    return True


def parse_selector(selector: Mapping[str, str]) -> LabelSelector:
    """From the `label_selector` option: `{"zone": "a", "gpu": "!T4", "disk": "in(ssd, nvme)", "os": "!in(windows)"}`.

    Raises:
        TypeError: a key or value is not text.
        ValueError: a key or value is not of the syntax that Kubernetes has for labels.
    """
    return tuple(_parse_condition(key, value) for key, value in sorted(selector.items()))


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """A node's labels as given by people, checked: the same errors as `parse_selector`."""
    for key, value in labels.items():
        _check_key(key)
        _check_value(key, value)
    return dict(labels)


def _parse_condition(key: str, value: str) -> LabelCondition:
    _check_key(key)
    if not isinstance(value, str):
        raise TypeError(f"The label selector for {key!r} must be text, not {type(value).__name__}.")
    listed = _list_pattern.fullmatch(value.strip())
    if listed:
        values = tuple(part.strip() for part in listed[2].split(","))
        if not all(values):
            raise ValueError(f"The label selector {key!r}: {value!r} lists an empty value; write it as in(a, b).")
        negated = bool(listed[1])
    else:
        negated = value.startswith("!")
        values = (value.removeprefix("!"),)
    for one in values:
        _check_value(key, one)
    return LabelCondition(key, "not_in" if negated else "in", values)


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"A label's key must be text, not {type(key).__name__} ({key!r}).")
    if not _key_pattern.fullmatch(key):
        raise ValueError(
            f"{key!r} is no label key: use letters, digits, '-', '_' and '.', at most 63 of them, "
            "starting and ending with a letter or digit, with an optional 'prefix/' in front."
        )


def _check_value(key: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"The value of label {key!r} must be text, not {type(value).__name__} ({value!r}).")
    if not _value_pattern.fullmatch(value):
        raise ValueError(
            f"{value!r} is no value for label {key!r}: use letters, digits, '-', '_' and '.', at most 63 of them, "
            "starting and ending with a letter or digit. Selectors are 'value', '!value', 'in(a, b)' or '!in(a, b)'."
        )
