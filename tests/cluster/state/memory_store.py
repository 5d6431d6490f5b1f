"""The in-process twin of a state store: what the contract says, in the fewest words, with faults to order."""

import time
from collections.abc import Callable

from limelight.cluster.state.change import Put
from limelight.cluster.state.error import StateStoreError
from limelight.cluster.state.state_store import Leader, StateStore


class MemoryServer:
    """What the stores of several heads share.

    Attributes:
        fault: called with each verb; what it raises, the store raises.
        lose_reply: the next write happens, and is reported as failed.
        batches: all that was written.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.tables: dict[str, dict[str, bytes]] = {}
        self.token, self.claim, self.holder, self.until, self.written = 0, "", b"", 0.0, 0
        self.fault: Callable[[str], None] = lambda verb: None
        self.lose_reply = False
        self.batches = []


class MemoryStore(StateStore):
    """One head's way to it."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__("memory")
        self.server = server
        self._opened = False

    async def open(self):
        self._opened = True
        self._meet("open")

    async def close(self):
        self._opened = False

    async def load(self, table):
        self._meet("load")
        return dict(self.server.tables.get(table, {}))

    async def leader(self):
        self._meet("leader")
        s = self.server
        return Leader(s.token, s.holder) if s.claim and s.until > s.clock() else None

    async def claim(self, claim, holder, ttl_s, instead_of):
        self._meet("claim")
        s = self.server
        if s.claim != claim:
            if s.claim and 0 < s.until - s.clock() <= 2 * ttl_s and s.token != instead_of:
                return None
            s.token, s.claim, s.written = s.token + 1, claim, 0
        s.holder, s.until = holder, s.clock() + ttl_s
        return s.token

    async def extend(self, claim, ttl_s):
        self._meet("extend")
        if self.server.claim != claim:
            return False
        self.server.until = self.server.clock() + ttl_s
        return True

    async def give_up(self, claim):
        self._meet("give_up")
        if self.server.claim == claim:
            self.server.claim = ""

    async def write(self, claim, number, changes):
        self._meet("write")
        s = self.server
        if s.claim != claim:
            return False
        if number > s.written:
            s.written = number
            s.batches.append(list(changes))
            for change in changes:
                table = s.tables.setdefault(change.table, {})
                if isinstance(change, Put):
                    table[change.key] = change.value
                else:
                    table.pop(change.key, None)
        if s.lose_reply:
            s.lose_reply = False
            raise StateStoreError("the reply was lost")
        return True

    def _meet(self, verb):
        if not self._opened:
            raise StateStoreError("The state in memory is not open.")
        self.server.fault(verb)
