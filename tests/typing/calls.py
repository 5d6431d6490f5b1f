"""What an editor knows of tasks, actors and objects. Pyright checks this file (tests/test_gate.py); nobody runs it."""

from collections.abc import Iterator
from typing import assert_type

import limelight as ll


@ll.task
def square(x: int) -> int:
    return x * x


@ll.task(num_cpus=2, max_retries=3)
def describe(name: str, *, width: float = 1.0) -> str:
    return f"{name} {width}"


@ll.remote
def halve(x: float) -> float:
    return x / 2


@ll.actor
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, amount: int = 1) -> int:
        self.count += amount
        return self.count


class PlainLog:
    def __init__(self, path: str) -> None:
        self.path = path


Log = ll.actor(PlainLog)


@ll.remote
class Clock:
    def seconds(self) -> float:
        return 0.0


def tasks() -> None:
    assert_type(square.remote(3), ll.ObjectRef[int])
    assert_type(ll.get(square.remote(3)), int)
    assert_type(ll.get([square.remote(i) for i in range(4)]), list[int])
    assert_type(ll.get(square.remote(3), timeout=1.0), int)
    assert_type(describe.remote("a", width=2.0), ll.ObjectRef[str])
    assert_type(describe.options(num_cpus=1).remote("a"), ll.ObjectRef[str])
    assert_type(halve.remote(3.0), ll.ObjectRef[float])
    assert_type(square.remote(3).result(timeout=1.0), int)


def refs_stand_for_their_values() -> None:
    """So `.remote` accepts a ref for any argument, and cannot check their types as a plain call would."""
    assert_type(square.remote(square.remote(3)), ll.ObjectRef[int])


@ll.task
def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def streams() -> None:
    assert_type(numbers.remote(3), ll.ObjectRefGenerator[int])
    assert_type([ll.get(ref) for ref in numbers.remote(3)], list[int])


def objects() -> None:
    assert_type(ll.put(b"bytes"), ll.ObjectRef[bytes])
    assert_type(ll.get(ll.put({"a": 1})), dict[str, int])
    ready, others = ll.wait([square.remote(i) for i in range(4)], num_returns=2, timeout=1.0)
    assert_type(ready, list[ll.ObjectRef[int]])
    assert_type(others, list[ll.ObjectRef[int]])


async def awaited() -> None:
    assert_type(await square.remote(3), int)


def actors() -> None:
    # Python's types cannot say "each method of the class, with .remote": what a method gives is for the reader to say.
    total: int = ll.get(Counter.remote(start=1).add.remote(2))
    seconds: float = ll.get(Clock.remote().seconds.remote())
    print(total, seconds)
    assert_type(Log.remote("a.log"), ll.ActorHandle[PlainLog])
    assert_type(Log.options(name="log", max_restarts=2).remote("a.log"), ll.ActorHandle[PlainLog])
