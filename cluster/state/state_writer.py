"""Writes the head's state behind its back: the head goes on at once, and asks to be told when it is safe to answer.

writer = StateWriter(leadership, on_fenced=head.step_down)
writer.put("actors", actor_id, encode(record))                       # both in one step of the loop: one batch
writer.put("names", name, actor_id.encode())
writer.when_durable(lambda: channel.reply(call_id, b""))             # the caller hears it only when it is kept
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from .change import Change, Delete, Put, check_change
from .error import FencedError, StateStoreError
from .state_store import Leadership
from .write_queue import WriteQueue

logger = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 3.0
"""Between tries while the store is out of reach; doubled from the first to the longest."""


class StateWriter:
    """The one way in which the head writes. Used on the loop of the store; no method blocks.

    What is queued in one step of the loop (between two awaits of anybody) is written in one batch or not at all; and a
    batch is whatever was queued while the one before was under way, so a store that is slow gets larger batches, not
    more of them. While the store is out of reach everything stays queued and is tried again for as long as it takes;
    the log says why once, and once when it is back. A store that keeps nothing is not asked to: then `put` does nothing
    and `when_durable` calls at once, and callers can save themselves the encoding (`keeps`).

    Nobody is told anything while the leadership is in doubt (`Leadership.is_sure`), not even where there is nothing to
    write: whatever would be said may be at odds with what another head says by now. It is told when `go_on` is called.

    Args:
        leadership: the right to write.
        on_fenced: called once, when another head turns out to have taken over. From then on nothing is queued or
            written, and nobody is told that anything is durable: it was not, and the other head answers them.
        on_trouble: called with the reason when nothing can be written, and with "" when it is written again.

    Attributes:
        keeps: whether the store keeps anything.
    """

    def __init__(
        self,
        leadership: Leadership,
        on_fenced: Callable[[FencedError], None],
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self.keeps = leadership.store.keeps
        self._leadership = leadership
        self._on_fenced = on_fenced
        self._on_trouble = on_trouble
        self._trouble = ""
        self._queue = WriteQueue()
        self._held: deque[Callable[[], None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def put(self, table: str, key: str, value: bytes) -> None:
        """Queue a record, in place of one that is there.

        Raises:
            ValueError: the table's name, the key or the value is nothing that a store can hold; see `check_change`.
            TypeError: the value is not `bytes`.
        """
        if self.keeps:
            check_change(table, key, value)
            self._add(Put(table, key, value))

    def delete(self, table: str, key: str) -> None:
        """Queue that a record goes, if it is there.

        Raises:
            ValueError: as `put`.
        """
        if self.keeps:
            check_change(table, key)
            self._add(Delete(table, key))

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back when all that was queued up to now is durable and this head leads: at once where both are so.

        Callbacks are called in the order in which they were given. One that raises is logged. After `on_fenced`
        and `close` none is called any more.
        """
        if self._over or self._queue.watch(callback):
            return
        if self._held or not self._leadership.is_sure:
            self._held.append(callback)
        else:
            callback()

    def go_on(self) -> None:
        """The lease was renewed: tell what was held back."""
        held, self._held = self._held, deque()
        self._tell(held)

    async def close(self, grace_s: float = 5.0) -> int:
        """Write what is queued, then stop. Does not release the leadership.

        Args:
            grace_s: seconds after which what is left is given up, because the store is out of reach.

        Returns:
            How many changes were not written; the log says so, too.
        """
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=grace_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        left = len(self._queue)
        if left:
            logger.warning("%d changes of the state were not written to %s.", left, self._leadership.store.place)
        self._end()
        return left

    def _add(self, change: Put | Delete) -> None:
        if self._over:
            return
        self._queue.add(change)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain(), name="limelight-state-writer")

    async def _drain(self) -> None:
        """Write until nothing waits."""
        try:
            while batch := self._queue.take():
                await self._write(batch)
                self._tell(self._queue.written())
        except FencedError as error:
            logger.error("%s", error)  # noqa: TRY400 - where it was raised tells nothing
            self._end()
            self._on_fenced(error)
        finally:
            self._task = None

    async def _write(self, batch: Sequence[Change]) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._leadership.apply(batch)
            except FencedError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, what is queued must not be lost
                self._troubled(error)
            else:
                self._troubled(None)
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - so that heads do not come in step
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _troubled(self, error: Exception | None) -> None:
        """Say what is the matter, or that nothing is, once."""
        text = "" if error is None else str(error) or type(error).__name__
        if text == self._trouble:
            return
        before, self._trouble = self._trouble, text
        if error is None:
            logger.warning("The state is written again to %s.", self._leadership.store.place)
        elif not before:
            known = None if isinstance(error, StateStoreError) else error
            logger.warning("The state cannot be written, and is kept until it can: %s", text, exc_info=known)
        if self._on_trouble is not None:
            self._on_trouble(text)

    def _tell(self, callbacks: deque[Callable[[], None]]) -> None:
        for callback in callbacks:
            if self._held or not self._leadership.is_sure:
                self._held.append(callback)
                continue
            try:
                callback()
            except Exception:
                logger.exception("What was to happen once the state was durable failed.")

    def _end(self) -> None:
        """Nothing more will be written, so nobody is told that it is."""
        self._over = True
        self._queue.clear()
        self._held.clear()
