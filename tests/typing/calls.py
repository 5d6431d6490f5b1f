"""What an editor knows of tasks, actors and objects. Pyright checks this file (tests/test_gate.py); nobody runs it.

Arguments: a ref may stand for any value, and Python cannot say "each parameter, or a ref to one". So `.remote` shows
the function's own signature and accepts anything; what is wrong raises TypeError at the call.
Actors: Python cannot type "each method, with .remote" either. Handles know their class, and accept all method names.
"""

from collections.abc import Iterator
from typing import Any, assert_type

import limelight as ll
from limelight import ActorClass, ActorHandle, ObjectRef, ObjectRefGenerator


@ll.task
def square(x: int) -> int:
    return x * x


@ll.task(num_cpus=2, max_retries=0)
def name(x: int, *, upper: bool = False) -> str:
    return str(x).upper() if upper else str(x)


@ll.remote
def half(x: float) -> float:
    return x / 2


@ll.remote(num_gpus=1)
def double(x: float) -> float:
    return x * 2


@ll.task
def count(n: int) -> Iterator[int]:
    yield from range(n)


@ll.task(num_returns=2)
def pair() -> tuple[int, str]:
    return 1, "x"


@ll.actor
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.n = start

    def add(self, k: int = 1) -> int:
        self.n += k
        return self.n


@ll.actor(num_cpus=1, max_restarts=2)
class Named:
    @ll.method(num_returns=2)
    def two(self) -> tuple[int, int]:
        return 1, 2


@ll.remote
class Either:
    pass


def check_tasks() -> None:
    assert_type(square.remote(3), ObjectRef[int])
    assert_type(name.remote(3, upper=True), ObjectRef[str])
    assert_type(half.remote(1.0), ObjectRef[float])
    assert_type(double.remote(1.0), ObjectRef[float])
    assert_type(square.remote(square.remote(3)), ObjectRef[int])
    assert_type(square.options(num_cpus=2).remote(3), ObjectRef[int])
    first, second = pair.remote()
    _ = (first, second)
    first, second = square.options(num_returns=2).remote(3)


def check_objects() -> None:
    assert_type(ll.get(square.remote(3)), int)
    assert_type(ll.get([square.remote(3)]), list[int])
    assert_type(ll.get([name.remote(i) for i in range(3)], timeout=1), list[str])
    assert_type(ll.put("x"), ObjectRef[str])
    assert_type(square.remote(3).result(), int)
    assert_type(square.remote(3).future().result(), int)
    ready, others = ll.wait([square.remote(3)])
    assert_type(ready, list[ObjectRef[int]])
    assert_type(others, list[ObjectRef[int]])


def check_generators() -> None:
    generator = count.remote(3)
    assert_type(generator, ObjectRefGenerator[int])
    for ref in generator:
        assert_type(ll.get(ref), int)


async def check_awaiting() -> None:
    assert_type(await square.remote(3), int)
    async for ref in count.remote(3):
        assert_type(await ref, int)


@ll.remote(num_cpus=1)
class Clock:
    @ll.method
    async def seconds(self) -> float:
        return 0.0


def check_actors() -> None:
    counter = Counter.remote(start=1)
    _ = (ll.get(counter.add.remote(2)), ll.get(counter.add.options(name="x").remote()))
    _ = (Counter.options(name="x").remote(), Named.remote().two.remote(), Clock.remote().seconds.remote())
    handle: ActorHandle[Any] = counter
    ll.kill(handle)
    kept: ActorClass[..., Any] = Either
    _ = kept
    assert_type(ll.get_actor("x"), ActorHandle[Any])
