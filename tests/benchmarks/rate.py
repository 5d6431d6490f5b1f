"""How often something can be done in a second."""

import time
from collections.abc import Callable

WARM_UP = 0.25
"""The share of the measuring time that is spent before measuring: workers start, pages are touched, caches fill."""


def rate(operation: Callable[[], object], seconds: float, *, units: float = 1, warm_up_calls: int = 1) -> float:
    """Call `operation` for about `seconds` seconds, after a warm-up of at least `warm_up_calls` calls.

    Returns:
        Units per second, where each call does `units` of them.
    """
    for _ in range(warm_up_calls - 1):
        operation()
    _repeat(operation, seconds * WARM_UP)
    calls, elapsed = _repeat(operation, seconds)
    return calls * units / elapsed


def _repeat(operation: Callable[[], object], seconds: float) -> tuple[int, float]:
    calls = 0
    start = time.perf_counter()
    while True:
        operation()
        calls += 1
        if (elapsed := time.perf_counter() - start) >= seconds:
            return calls, elapsed
