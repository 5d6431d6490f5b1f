"""Waiting for the death of any process of this machine."""

import asyncio

from limelight.cluster.process.watch import ProcessWatch


async def wait_for_death(pid: int, identity: str | None = None) -> None:
    """Return when the process is dead; see `ProcessWatch`."""
    dead = asyncio.Event()
    watch = ProcessWatch(pid, dead.set, identity)
    try:
        await dead.wait()
    finally:
        watch.close()
