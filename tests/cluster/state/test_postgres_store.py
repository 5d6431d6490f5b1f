"""What is particular to the state in PostgreSQL: what it acknowledges, its schema, rights, lost connections."""

import asyncio
import contextlib

import psycopg
import pytest

from limelight.cluster.state.change import Put
from limelight.cluster.state.error import FencedError, StateStoreError
from limelight.cluster.state.store_url import make_store
from tests.cluster.state.database_server import PostgresServer, running

LONG = 1e6

# The server's package may have to be installed first.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def server():
    """A server that does not flush, as people set up for tests and forget."""
    with running(PostgresServer, "-c", "fsync=off") as made:
        yield made


@pytest.fixture
def console(server):
    """What an administrator types."""
    with psycopg.connect(server.url().partition("?")[0], autocommit=True) as connection:
        yield connection


@pytest.fixture
def url(server, console, request):
    """A database of the test's own."""
    name = f"d{abs(hash(request.node.name))}"
    console.execute(f"CREATE DATABASE {name}")
    return f"{server.url(database=name)}&volatile=accept"


@contextlib.asynccontextmanager
async def opened(url):
    store = make_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_a_server_that_does_not_flush_is_refused_unless_that_is_accepted(url):
    with pytest.raises(StateStoreError, match="fsync = off"):
        await make_store(url.removesuffix("&volatile=accept")).open()
    async with opened(url) as store:
        assert await store.acquire(b"", LONG)


async def test_a_server_set_to_acknowledge_early_does_not_do_so_for_us(url, console):
    database = url.partition("?")[0].rpartition("/")[2]
    console.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    console.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    async with opened(url) as store:
        settings = "SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation')"
        assert await store._run(settings) == [("on", "read committed")]


async def test_heads_that_open_an_empty_database_at_once_all_succeed(url):
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(opened(url)) for _ in range(8)))


async def test_a_user_who_may_not_make_the_schema_is_told_so(url, console):
    console.execute("CREATE ROLE guest LOGIN PASSWORD 'hush'")
    with pytest.raises(StateStoreError, match="permission denied") as caught:
        await make_store(f"postgresql://guest:hush@{url.rpartition('@')[2]}").open()
    assert "may create a schema" in str(caught.value)
    assert "hush" not in str(caught.value)


async def test_a_schema_that_an_administrator_made_for_the_user_is_used(url, console):
    console.execute("CREATE ROLE humble LOGIN PASSWORD 'hush'")
    with psycopg.connect(url.partition("?")[0]) as connection:
        connection.execute("CREATE SCHEMA limelight AUTHORIZATION humble")
    async with opened(f"postgresql://humble:hush@{url.rpartition('@')[2]}") as store:
        assert await store.acquire(b"", LONG)


async def test_a_connection_that_the_server_ended_is_made_again_unnoticed(url, console):
    async with opened(url) as store:
        leadership = await store.acquire(b"", LONG)
        for n in range(5):
            end_connections(console)
            await leadership.apply([Put("t", "a", b"%d" % n)])
        assert await store.load("t") == {"a": b"4"}


async def test_a_batch_that_hangs_on_another_connection_is_not_written_twice(url, console):
    """The first try reached the server and waits there; its connection is cut; the second try goes first or second."""
    database = url.partition("?")[0]
    async with opened(url) as store:
        leadership = await store.acquire(b"", LONG)
        with psycopg.connect(database) as person:
            person.execute("SELECT * FROM limelight.leadership FOR UPDATE")  # who looks, and goes for lunch
            writing = asyncio.ensure_future(leadership.apply([Put("t", "a", b"1")]))
            while not waiting_for_locks(console):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            end_connections(console, "wait_event_type = 'Lock'")
            while not waiting_for_locks(console):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
            person.rollback()
            await writing
        await leadership.apply([Put("t", "b", b"2")])
        assert await store.load("t") == {"a": b"1", "b": b"2"}
        assert await store._run("SELECT written FROM limelight.leadership") == [(2,)]


async def test_a_takeover_that_is_under_way_holds_up_the_old_leaders_batch_and_then_refuses_it(url, console):
    async with opened(url) as store:
        leadership = await store.acquire(b"", LONG)
        with psycopg.connect(url.partition("?")[0]) as standby:
            standby.execute("UPDATE limelight.leadership SET token = token + 1, claim = 'of another'")
            writing = asyncio.ensure_future(leadership.apply([Put("t", "a", b"1")]))
            while not waiting_for_locks(console):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            standby.commit()
        with pytest.raises(FencedError):
            await writing
        assert await store.load("t") == {}


def waiting_for_locks(console):
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'limelight'"
    return console.execute(query).fetchone()[0]


def end_connections(console, which="true"):
    query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'limelight' AND "
    assert console.execute(query + which).fetchall()
