"""Stands by until it may lead, then keeps the lease for as long as the head lives.

keeper = LeadershipKeeper(store, holder=address, on_lost=head.step_down)
leadership = await keeper.lead()         # at once, or when the head that leads now is gone
…
await keeper.close()                     # another head need not wait
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from .error import FencedError, StateStoreError
from .state_store import Leadership, StateStore

logger = logging.getLogger(__name__)

TTL_S: Final = 8.0
"""A head that died is replaced after this and a fifth more at most, well below the 15 s a standby may take."""

ASKS_PER_TTL: Final = 5
"""How often a standby asks, and a leader renews, in the life of a lease: a leader may miss four times."""


class LeadershipKeeper:
    """One head's place in the row of those who lead or wait to.

    While the store is out of reach a leader goes on: nobody else can take over then either. It steps down when the
    store says that another did. Until then two heads may both believe that they lead, one of them cut off: what keeps
    them apart is the token, which the store checks with each batch, and whoever takes orders from heads should check.

    Args:
        store: an open store.
        holder: how to reach this head, for `StateStore.leader`.
        on_lost: called once, when another head has taken over. The writer's `on_fenced` may tell the same.
        ttl_s: seconds after which another may take over from a head that is silent.
    """

    def __init__(
        self, store: StateStore, holder: bytes, on_lost: Callable[[FencedError], None], *, ttl_s: float = TTL_S
    ) -> None:
        self._store = store
        self._holder = holder
        self._on_lost = on_lost
        self._ttl_s = ttl_s
        self._leadership: Leadership | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def lead(self, *, instead_of: int | None = None) -> Leadership:
        """Wait until this head leads, however long that is, and renew the lease from then on.

        A store that is out of reach is waited for too; the log says so once. To try only once: `StateStore.acquire`.

        Args:
            instead_of: the token of a leader that is known to be dead: its lease need not run out first.
        """
        reachable = True
        while True:
            try:
                leadership = await self._store.acquire(self._holder, self._ttl_s, instead_of=instead_of)
                reachable = True
            except StateStoreError as error:
                leadership = None
                if reachable:
                    logger.warning("This head waits to lead, and cannot ask: %s", error)
                reachable = False
            if leadership is not None:
                self._leadership = leadership
                self._renewing = asyncio.get_running_loop().create_task(
                    self._renew(leadership), name="limelight-leadership"
                )
                return leadership
            await asyncio.sleep(self._ttl_s / ASKS_PER_TTL)

    async def close(self) -> None:
        """Stop renewing; release the lease, if this head leads. Close the writer before: nothing is written after."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
            self._renewing = None
        if self._leadership is not None:
            leadership, self._leadership = self._leadership, None
            try:
                await leadership.release()
            except StateStoreError as error:
                logger.warning("The lease could not be released, and runs out by itself: %s", error)

    async def _renew(self, leadership: Leadership) -> None:
        reachable = True
        while True:
            await asyncio.sleep(self._ttl_s / ASKS_PER_TTL)
            try:
                await leadership.renew()
                reachable = True
            except FencedError as error:
                self._leadership = None
                self._on_lost(error)
                return
            except StateStoreError as error:
                if reachable:
                    logger.warning("The lease cannot be renewed for now, and this head goes on: %s", error)
                reachable = False
