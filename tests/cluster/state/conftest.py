"""The state's tests run on the loop that the head runs on."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that processes use on POSIX; tests/contracts runs on asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}
