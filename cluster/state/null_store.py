"""The store of a session that ends with its head: it keeps nothing, and costs nothing."""

from collections.abc import Sequence
from typing import ClassVar

from .change import Change
from .state_store import Leader, StateStore


class NullStore(StateStore):
    """Takes everything and keeps nothing; who asks leads."""

    keeps: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__("memory")
        self._leader: Leader | None = None
        self._leading = ""
        self._token = 0

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def load(self, table: str) -> dict[str, bytes]:  # noqa: ARG002 - the interface's
        """Nothing was kept."""
        return {}

    async def leader(self) -> Leader | None:
        """Who asked last."""
        return self._leader

    async def claim(self, claim: str, holder: bytes, ttl_s: float, instead_of: int | None) -> int | None:  # noqa: ARG002
        """Nobody else can reach it."""
        self._token += 1
        self._leader, self._leading = Leader(self._token, holder), claim
        return self._token

    async def extend(self, claim: str, ttl_s: float) -> bool:  # noqa: ARG002 - the interface's
        """Whether it asked last."""
        return claim == self._leading

    async def give_up(self, claim: str) -> None:
        """Nobody leads."""
        if claim == self._leading:
            self._leader, self._leading = None, ""

    async def write(self, claim: str, number: int, changes: Sequence[Change]) -> bool:  # noqa: ARG002
        """Keep nothing of it."""
        return claim == self._leading
