"""Waiting for a condition of which nobody tells."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


async def until(condition: Callable[[], Found], seconds: float = 30.0) -> Found:
    """Return what a condition returns, once that is true.

    Raises:
        TimeoutError: it has not become true in time.
    """
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - it is a state of something, and no event
            await asyncio.sleep(0.005)
    return found
