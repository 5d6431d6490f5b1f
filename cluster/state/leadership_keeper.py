"""Keeps the lease of the head that leads, for as long as the head lives.

keeper = LeadershipKeeper(leadership, on_lost=head.step_down)
…
await keeper.close()                     # another head need not wait
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from .error import FencedError, StateStoreError
from .state_store import Leadership

logger = logging.getLogger(__name__)

TTL_S: Final = 6.0
"""A head that died is replaced after this and a quarter more at most, well below the 15 s a standby may take."""

ASKS_PER_TTL: Final = 4
"""How often a standby asks, and a leader renews, in the life of a lease: a leader may miss twice."""


class LeadershipKeeper:
    """Renews a leadership until it is closed. On the running loop.

    While the store is out of reach a leader goes on: nobody else can take over then either. It steps down when the
    store says that another did. Until then two heads may both believe that they lead, one of them cut off: what keeps
    them apart is the token, which the store checks with each batch, and whoever takes orders from heads should check.

    Args:
        leadership: the lease.
        on_lost: called when another head has taken over. The writer's `on_fenced` may tell the same.
    """

    def __init__(self, leadership: Leadership, on_lost: Callable[[FencedError], None]) -> None:
        self._leadership = leadership
        self._on_lost = on_lost
        self._renewing = asyncio.get_running_loop().create_task(self._renew(), name="limelight-leadership")

    async def close(self) -> None:
        """Stop renewing, and lead no more. Close the writer before: nothing is written after."""
        self._renewing.cancel()
        await asyncio.wait({self._renewing})
        try:
            await self._leadership.release()
        except StateStoreError as error:
            logger.warning("The lease could not be released, and runs out by itself: %s", error)

    async def _renew(self) -> None:
        reachable = True
        while True:
            await asyncio.sleep(self._leadership.ttl_s / ASKS_PER_TTL)
            try:
                await self._leadership.renew()
                reachable = True
            except FencedError as error:
                self._on_lost(error)
                return
            except Exception as error:  # whatever it is: who stops to renew is replaced
                if reachable:
                    odd = None if isinstance(error, StateStoreError) else error
                    logger.warning(
                        "The lease cannot be renewed for now, and this head goes on: %s", error, exc_info=odd
                    )
                reachable = False
