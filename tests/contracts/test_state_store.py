"""What every state store promises, checked against real servers.

`memory` is the twin that other tests run on; `sqlite` has no server, so what is about one does not apply to it.
"""

import asyncio
import contextlib
import itertools
import sqlite3

import psycopg
import pytest
import redis

from limelight.cluster.state.change import Delete, Put
from limelight.cluster.state.error import FencedError, StateStoreError
from limelight.cluster.state.store_url import make_store
from tests.cluster.state.database_server import PostgresServer, RedisServer, running
from tests.cluster.state.memory_store import MemoryServer, MemoryStore
from tests.cluster.state.writer_in_process import WriterInProcess

TTL = 30.0
SHORT = 0.2

# The servers' packages may have to be installed first.
pytestmark = pytest.mark.timeout(400)

cluster_numbers = itertools.count(1)


def only(*kinds):
    """What the others cannot have: a server, a lease that runs out, a life after the process."""
    return pytest.mark.parametrize("kind", kinds, indirect=True, scope="module")


served = only("redis", "postgres")
leased = only("memory", "redis", "postgres")  # SQLite leads until its process ends: see test_sqlite_store.py
outliving = only("sqlite", "redis", "postgres")


class Backend:
    """One kind of store, as several heads of one cluster reach it."""

    def __init__(self, kind, server, folder):
        self.kind = kind
        self.server = server
        self.folder = folder
        self.cluster = f"test-{next(cluster_numbers)}"
        self.memory = MemoryServer()

    def url(self, cluster=None):
        name = cluster or self.cluster
        return self.server.url(name) if self.server else f"sqlite:///{self.folder / name}"

    def new(self, cluster=None):
        return MemoryStore(self.memory) if self.kind == "memory" else make_store(self.url(cluster))

    @contextlib.asynccontextmanager
    async def store(self, cluster=None):
        store = self.new(cluster)
        await store.open()
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis", "postgres"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def server(kind):
    classes = {"redis": RedisServer, "postgres": PostgresServer}
    if kind not in classes:
        yield None
        return
    with running(classes[kind]) as made:
        yield made


@pytest.fixture
def backend(kind, server, tmp_path):
    return Backend(kind, server, tmp_path)


@pytest.fixture
async def store(backend):
    async with backend.store() as opened:
        yield opened


async def lead(store, holder=b"here", ttl_s=TTL):
    leadership = await store.acquire(holder, ttl_s)
    assert leadership is not None
    return leadership


class TestRecords:
    async def test_what_was_put_is_loaded_by_the_next_head(self, backend, store):
        leadership = await lead(store)
        await leadership.apply([Put("actors", "a", b"1"), Put("actors", "b", b""), Put("jobs", "a", b"2")])
        await leadership.apply([Put("actors", "a", b"3"), Delete("actors", "b"), Delete("nodes", "never there")])
        if backend.kind != "memory":
            await store.close()
        async with backend.store() as after:
            assert await after.load("actors") == {"a": b"3"}
            assert await after.load("jobs") == {"a": b"2"}
            assert await after.load("nodes") == {}

    async def test_any_bytes_and_any_text_come_back_as_they_were(self, store):
        records = {
            "\x00": b"\x00\xff" * 50,
            "ключ 🗝": bytes(range(256)),
            "'; DROP TABLE record; --": b"x",
            "a\nb%s": b"{}",
        }
        records["k" * 1024] = b"v" * 2**20
        leadership = await lead(store)
        await leadership.apply([Put("kv", key, value) for key, value in records.items()])
        assert await store.load("kv") == records
        await leadership.apply([Delete("kv", key) for key in records])
        assert await store.load("kv") == {}

    async def test_of_two_changes_of_a_key_in_a_batch_the_later_counts(self, store):
        leadership = await lead(store)
        await leadership.apply([Put("t", "a", b"1"), Delete("t", "a"), Put("t", "b", b"1"), Put("t", "b", b"2")])
        assert await store.load("t") == {"b": b"2"}
        await leadership.apply([Delete("t", "b"), Put("t", "b", b"3")])
        assert await store.load("t") == {"b": b"3"}

    async def test_batches_are_written_in_the_order_of_the_calls(self, store):
        leadership = await lead(store)
        await asyncio.gather(*(leadership.apply([Put("t", "n", b"%d" % n)]) for n in range(50)))
        assert await store.load("t") == {"n": b"49"}

    async def test_a_hundred_thousand_records(self, store):
        leadership = await lead(store)
        records = {f"actor-{n:028x}": b"%200d" % n for n in range(100_000)}
        await leadership.apply([Put("actors", key, value) for key, value in records.items()])
        assert await store.load("actors") == records

    @served
    async def test_clusters_of_one_server_do_not_see_each_other(self, backend, store):
        await (await lead(store)).apply([Put("t", "a", b"1")])
        async with backend.store(f"{backend.cluster}-other") as other:
            assert await other.load("t") == {}
            leadership = await lead(other)
            await leadership.apply([Put("t", "a", b"2")])
        assert await store.load("t") == {"a": b"1"}


