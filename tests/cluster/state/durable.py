"""Waits for what a head is called back about."""

import asyncio

from limelight.cluster.state.state_writer import StateWriter


async def durable(writer: StateWriter) -> None:
    """Wait until all that has been queued up to now is durable."""
    done = asyncio.Event()
    writer.when_durable(done.set)
    await done.wait()
