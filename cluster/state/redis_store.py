"""State in Redis (or Valkey): for a head with standbys on other hosts.

A cluster has one hash a table, `limelight:{cluster}:table:<table>`, and one for its leadership. Whatever must happen in
one step is a script, which Redis runs alone. Times are Redis's own.

Redis keeps everything in memory, and by default little of it on disk, so `open` refuses a server that would forget:
without an append-only file, or one that evicts keys when memory is short. With `appendfsync everysec`, its default, a
batch outlives Redis itself, and a power cut of its host may cost the last second; with `appendfsync always` nothing. A
replica that is promoted may lack the last batches: Redis acknowledges before it replicates.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Final

from .change import Change, Put
from .error import StateStoreError
from .state_store import Leader, StateStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

VERSION: Final = 1
OPERATION_S: Final = 10.0
"""How long Redis may keep us waiting for bytes."""

_NOW = "local time = redis.call('TIME'); local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"

# A Redis whose memory is used up (maxmemory) refuses what may take more, but only as the first change that a script
# makes. Who leads takes the same few bytes over and over, so scripts about that change something first: nothing, that
# is, by a command that is never refused. (The flag allow-oom says so, too, but only to Redis 7 and later.)
_WITHOUT_MEMORY = "redis.call('HDEL', KEYS[1], '-')\n"

# KEYS: the leadership. ARGV: claim, holder, ttl in ms, token of the leader known to be dead.
_CLAIM = (
    _NOW
    + _WITHOUT_MEMORY
    + """
local had = redis.call('HMGET', KEYS[1], 'token', 'claim', 'until')
local token = tonumber(had[1] or '0')
if had[2] ~= ARGV[1] then
    local left = tonumber(had[3] or '0') - now
    local leads = had[2] and had[2] ~= '' and left > 0 and left <= 2 * ARGV[3]
    if leads and had[1] ~= ARGV[4] then return 0 end
    token = token + 1
    redis.call('HSET', KEYS[1], 'token', token, 'claim', ARGV[1], 'written', 0)
end
redis.call('HSET', KEYS[1], 'holder', ARGV[2], 'until', string.format('%.0f', now + ARGV[3]))
return token
"""
)

# ARGV: claim, ttl in ms.
_EXTEND = (
    _NOW
    + _WITHOUT_MEMORY
    + """
if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]))
return 1
"""
)

# ARGV: claim.
_GIVE_UP = (
    _WITHOUT_MEMORY
    + """
if redis.call('HGET', KEYS[1], 'claim') == ARGV[1] then redis.call('HSET', KEYS[1], 'claim', '', 'holder', '') end
return 1
"""
)

_LEADER = (
    _NOW
    + """
