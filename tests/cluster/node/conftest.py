"""What tests of a node's parts share."""

import pytest_asyncio

from .link_world import World


@pytest_asyncio.fixture
async def world():
    """Heads and one node; all of it is ended."""
    made = World()
    yield made
    await made.close()