class TestLeadership:
    async def test_one_leads_and_says_where(self, backend, store):
        assert await store.leader() is None
        leadership = await lead(store, b"10.0.0.1:6379")
        async with backend.store() as standby:
            leader = await standby.leader()
            assert (leader.token, leader.holder) == (leadership.token, b"10.0.0.1:6379")
            assert await standby.acquire(b"10.0.0.2:6379", TTL) is None
        assert await store.acquire(b"10.0.0.1:6379", TTL) is None, "it leads already, by another name"

    async def test_who_releases_it_leaves_it_to_the_next_at_once(self, backend, store):
        first = await lead(store)
        await first.apply([Put("t", "a", b"1")])
        await first.release()
        assert await store.leader() is None
        with pytest.raises(FencedError, match="given up"):
            await first.apply([Put("t", "a", b"2")])
        async with backend.store() as standby:
            second = await lead(standby)
            assert second.token > first.token
            assert await standby.load("t") == {"a": b"1"}

    @leased
    async def test_a_lease_that_is_renewed_does_not_run_out(self, backend, store):
        leadership = await lead(store, ttl_s=SHORT)
        await leadership.renew()
        leadership.ttl_s = TTL
        await leadership.renew()
        async with backend.store() as standby:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(take_over(standby), 3 * SHORT)
        await leadership.apply([Put("t", "a", b"1")])

    @leased
    async def test_a_lease_that_ran_out_goes_on_if_nobody_took_it(self, backend, store):
        leadership = await lead(store, ttl_s=SHORT)
        while await store.leader() is not None:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(SHORT / 4)
        await leadership.apply([Put("t", "a", b"1")])
        await leadership.renew()
        assert (await store.leader()).token == leadership.token

    @leased
    async def test_after_a_takeover_the_old_leader_cannot_write_renew_or_release(self, backend, store):
        old = await lead(store, b"old", SHORT)
        await old.apply([Put("t", "a", b"old"), Put("t", "b", b"old")])
        async with backend.store() as standby:
            new = await take_over(standby)
            assert new.token > old.token
            await new.apply([Put("t", "a", b"new")])
            with pytest.raises(FencedError, match="another head has taken over") as caught:
                await old.apply([Put("t", "a", b"late"), Delete("t", "b")])
            assert caught.value.successor == new.token
            with pytest.raises(FencedError):
                await old.renew()
            await old.release()
            assert (await store.leader()).token == new.token
            assert await standby.load("t") == {"a": b"new", "b": b"old"}
            await new.apply([Put("t", "a", b"newer")])

    @leased
    async def test_renewing_tells_of_a_takeover_too(self, backend, store):
        old = await lead(store, ttl_s=SHORT)
        async with backend.store() as standby:
            await take_over(standby)
            with pytest.raises(FencedError):
                await old.renew()

    async def test_of_many_that_want_it_one_gets_it(self, backend):
        async with contextlib.AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(backend.store()) for _ in range(8)]
            won = await asyncio.gather(*(store.acquire(b"%d" % n, TTL) for n, store in enumerate(stores)))
            assert len([leadership for leadership in won if leadership]) == 1

    @leased
    async def test_the_successor_of_a_head_that_was_seen_to_die_need_not_wait(self, backend, store):
        dead = await lead(store)
        async with backend.store() as after:
            assert await after.acquire(b"", TTL, instead_of=dead.token - 1) is None
            new = await after.acquire(b"", TTL, instead_of=dead.token)
            assert new.token > dead.token

    @leased
    async def test_asking_again_after_a_lost_reply_is_no_second_claim(self, backend, store):
        """What `acquire` does when the server made us leader and the answer got lost."""
        token = await store.claim("the same name", b"", TTL, None)
        assert await store.claim("the same name", b"", TTL, None) == token
        assert await store.claim("another name", b"", TTL, None) is None


