"""Blocking a user's thread until objects are there."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from ..contract import NODE, WorkerBlocked
from ..object_ref import ObjectRef
from .entry import PENDING, ObjectEntry
from .latch import Latch
from .running import running

if TYPE_CHECKING:
    from .hub import Hub

_BLOCKED_AFTER_S = 0.005
"""A worker that waits longer than this gives its CPU back; shorter waits are not worth the messages."""


class Waiting:
    """Waits of this process's threads. Methods may be called from any thread but the wire's.

    Attributes:
        giving_way: around a wait on a thread that others can use meanwhile.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._blocked: set[object] = set()
        self.giving_way: Callable[[], AbstractContextManager[None]] = nullcontext

    def wait_ready(self, refs: list[ObjectRef[Any]], needed: int, timeout: float | None, fail_fast: bool) -> bool:
        """Block until `needed` of the refs are ready; False when `timeout` seconds have gone before."""
        pending: list[ObjectEntry] = []
        for ref in refs:
            entry: ObjectEntry = ref._entry
            if entry.state == PENDING:
                pending.append(entry)
        needed -= len(refs) - len(pending)
        if needed <= 0:
            return True
        latch = Latch(needed, fail_fast)
        latch.put_on(pending)
        borrowed = [entry for entry in pending if entry.owner is not None]
        if borrowed:
            self._hub.wire.post(self._fetch_all, borrowed)
        try:
            return self._wait(latch, timeout)
        finally:
            latch.take_off(pending)

    def _wait(self, latch: Latch, timeout: float | None) -> bool:
        if self._hub.identity.is_driver or running.get() is None:
            return latch.wait(timeout)
        first = _BLOCKED_AFTER_S if timeout is None else min(timeout, _BLOCKED_AFTER_S)
        if latch.wait(first):
            return True
        with self.blocked():
            return latch.wait(None if timeout is None else timeout - first)

    @contextmanager
    def blocked(self) -> Generator[None]:
        """Around a wait in a task: its CPU can be used by others meanwhile."""
        wait = object()  # a set of waits, not a count: a cancellation may strike anywhere in here
        try:
            self._hub.wire.post(self._begin, wait)
            with self.giving_way():
                yield
        finally:
            self._hub.wire.post(self._end, wait)

    def _begin(self, wait: object) -> None:
        self._blocked.add(wait)
        if len(self._blocked) == 1:
            self._hub.links.notify(self._hub.node, NODE, WorkerBlocked(True))

    def _end(self, wait: object) -> None:
        if wait in self._blocked:
            self._blocked.discard(wait)
            if not self._blocked:
                self._hub.links.notify(self._hub.node, NODE, WorkerBlocked(False))

    def _fetch_all(self, entries: list[ObjectEntry]) -> None:
        for entry in entries:
            self._hub.borrowing.fetch(entry)

    def get_one(self, ref: ObjectRef[Any]) -> Any:
        """Wait for one ref and read it."""
        self.wait_ready([ref], 1, None, fail_fast=True)
        return self._hub.values.read(ref)
