"""Where the head keeps what must outlive it, behind one small interface: tables of keys and bytes.

    store = make_store("postgresql://limelight@db/cluster")     # store_url.py; or sqlite:////…, redis://…, memory
    await store.open()
    leadership = await store.acquire(address, ttl_s=6)          # None: somebody else leads: `await store.leader()`
    actors = await store.load("actors")                         # after acquiring, so that nobody writes any more
    await leadership.apply([Put("actors", key, record), Delete("jobs", old)])

**Who may write.** One head leads. Its right to write is a `Leadership`, which only `acquire` makes; there is no other
way to write. Each leadership has a fencing token greater than all before it. A store checks, in the same step that
writes a batch, that this leadership is still the last one made: so a head that was paused, or cut off, and comes back
after another took over cannot change one byte. When a lease ends is decided by the server's clock, so that clocks of
hosts do not matter. Where that is set back, a lease would last for longer than anybody meant: one that has twice its
time left is over. A lease that has run out while nobody else asked for it goes on at the next `renew`.

**Batches whose outcome is unknown.** A batch is numbered within its leadership, and the store remembers the last number
it wrote. So a batch that was sent, seemed lost, and was sent again is written once; and one that was delayed on a dead
connection and arrives after a later batch is dropped instead of bringing old values back.
"""

import asyncio
import contextlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .change import Change
from .error import FencedError, StateStoreError


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads now.

    Attributes:
        token: the fencing token: of two leaders, the one with the greater is the later.
        holder: what that leader said of itself in `acquire`: how to reach it.
    """

    token: int
    holder: bytes


class Leadership:
    """The right to write to a store, until another takes it. Made by `StateStore.acquire`.

    Attributes:
        token: the fencing token, greater than that of every leadership of the store before.
        ttl_s: seconds that the lease lasts from `acquire` and from each `renew`. Renew it every quarter of that.
    """

    def __init__(self, store: "StateStore", claim: str, token: int, ttl_s: float) -> None:
        self.token = token
        self.ttl_s = ttl_s
        self._store = store
        self._claim = claim
        self._number = 0
        self._over = ""
        self._lock = asyncio.Lock()

    @property
    def store(self) -> "StateStore":
        """What it is the right to write to."""
        return self._store

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write a batch: all of it, durably, or nothing. Of two changes of one key the later counts.

        Batches are written in the order of the calls.

        Raises:
            FencedError: the leadership is over; nothing was written.
            StateStoreError: the store failed; the batch may have been written. Write it again, then what follows.
        """
        async with self._lock:
            self._check()
            if not changes:
                return
            self._number += 1
            if not await self._store.write(self._claim, self._number, changes):
                raise await self._fenced()

    async def renew(self) -> None:
        """Let the lease last `ttl_s` seconds from now.

        Raises:
            FencedError: another has taken over.
            StateStoreError: the store is out of reach. The lease may run out meanwhile; whether another took over is
                known when the store is back.
        """
        self._check()
        if not await self._store.extend(self._claim, self.ttl_s):
            raise await self._fenced()

    async def release(self) -> None:
        """Lead no more, so that another need not wait for the lease to run out. What is not written yet never will be.

        Raises:
            StateStoreError: the store is out of reach; the lease will run out by itself.
        """
        async with self._lock:
            if not self._over:
                self._over = f"Leadership {self.token} of the state in {self._store.place} was given up."
                await self._store.give_up(self._claim)

    def _check(self) -> None:
        if self._over:
            raise FencedError(self._over)

    async def _fenced(self) -> FencedError:
        successor = None
        with contextlib.suppress(StateStoreError):  # to name it is a courtesy
            leader = await self._store.leader()
            successor = leader.token if leader is not None else None
        self._over = (
            f"Leadership {self.token} of the state in {self._store.place} is over: "
            + (f"another head has taken over, with token {successor}" if successor else "the store knows it no more")
            + ". This head must not write any more; it can stand by."
        )
        return FencedError(self._over, successor)


class StateStore(ABC):
    """Tables of `str` keys and `bytes` values that outlive the process. Used on one event loop.

    What may be a table, a key and a value is in `change.check_change`.

    Args:
        place: the store in messages to people: its URL without a password.
    """

    keeps: ClassVar[bool] = True
    """Whether anything is kept at all; False for the store of a local session, which ends with its head."""

    one_host: ClassVar[bool] = False
    """Whether only heads on one host can use it, so that none can stand by elsewhere."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._claim = secrets.token_hex(16)

    @abstractmethod
    async def open(self) -> None:
        """Connect; make what is missing; refuse what cannot be trusted to keep anything.

        Raises:
            StateStoreError: the server is out of reach or refuses us, a file is damaged or another program's, the
                schema is of a newer version, or nothing written there would be durable.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of the connection. Does not release a leadership. May be called more than once."""

    @abstractmethod
    async def load(self, table: str) -> dict[str, bytes]:
        """All of a table, in no order; empty where nothing was ever put.

        Raises:
            StateStoreError: it cannot be read.
        """

    @abstractmethod
    async def leader(self) -> Leader | None:
        """Who leads now; None where nobody does, or the lease has run out.

        Raises:
            StateStoreError: it cannot be read.
        """

    async def acquire(self, holder: bytes, ttl_s: float, *, instead_of: int | None = None) -> Leadership | None:
        """Become the leader, if nobody else is.

        May be called again after an error: if the call that failed did succeed on the server, this one finds that out.

        Args:
            holder: how to reach this head, for `leader`.
            ttl_s: seconds until another may take over when `renew` is not called; the same for all heads of a cluster.
                A store on one host (SQLite) does not need it: there a leader leads until its process ends.
            instead_of: the token of a leader that is known to be dead (its process was seen to end): its lease need not
                run out first. A mistake here costs that leader its leadership, and no data.

        Returns:
            The right to write; None while somebody else leads.

        Raises:
            StateStoreError: the store failed.
        """
        token = await self.claim(self._claim, holder, ttl_s, instead_of)
        if token is None:
            return None
        leadership = Leadership(self, self._claim, token, ttl_s)
        self._claim = secrets.token_hex(16)
        return leadership

    # What a store does for `acquire` and `Leadership`; nobody else calls these. A claim is a random name, which tells a
    # call that is made again from one of somebody else's, and a leadership from all others even if a server lost its
    # data.

    @abstractmethod
    async def claim(self, claim: str, holder: bytes, ttl_s: float, instead_of: int | None) -> int | None:
        """In one step: if nobody leads, or this claim does, or the token `instead_of` does: lead; return the token."""

    @abstractmethod
    async def extend(self, claim: str, ttl_s: float) -> bool:
        """If nobody led after this claim: lead `ttl_s` seconds from now. False where somebody did."""

    @abstractmethod
    async def give_up(self, claim: str) -> None:
        """If this claim leads: nobody leads."""

    @abstractmethod
    async def write(self, claim: str, number: int, changes: Sequence[Change]) -> bool:
        """In one durable step, if nobody led after this claim and no batch of this or a later number is there: write.

        Returns:
            False where somebody led after this claim; True where the batch, or that number, has been written.
        """