local had = redis.call('HMGET', KEYS[1], 'token', 'claim', 'until', 'holder')
if not had[2] or had[2] == '' or tonumber(had[3]) <= now then return false end
return {had[1], had[4]}
"""
)

# ARGV: claim, number, prefix of the tables, count of puts; table, key, value of each; table, key of each delete.
_WRITE = """
local had = redis.call('HMGET', KEYS[1], 'claim', 'written')
if had[1] ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) <= tonumber(had[2]) then return 1 end
local first_delete = 5 + 3 * tonumber(ARGV[4])
for i = 5, first_delete - 1, 3 do redis.call('HSET', ARGV[3] .. ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
for i = first_delete, #ARGV, 2 do redis.call('HDEL', ARGV[3] .. ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'written', ARGV[2])
return 1
"""


class RedisStore(StateStore):
    """State in a Redis server.

    Args:
        url: as redis-py takes it: redis:// or rediss://, user, password, host, port, database, options of TLS.
        place: the same for people, without a password.
        cluster: the cluster's name in that database.
        volatile: take a server that does not keep everything.
    """

    def __init__(self, url: str, place: str, *, cluster: str, volatile: bool = False) -> None:
        super().__init__(place)
        self._url = url
        self._leadership = f"limelight:{{{cluster}}}:leadership"
        self._tables = f"limelight:{{{cluster}}}:table:"
        self._volatile = volatile
        self._client: Redis | None = None
        self._scripts: dict[str, Any] = {}

    async def open(self) -> None:
        """Connect, and look at how the server keeps what it is given; see `StateStore.open`."""
        try:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import ExponentialBackoff
        except ImportError as error:
            raise StateStoreError('State in Redis needs redis-py: pip install "limelight[redis]"') from error
        try:
            # A call on a connection that turns out to be dead is made again, once: all that we call may be repeated.
            client = Redis.from_url(
                self._url,
                socket_timeout=OPERATION_S,
                socket_connect_timeout=OPERATION_S,
                socket_keepalive=True,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 1),
            )
            client.connection_pool.make_connection()  # which connects to nothing yet, and checks the options
        except (ValueError, TypeError) as error:
            raise StateStoreError(f"{self.place}: redis-py does not understand this URL: {error}") from error
        try:
            async with self._explained():
                await self._check(client)
        except BaseException:
            await client.aclose()
            raise
        scripts = (_CLAIM, _EXTEND, _GIVE_UP, _LEADER, _WRITE)
        self._scripts = {script: client.register_script(script) for script in scripts}
        self._client = client

    async def _check(self, client: "Redis") -> None:
        facts: dict[str, Any] = await client.info("persistence", "memory")
        if not self._volatile:
            if not facts.get("aof_enabled"):
                raise StateStoreError(
                    f"Redis at {self.place} keeps no append-only file: it would forget the cluster when it restarts. "
                    "Type `redis-cli CONFIG SET appendonly yes` and write `appendonly yes` into redis.conf; or add "
                    "volatile=accept to the URL's options."
                )
            policy = str(facts.get("maxmemory_policy", ""))
            if facts.get("maxmemory") and policy.startswith("allkeys"):
                raise StateStoreError(
                    f"Redis at {self.place} evicts any key when its memory is short (maxmemory-policy {policy}). Type "
                    "`redis-cli CONFIG SET maxmemory-policy noeviction`, or use a server of its own; or add "
                    "volatile=accept to the URL's options."
                )
        await client.hsetnx(self._leadership, "version", str(VERSION))
        version = int(await client.hget(self._leadership, "version") or 0)
        if version > VERSION:
            raise StateStoreError(
                f"The state in {self.place} was written by a later Limelight (version {version} of the state, this one "
                f"knows {VERSION}). Start the head with that release, or give the cluster another name: "
                "cluster=NAME in the URL's options."
            )

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def load(self, table: str) -> dict[str, bytes]:
        """All of a table; see `StateStore.load`."""
        async with self._explained():
            found: dict[Any, Any] = await self._opened.hgetall(self._tables + table)
        return {key.decode(): value for key, value in found.items()}

    async def leader(self) -> Leader | None:
        """Whose lease has not run out; see `StateStore.leader`."""
        found = await self._call(_LEADER)
        return None if found is None else Leader(int(found[0]), found[1])

    async def claim(self, claim: str, holder: bytes, ttl_s: float, instead_of: int | None) -> int | None:
        """See `StateStore.claim`."""
        return await self._call(_CLAIM, claim, holder, round(ttl_s * 1000), instead_of or 0) or None

    async def extend(self, claim: str, ttl_s: float) -> bool:
        """See `StateStore.extend`."""
        return bool(await self._call(_EXTEND, claim, round(ttl_s * 1000)))

    async def give_up(self, claim: str) -> None:
        """See `StateStore.give_up`."""
        await self._call(_GIVE_UP, claim)

    async def write(self, claim: str, number: int, changes: Sequence[Change]) -> bool:
        """Write a batch with one script; see `StateStore.write`."""
        last = {change[:2]: change for change in changes}.values()
        puts = [part for change in last if isinstance(change, Put) for part in change]
        deletes = [part for change in last if not isinstance(change, Put) for part in change]
        return bool(await self._call(_WRITE, claim, number, self._tables, len(puts) // 3, *puts, *deletes))

    @property
    def _opened(self) -> "Redis":
        if self._client is None:
            raise StateStoreError(f"The state in {self.place} is not open.")
        return self._client

    async def _call(self, script: str, *arguments: str | bytes | int) -> Any:
        async with self._explained():
            return await self._scripts[script](keys=[self._leadership], args=arguments, client=self._opened)

    @contextlib.asynccontextmanager
    async def _explained(self) -> AsyncGenerator[None]:
        """Tell Redis's errors as ours, and a cancellation as that: redis-py loses one that comes at a bad moment."""
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            async with self._translated():
                yield
        finally:
            if task is not None and task.cancelling() > before:
                raise asyncio.CancelledError

    @contextlib.asynccontextmanager
    async def _translated(self) -> AsyncGenerator[None]:
        from redis import exceptions as e

        try:
            yield
        except (e.AuthenticationError, e.AuthorizationError, e.NoPermissionError) as error:
            raise StateStoreError(
                f"Redis at {self.place} refuses our user or password: {error}. Write redis://USER:PASSWORD@HOST:PORT/0."
            ) from error
        except e.ReadOnlyError as error:
            raise StateStoreError(f"Redis at {self.place} is a read-only replica: name the primary.") from error
        except (e.ConnectionError, e.TimeoutError, OSError) as error:
            raise StateStoreError(
                f"Redis at {self.place} is out of reach: {error}. Are host and port right, is it running?"
            ) from error
        except e.RedisError as error:
            if isinstance(error, e.OutOfMemoryError):
                raise StateStoreError(
                    f"Redis at {self.place} has no memory left for the state (maxmemory): type "
                    "`redis-cli CONFIG SET maxmemory SIZE` with more, or remove what else is in it."
                ) from error
            raise StateStoreError(f"Redis at {self.place} failed: {error}") from error
