"""Keeps the lease of the head that leads, for as long as the head lives.

keeper = LeadershipKeeper(leadership, on_lost=head.step_down, on_doubt=head.say_nothing)
…
await keeper.close()                     # another head need not wait
"""

import asyncio
import logging
import math
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

    While the store is out of reach, or hangs, a leader waits: another may reach it, and lead when the lease is over.
    Before that this one is in doubt, and says nothing more. It goes on where the lease turns out to be its own still,
    as when nobody reached the store, and steps down when the store says that another has taken over. What keeps two
    heads apart that both believe to lead, as where a whole machine was paused, is the token, which the store checks
    with each batch, and whoever takes orders from heads should check.

    Args:
        leadership: the lease.
        on_lost: called when another head has taken over. The writer's `on_fenced` may tell the same.
        on_doubt: called with the reason when another may lead by now, and with "" after each renewal: none does.
    """

    def __init__(
        self,
        leadership: Leadership,
        on_lost: Callable[[FencedError], None],
        on_doubt: Callable[[str], None],
    ) -> None:
        self._leadership = leadership
        self._on_lost = on_lost
        self._on_doubt = on_doubt
        self._renewed = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._doubting = loop.create_task(self._doubt(), name="limelight-leadership-doubt")
        self._renewing = loop.create_task(self._renew(), name="limelight-leadership")

    async def close(self) -> None:
        """Stop renewing, and lead no more. Close the writer before: nothing is written after."""
        self._renewing.cancel()
        self._doubting.cancel()
        await asyncio.wait({self._renewing, self._doubting})
        try:
            await self._leadership.release()
        except StateStoreError as error:
            logger.warning("The lease could not be released, and runs out by itself: %s", error)

    async def _doubt(self) -> None:
        """Say so when the lease may be over; a renewal may hang for longer than it lasts."""
        while not math.isinf(sure_s := self._leadership.sure_s):
            if not sure_s:
                place, ttl_s = self._leadership.store.place, self._leadership.ttl_s
                reason = f"the state in {place} has not renewed this head's lease in {ttl_s:g} s: another head may lead"
                logger.warning("This head says nothing for now: %s.", reason)
                self._on_doubt(reason)
                self._renewed.clear()
                await self._renewed.wait()
            else:
                await asyncio.sleep(sure_s)

    async def _renew(self) -> None:
        reachable, late = True, False
        while True:
            if not late:
                await asyncio.sleep(self._leadership.ttl_s / ASKS_PER_TTL)
            late = False
            try:
                await self._leadership.renew()
                reachable = True
                late = not self._leadership.is_sure  # it took so long that the lease may be over again
                if not late:
                    self._renewed.set()
                    self._on_doubt("")
            except FencedError as error:
                self._on_lost(error)
                return
            except Exception as error:  # whatever it is: who stops to renew is replaced
                if reachable:
                    odd = None if isinstance(error, StateStoreError) else error
                    logger.warning("The lease cannot be renewed for now: %s", error, exc_info=odd)
                reachable = False
