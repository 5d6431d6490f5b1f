"""What an editor knows of tasks, actors and objects. Pyright checks this file (tests/test_gate.py); nobody runs it."""

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
    """Python cannot type "each method, with .remote"; `@ll.method` is what lets an editor know a method."""

    def __init__(self, start: int = 0) -> None:
        self.count = start

    @ll.method
    def add(self, amount: int = 1) -> int:
        self.count += amount
        return self.count

    @ll.method
    async def name(self) -> str:
        return f"counter at {self.count}"


@ll.actor(max_restarts=2)
class Log:
    @ll.method
    def lines(self, containing: str) -> list[str]:
        return [containing]


@ll.remote(num_cpus=1)
class Clock:
    @ll.method(num_returns=1)
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
    assert_type(square.remote(square.remote(3)), ll.ObjectRef[int])
    square.remote("three")  # pyright: ignore[reportCallIssue, reportArgumentType] - the point: an editor objects


def objects() -> None:
    assert_type(ll.put(b"bytes"), ll.ObjectRef[bytes])
    assert_type(ll.get(ll.put({"a": 1})), dict[str, int])
    ready, others = ll.wait([square.remote(i) for i in range(4)], num_returns=2, timeout=1.0)
    assert_type(ready, list[ll.ObjectRef[int]])
    assert_type(others, list[ll.ObjectRef[int]])


async def awaited() -> None:
    assert_type(await square.remote(3), int)


def actors() -> None:
    counter = Counter.remote(start=1)
    assert_type(counter.add.remote(2), ll.ObjectRef[int])
    assert_type(ll.get(counter.add.remote()), int)
    assert_type(ll.get(counter.name.remote()), str)
    assert_type(ll.get(Log.options(name="log").remote().lines.remote("error")), list[str])
    assert_type(ll.get(Clock.remote().seconds.remote()), float)
    counter.add.remote("two")  # pyright: ignore[reportCallIssue, reportArgumentType] - the point: an editor objects
