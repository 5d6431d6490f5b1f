"""State in PostgreSQL: for a head with standbys on other hosts.

One schema, `limelight`, holds the state of any number of clusters; it is made at the first `open`. What must happen in
one step is one statement, so a head that is paused or cut off in the middle never holds a lock that others wait for.
Times are the server's own.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Final

from .change import Change, Put
from .error import StateStoreError
from .state_store import Leader, StateStore

if TYPE_CHECKING:
    from psycopg import AsyncConnection

VERSION: Final = 1
CONNECT_S: Final = 5
OPERATION_S: Final = 15.0
"""How long a statement may take before its connection is cut. The longest is to load a table."""

_MAKING = 0x4C4D4C54
"""The advisory lock of whoever makes the schema."""

# Not to_regclass: within a transaction it may answer from a cache that does not know of others' commits yet.
_IS_MADE = "SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'limelight' AND tablename = 'about'"
_HAS_SCHEMA = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'limelight'"

# Keys are bytea: text cannot hold NUL, and would be compared by a language's rules.
_SCHEMA = """
CREATE TABLE limelight.about (version integer NOT NULL);
CREATE TABLE limelight.record (
    cluster text, tab text, key bytea, value bytea NOT NULL, PRIMARY KEY (cluster, tab, key));
CREATE TABLE limelight.leadership (
    cluster text PRIMARY KEY, token bigint NOT NULL, claim text NOT NULL, holder bytea NOT NULL,
    until timestamptz NOT NULL, written bigint NOT NULL);