class TestCancellation:
    async def test_a_call_that_is_cancelled_at_any_moment_ends(self, store):
        async def ask():
            while True:
                await store.load("t")
                await store.leader()
                await asyncio.sleep(0)

        for turns in range(60):
            asking = asyncio.ensure_future(ask())
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            done, _ = await asyncio.wait([asking], timeout=5.0)
            if not done:
                asking.cancel()
            assert done, f"cancelled after {turns} turns of the loop, it goes on"
            assert asking.cancelled()


class TestRepeatedBatches:
    async def test_a_batch_that_arrives_twice_is_written_once(self, store):
        await store.claim("me", b"", TTL, None)
        assert await store.write("me", 1, [Put("t", "a", b"1")])
        assert await store.write("me", 2, [Delete("t", "a")])
        assert await store.write("me", 2, [Put("t", "a", b"the same number")])
        assert await store.load("t") == {}

    async def test_a_batch_delayed_until_after_a_later_one_brings_nothing_old_back(self, store):
        await store.claim("me", b"", TTL, None)
        assert await store.write("me", 2, [Put("t", "a", b"new")])
        assert await store.write("me", 1, [Put("t", "a", b"old")])
        assert await store.load("t") == {"a": b"new"}

    async def test_numbers_begin_anew_with_each_leadership(self, backend):
        for n in range(3):
            async with backend.store() as store:
                leadership = await lead(store)
                for _ in range(n + 1):
                    await leadership.apply([Put("t", "a", b"%d" % n)])
                assert await store.load("t") == {"a": b"%d" % n}
                await leadership.release()


class TestErrors:
    async def test_what_is_not_open_says_so(self, backend):
        store = backend.new()
        with pytest.raises(StateStoreError, match="not open"):
            await store.load("t")
        await store.close()

    async def test_what_was_closed_says_so(self, backend):
        async with backend.store() as store:
            pass
        with pytest.raises(StateStoreError, match="not open"):
            await store.load("t")

    @served
    async def test_a_wrong_password_is_refused_and_not_shown(self, backend):
        store = make_store(backend.server.url(password="wrong-guess"))
        with pytest.raises(StateStoreError, match="refuses") as caught:
            await store.open()
        assert "wrong-guess" not in str(caught.value)
        assert str(backend.server.port) in str(caught.value)

    @served
    async def test_a_database_that_is_not_there_is_named(self, backend):
        store = make_store(backend.server.url(database="4711" if backend.kind == "redis" else "nowhere"))
        with pytest.raises(StateStoreError, match=r"out of range|no such database"):
            await store.open()

    @served
    async def test_no_server_is_an_error_that_says_where(self, backend):
        backend.server.close()
        try:
            with pytest.raises(StateStoreError, match="out of reach") as caught:
                await backend.new().open()
            assert f"127.0.0.1:{backend.server.port}" in str(caught.value)
            assert "secret" not in str(caught.value)
        finally:
            backend.server.start()

    @outliving
    async def test_a_state_of_a_later_version_is_left_alone(self, backend):
        async with backend.store():
            pass
        set_version(backend, 7)
        try:
            with pytest.raises(StateStoreError, match="version 7"):
                await backend.new().open()
        finally:
            set_version(backend, 1)  # in PostgreSQL it is one for all tests of the module


