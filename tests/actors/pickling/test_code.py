"""Code that is sent by value runs in the minor version of Python that compiled it, and nowhere else."""

import os
import sys

import pytest

from limelight.actors.pickling import code
from limelight.actors.serialization import deserialize, serialize


def adder(amount):
    def add(x):
        return x + amount

    return add


def test_functions_and_classes_are_sent_by_value():
    made = adder(3)
    assert deserialize(serialize(made).data)(4) == 7

    class Counter:
        def count(self):
            return [square(i) for i in range(3)]

    def square(x):
        return x * x

    assert deserialize(serialize(Counter).data)().count() == [0, 1, 4]


def test_another_minor_version_is_refused_and_both_are_named(monkeypatch):
    data = serialize(adder(3)).data
    monkeypatch.setattr(code, "MINOR", (3, 99))
    with pytest.raises(TypeError) as caught:
        deserialize(data)
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"adder.<locals>.add was sent as code of Python {ours}, and this process has Python 3.99" in str(
        caught.value
    )
    assert "py_modules" in str(caught.value)


def test_what_can_be_imported_is_sent_by_name_to_any_version(monkeypatch):
    data = serialize([os.path.join, len]).data
    monkeypatch.setattr(code, "MINOR", (3, 99))
    assert deserialize(data) == [os.path.join, len]
