"""State in one SQLite file: the default, for a head that is restarted on the host where the file is.

SQLite's write-ahead log with `synchronous=FULL`: a batch is on the disk, and not only with the kernel, before it counts
as written, so it outlives a power cut too. With `NORMAL` it would outlive only the process; that would save one fsync
a batch, and the writer makes batches of all that is waiting (`state_writer.py`).

Leadership is a lock on a file beside it, which the kernel releases when the process ends, however it ends: so a head
that is started again need not wait, and one that is paused keeps its place. The token, checked with each batch, guards
against a lock file that somebody removed.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, TypeVar

from .change import Change, Put
from .error import StateStoreError
from .state_store import Leader, StateStore

VERSION = 1
APPLICATION = 0x4C4D4C54
"""SQLite's application_id, in the file's header: "LMLT"."""

_PRIVATE = 0o600
BUSY_S = 5.0
"""How long another process (a backup, a person with the sqlite3 command) may keep a batch waiting."""

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE record (tab TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tab, key));
CREATE TABLE leadership (one INTEGER PRIMARY KEY CHECK (one = 1), token INTEGER NOT NULL, claim TEXT NOT NULL,
                         holder BLOB NOT NULL, written INTEGER NOT NULL);
INSERT INTO leadership VALUES (1, 0, '', x'', 0);
"""

_MARK = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"

_Result = TypeVar("_Result")


class SqliteStore(StateStore):
    """State in a file. All of SQLite happens on one thread of its own.

    Args:
        path: the file; it and its folder are made if missing, for this user alone.
    """

    one_host: ClassVar[bool] = True

    def __init__(self, path: Path) -> None:
        super().__init__(f"the file {path}")
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._lock: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Open the file, or make it; see `StateStore.open`."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "limelight-state")
        try:
            await self._run(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file, and give up the lock on it."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown(wait=False)

    async def load(self, table: str) -> dict[str, bytes]:
        """All of a table; see `StateStore.load`."""
        return await self._run(
            lambda: dict(self._database.execute("SELECT key, value FROM record WHERE tab = ?", (table,)))
        )

    async def leader(self) -> Leader | None:
        """Who holds the lock; see `StateStore.leader`."""
        return await self._run(self._leader)

    async def claim(self, claim: str, holder: bytes, ttl_s: float, instead_of: int | None) -> int | None:  # noqa: ARG002
        """Take the lock, if nobody holds it. While its process lives no time-out and no `instead_of` takes it away."""
        return await self._run(lambda: self._take(claim, holder))

    async def extend(self, claim: str, ttl_s: float) -> bool:  # noqa: ARG002 - a lock needs no renewing
        """Whether this claim leads."""
        return await self._run(lambda: self._row()[1] == claim)

    async def give_up(self, claim: str) -> None:
        """Give up the lock."""
        await self._run(lambda: self._release(claim))

    async def write(self, claim: str, number: int, changes: Sequence[Change]) -> bool:
        """Write a batch in one transaction; see `StateStore.write`."""
        return await self._run(lambda: self._write(claim, number, changes))

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if self._thread is None:
            raise StateStoreError(f"The state in {self.place} is not open.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise StateStoreError(self._explain(error)) from error

    # The rest runs on the thread.

    @property
    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StateStoreError(f"The state in {self.place} is not open.")
        return self._connection

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its log the mode of the file, so nobody else may read what users put into records.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        with os.fdopen(descriptor) as file:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != _PRIVATE:
                os.fchmod(file.fileno(), _PRIVATE)
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            try:
                connection.executescript(_SCHEMA + _MARK)
            except sqlite3.OperationalError:  # another has made it at the same moment, or it shows below
                connection.rollback()
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != APPLICATION:
            raise StateStoreError(f"{self._path} is another program's database. Name a file of its own for the state.")
        if version > VERSION:
            raise StateStoreError(
                f"{self._path} was written by a later Limelight (version {version} of the state, this one knows "
                f"{VERSION}). Start the head with that release, or name another file."
            )
        # The whole file is read once, about 0.1 s for 100,000 records: better now than in the middle of a load.
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._unlock()

    @contextlib.contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        connection = self._database
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _row(self) -> tuple[int, str, bytes, int]:
        return self._database.execute("SELECT token, claim, holder, written FROM leadership").fetchone()

    def _take(self, claim: str, holder: bytes) -> int | None:
        if self._row()[1] == claim:
            return self._row()[0]
        if not self._try_lock():
            return None
        try:
            with self._transaction() as connection:
                token = self._row()[0] + 1
                connection.execute(
                    "UPDATE leadership SET token = ?, claim = ?, holder = ?, written = 0", (token, claim, holder)
                )
        except BaseException:
            self._unlock()
            raise
        return token

    def _release(self, claim: str) -> None:
        with self._transaction() as connection:
            connection.execute("UPDATE leadership SET claim = '', holder = x'' WHERE claim = ?", (claim,))
        self._unlock()

    def _leader(self) -> Leader | None:
        token, claim, holder, _ = self._row()
        if not claim:
            return None
        if self._lock is None:
            try:
                probe = os.open(self._lock_path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # somebody leads
            else:
                return None
            finally:
                os.close(probe)
        return Leader(token, holder)

    def _try_lock(self) -> bool:
        if self._lock is not None:
            return False  # by an earlier claim of this store
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        for _ in range(20):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.005)  # it may be one who only looks, in `_leader`, for a moment
            else:
                self._lock = descriptor
                return True
        os.close(descriptor)
        return False

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self, claim: str, number: int, changes: Sequence[Change]) -> bool:
        with self._transaction() as connection:
            _, leading, _, written = self._row()
            if leading != claim:
                return False
            if number > written:
                for change in changes:
                    if isinstance(change, Put):
                        connection.execute("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", change)
                    else:
                        connection.execute("DELETE FROM record WHERE tab = ? AND key = ?", change)
                connection.execute("UPDATE leadership SET written = ?", (number,))
        return True

    def _explain(self, error: sqlite3.Error | OSError) -> str:
        """What failed, and what to do."""
        name = getattr(error, "sqlite_errorname", "")
        if isinstance(error, OSError):
            return f"The state in {self.place} cannot be opened: {error.strerror}. --state names another place."
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return f"The state in {self.place} has been locked by another program for {BUSY_S:.0f} s: {error}."
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or type(error) is sqlite3.DatabaseError:
            return (
                f"The state in {self.place} is damaged or no SQLite database: {error}. Put a backup in its place; or "
                f"save what can be read with `sqlite3 {self._path} .recover`; or move it away (with "
                f"{self._path.name}-wal beside it), and the cluster starts empty."
            )
        if name.startswith("SQLITE_FULL"):
            return f"The disk of the state in {self.place} is full: make room there, and it is written."
        return f"The state in {self.place} failed: {error} ({name or type(error).__name__})."