async def take_over(store):
    while (leadership := await store.acquire(b"standby", TTL)) is None:  # noqa: ASYNC110 - likewise
        await asyncio.sleep(SHORT / 8)
    return leadership


def set_version(backend, version):
    """As a later release would have left it."""
    if backend.kind == "sqlite":
        with contextlib.closing(sqlite3.connect(backend.folder / backend.cluster)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
    elif backend.kind == "redis":
        with redis.Redis.from_url(backend.url().partition("?")[0]) as client:
            client.hset(f"limelight:{{{backend.cluster}}}:leadership", "version", version)
    else:
        with psycopg.connect(backend.url().partition("?")[0]) as connection:
            connection.execute("UPDATE limelight.about SET version = %s", (version,))


class TestCrashes:
    @outliving
    async def test_what_a_killed_head_was_told_is_durable_is_there(self, backend):
        with WriterInProcess(backend.url(), TTL) as process:
            acknowledged = process.read_until(200)
            process.kill()
            acknowledged = max(acknowledged, process.last())
        async with backend.store() as store:
            assert await store.acquire(b"next", TTL, instead_of=process.token) is not None
            await check_whole(store, acknowledged)

    @served
    async def test_a_head_that_was_paused_and_goes_on_writes_nothing(self, backend):
        with WriterInProcess(backend.url(), SHORT) as process:
            process.read_until(100)
            process.pause()
            async with backend.store() as standby:
                new = await take_over(standby)
                await new.apply([Put("left", "n", b"new"), Put("right", "n", b"new")])
                before = {table: await standby.load(table) for table in ("left", "right", "many")}
                process.resume()
                assert process.wait_for_line("fenced")
                assert {table: await standby.load(table) for table in before} == before

    @served
    async def test_what_is_durable_outlives_a_crash_of_the_server(self, backend):
        with WriterInProcess(backend.url(), TTL) as process:
            process.read_until(200)
            backend.server.kill()
            acknowledged = process.last_before_silence()
            process.pause()
            backend.server.start()
            async with backend.store() as reader:
                await check_whole(reader, acknowledged)
            process.resume()
            # and the head, which was there all the time, goes on with what it has kept
            after = process.read_until(acknowledged + 500)
            process.kill()
            async with backend.store() as reader:
                # What it had sent may still be written: a head, too, leads before it reads.
                assert await reader.acquire(b"next", TTL, instead_of=process.token) is not None
                await check_whole(reader, after)

    @served
    async def test_a_connection_that_was_idle_during_a_restart_is_made_again(self, backend, store):
        leadership = await lead(store)
        await leadership.apply([Put("t", "a", b"1")])
        backend.server.close()
        backend.server.start()
        await leadership.renew()
        await leadership.apply([Put("t", "a", b"2")])
        assert await store.load("t") == {"a": b"2"}

    @served
    async def test_a_server_that_hangs_is_an_error_in_time(self, backend, store, monkeypatch):
        monkeypatch.setattr(f"limelight.cluster.state.{backend.kind}_store.OPERATION_S", 0.5)
        monkeypatch.setattr("limelight.cluster.state.postgres_store.CONNECT_S", 2)  # libpq's least
        await store.close()
        await store.open()
        leadership = await lead(store)
        backend.server.pause()
        try:
            with pytest.raises(StateStoreError, match="out of reach"):
                await store.load("t")
        finally:
            backend.server.resume()
        await leadership.apply([Put("t", "a", b"1")])
        assert await store.load("t") == {"a": b"1"}


async def check_whole(store, acknowledged):
    """The state is one that the process was in at some moment, and not before what it was told is durable."""
    left, right, many = [await store.load(table) for table in ("left", "right", "many")]
    n = int(left["n"])
    assert left == right
    assert n >= acknowledged
    assert many == {f"key {i % 100}": b"%d" % i for i in range(max(1, n - 99), n + 1)}