-- Each statement of a function sees what was committed before it, so a batch that waited for an earlier one, delayed on
-- another connection, sees all of that. One statement with several parts would not.
CREATE FUNCTION limelight.write_batch(
    which text, by_claim text, number bigint, put_tab text[], put_key bytea[], put_value bytea[],
    gone_tab text[], gone_key bytea[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
BEGIN
    SELECT written INTO last FROM limelight.leadership WHERE cluster = which AND claim = by_claim FOR UPDATE;
    IF NOT FOUND THEN RETURN false; END IF;
    IF number <= last THEN RETURN true; END IF;
    INSERT INTO limelight.record (cluster, tab, key, value)
        SELECT which, put.* FROM unnest(put_tab, put_key, put_value) AS put
        ON CONFLICT (cluster, tab, key) DO UPDATE SET value = excluded.value;
    DELETE FROM limelight.record USING unnest(gone_tab, gone_key) AS gone (tab, key)
        WHERE record.cluster = which AND record.tab = gone.tab AND record.key = gone.key;
    UPDATE limelight.leadership SET written = number WHERE cluster = which;
    RETURN true;
END $$;
"""

_CLAIM = """
INSERT INTO limelight.leadership AS had (cluster, token, claim, holder, until, written)
VALUES (%(cluster)s, 1, %(claim)s, %(holder)s, clock_timestamp() + %(ttl)s * interval '1 second', 0)
ON CONFLICT (cluster) DO UPDATE SET
    token = had.token + CASE WHEN had.claim = excluded.claim THEN 0 ELSE 1 END,
    written = CASE WHEN had.claim = excluded.claim THEN had.written ELSE 0 END,
    claim = excluded.claim, holder = excluded.holder,
    until = clock_timestamp() + %(ttl)s * interval '1 second'
WHERE had.claim = excluded.claim OR had.claim = '' OR had.token = %(instead_of)s OR had.until <= clock_timestamp()
    OR had.until > clock_timestamp() + 2 * %(ttl)s * interval '1 second'
RETURNING token
"""

_EXTEND = """
UPDATE limelight.leadership SET until = clock_timestamp() + %s * interval '1 second' WHERE cluster = %s AND claim = %s
RETURNING true
"""

_GIVE_UP = "UPDATE limelight.leadership SET claim = '', holder = '' WHERE cluster = %s AND claim = %s RETURNING true"

_LEADER = """
SELECT token, holder FROM limelight.leadership WHERE cluster = %s AND claim <> '' AND until > clock_timestamp()
"""


class PostgresStore(StateStore):
    """State in a PostgreSQL database, through one connection, which is made again when it is lost.

    Args:
        url: as libpq takes it: postgresql://, user, password, hosts, port, database, options.
        place: the same for people, without a password.
        cluster: the cluster's name in that database.
        volatile: take a server that does not flush to disk.
    """

    def __init__(self, url: str, place: str, *, cluster: str, volatile: bool = False) -> None:
        super().__init__(place)
        self._url = url
        self._cluster = cluster
        self._volatile = volatile
        self._conninfo = ""
        self._opened = False
        self._connection: AsyncConnection[Any] | None = None
        self._connecting = asyncio.Lock()

    async def open(self) -> None:
        """Connect, and make the schema if it is missing; see `StateStore.open`."""
        try:
            from psycopg import ProgrammingError
            from psycopg.conninfo import conninfo_to_dict, make_conninfo
        except ImportError as error:
            raise StateStoreError('State in PostgreSQL needs psycopg: pip install "limelight[postgres]"') from error
        try:
            self._conninfo = make_conninfo(
                "", **{"connect_timeout": CONNECT_S, **_DEFAULTS, **conninfo_to_dict(self._url)}
            )
        except ProgrammingError:
            raise StateStoreError(  # libpq's own words may quote the password
                f"libpq does not understand the URL of {self.place}. Write "
                "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters of user and password as %XX."
            ) from None
        self._opened = True
        try:
            await self._prepare()
        except BaseException:
            await self.close()
            raise

    async def _prepare(self) -> None:
        if not self._volatile and (await self._run("SELECT current_setting('fsync')"))[0][0] == "off":
            raise StateStoreError(
                f"PostgreSQL at {self.place} runs with fsync = off: a power cut could cost the whole state. Turn it "
                "on; or add volatile=accept to the URL's options."
            )
        if not await self._run(_IS_MADE):
            connection = await self._connected()
            with self._explained(), self._deadline(connection):
                async with connection.transaction():
                    await self._make(connection)
        version = (await self._run("SELECT version FROM limelight.about"))[0][0]
        if version > VERSION:
            raise StateStoreError(
                f"The state in {self.place} was written by a later Limelight (version {version} of the schema "
                f"limelight, this one knows {VERSION}). Start the head with that release, or name another database."
            )

    async def _make(self, connection: "AsyncConnection[Any]") -> None:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        if await (await connection.execute(_IS_MADE)).fetchall():
            return  # another head has made it meanwhile
        if not await (await connection.execute(_HAS_SCHEMA)).fetchall():
            await connection.execute("CREATE SCHEMA limelight")
        await connection.execute(_SCHEMA)
        await connection.execute("INSERT INTO limelight.about VALUES (%s)", (VERSION,))

    async def close(self) -> None:
        """Disconnect."""
        self._opened = False
        await self._disconnect()

    async def load(self, table: str) -> dict[str, bytes]:
        """All of a table; see `StateStore.load`."""
        rows = await self._run(
            "SELECT key, value FROM limelight.record WHERE cluster = %s AND tab = %s", self._cluster, table
        )
        return {key.decode(): value for key, value in rows}

    async def leader(self) -> Leader | None:
        """Whose lease has not run out; see `StateStore.leader`."""
        rows = await self._run(_LEADER, self._cluster)
        return Leader(*rows[0]) if rows else None

    async def claim(self, claim: str, holder: bytes, ttl_s: float, instead_of: int | None) -> int | None:
        """See `StateStore.claim`."""
        rows = await self._run(
            _CLAIM, cluster=self._cluster, claim=claim, holder=holder, ttl=ttl_s, instead_of=instead_of or 0
        )
        return rows[0][0] if rows else None

    async def extend(self, claim: str, ttl_s: float) -> bool:
        """See `StateStore.extend`."""
        return bool(await self._run(_EXTEND, ttl_s, self._cluster, claim))

    async def give_up(self, claim: str) -> None:
        """See `StateStore.give_up`."""
        await self._run(_GIVE_UP, self._cluster, claim)

    async def write(self, claim: str, number: int, changes: Sequence[Change]) -> bool:
        """Write a batch with one statement; see `StateStore.write`."""
        last = {change[:2]: change for change in changes}.values()
        puts = [change for change in last if isinstance(change, Put)]
        gone = [change for change in last if not isinstance(change, Put)]
        rows = await self._run(
            "SELECT limelight.write_batch(%s, %s, %s, %b::text[], %b::bytea[], %b::bytea[], %b::text[], %b::bytea[])",
            self._cluster,
            claim,
            number,
            [put.table for put in puts],
            [put.key.encode() for put in puts],
            [put.value for put in puts],
            [change.table for change in gone],
            [change.key.encode() for change in gone],
        )
        return rows[0][0]

    async def _run(self, statement: str, *arguments: Any, **named: Any) -> list[tuple[Any, ...]]:
        """Run a statement by itself and fetch what it returns; once more if the connection turns out to be dead."""
        connection = self._connection
        if connection is not None and not connection.closed:
            with contextlib.suppress(_ConnectionDeadError):
                return await self._execute(connection, statement, named or arguments)
        try:
            return await self._execute(await self._connected(), statement, named or arguments)
        except _ConnectionDeadError as error:
            raise StateStoreError(str(error)) from error.__cause__

    async def _execute(
        self, connection: "AsyncConnection[Any]", statement: str, arguments: Any
    ) -> list[tuple[Any, ...]]:
        try:
            with self._explained(), self._deadline(connection):
                cursor = await connection.execute(statement.encode(), arguments, binary=True)
                return await cursor.fetchall()
        except StateStoreError as error:
            if connection.closed:
                raise _ConnectionDeadError(str(error)) from error.__cause__
            raise

    async def _connected(self) -> "AsyncConnection[Any]":
        """The connection, made again if it is gone."""
        from psycopg import AsyncConnection

        async with self._connecting:
            if not self._opened:
                raise StateStoreError(f"The state in {self.place} is not open.")
            if self._connection is not None and not self._connection.closed:
                return self._connection
            await self._disconnect()
            with self._explained():
                # prepare_threshold: a pooler such as PgBouncer hands each statement to another session.
                connection = await AsyncConnection.connect(self._conninfo, autocommit=True, prepare_threshold=None)
                self._connection = connection
                # A role or a database may be set to acknowledge what is not on disk yet.
                with self._deadline(connection):
                    await connection.execute(
                        "SELECT set_config('synchronous_commit', 'on', false)"
                        " WHERE current_setting('synchronous_commit') = 'off'"
                    )
                    await connection.execute("SET default_transaction_isolation = 'read committed'")
            return connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    @contextlib.contextmanager
    def _deadline(self, connection: "AsyncConnection[Any]") -> Generator[None]:
        """Cut the connection if what is done with it takes too long.

        Not `asyncio.timeout`: cancelled, psycopg waits until the server confirms, which a dead one never does.
        """
        timer = asyncio.get_running_loop().call_later(OPERATION_S, _cut, connection)
        try:
            yield
        finally:
            timer.cancel()

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        """Tell psycopg's errors as ours."""
        import psycopg
        from psycopg import errors as e

        try:
            yield
        except (e.InvalidPassword, e.InvalidAuthorizationSpecification, e.InsufficientPrivilege) as error:
            raise StateStoreError(self._refused(error)) from error
        except e.InvalidCatalogName as error:
            raise StateStoreError(self._missing(error)) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
            text = str(error).strip()
            if "authentication failed" in text or "no password supplied" in text or "no pg_hba.conf entry" in text:
                raise StateStoreError(self._refused(error)) from error
            if "does not exist" in text:  # when connecting, libpq tells no code
                raise StateStoreError(self._missing(error)) from error
            raise StateStoreError(
                f"PostgreSQL at {self.place} is out of reach: {text}. Are host and port right, is it running?"
            ) from error
        except psycopg.Error as error:
            raise StateStoreError(f"PostgreSQL at {self.place} failed: {error}") from error

    def _missing(self, error: BaseException) -> str:
        return f"PostgreSQL at {self.place} has no such database: {str(error).strip()}. Type: createdb NAME"

    def _refused(self, error: BaseException) -> str:
        return (
            f"PostgreSQL at {self.place} refuses us: {str(error).strip()}. Write "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with a user that may create a schema there."
        )


class _ConnectionDeadError(StateStoreError):
    """The connection is gone, so whether the server did it is not known. All statements here may be repeated."""


def _cut(connection: "AsyncConnection[Any]") -> None:
    """End a connection's traffic under whoever waits for it."""
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "limelight",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "target_session_attrs": "read-write",  # of several hosts the primary
}
