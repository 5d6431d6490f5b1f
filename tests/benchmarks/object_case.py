"""Cases of objects."""

import numpy as np

from .case import rate_case
from .rate import rate

MIB = 1 << 20
LARGE = 100 * MIB

PUTS_BEFORE = 20
"""Large puts before the measured ones. The first touch of a page costs far more than a later one, and either engine
reuses the memory of dropped objects in an order of its own; after 2 GiB both are past their first pages."""


def large_array() -> np.ndarray:
    """100 MiB that are there: zeros would all be one page of the kernel's."""
    return np.arange(LARGE // 8, dtype=np.int64)


@rate_case("put, small", goal=30)
def put_small(ray, seconds):
    return rate(lambda: ray.put(0), seconds)


@rate_case("get, small", goal=20)
def get_small(ray, seconds):
    ref = ray.put(0)
    return rate(lambda: ray.get(ref), seconds)


@rate_case("put 100 MiB, refs dropped", goal=5, unit=" GiB/s")
def put_large(ray, seconds):
    array = large_array()
    return rate(lambda: ray.put(array), seconds, units=LARGE / (1 << 30), warm_up_calls=PUTS_BEFORE)


@rate_case("get 100 MiB", goal=5)
def get_large(ray, seconds):
    array = large_array()
    ref = ray.put(array)

    def call():
        assert ray.get(ref)[-1] == array[-1]

    return rate(call, seconds)
