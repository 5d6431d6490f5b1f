"""What every state store promises of records, outages and crashes, checked against real servers."""

import asyncio

import pytest

from limelight.cluster.state.change import Delete, Put
from limelight.cluster.state.error import StateStoreError
from limelight.cluster.state.store_url import make_store
from tests.cluster.state.writer_in_process import WriterInProcess
from tests.contracts.state.backend import SHORT, TTL, lead, outliving, served, set_version, take_over

# The servers' packages may have to be installed first.
pytestmark = pytest.mark.timeout(400)


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
    async def test_clusters_of_one_server_have_nothing_in_common(self, backend, store):
        """Not even where all names are the same."""
        async with backend.store(f"{backend.cluster}-other") as other:
            await store.claim("me", b"", TTL, None)
            await store.write("me", 1, [Put("t", "a", b"1"), Put("t", "b", b"1")])
            assert await other.load("t") == {}
            assert await other.leader() is None
            await other.claim("me", b"", TTL, None)
            await other.write("me", 1, [Put("t", "a", b"2"), Put("t", "b", b"2")])
            await store.write("me", 5, [Delete("t", "a")])
            assert await other.load("t") == {"a": b"2", "b": b"2"}
            await other.write("me", 2, [Put("t", "a", b"3")])
            assert await other.load("t") == {"a": b"3", "b": b"2"}
            await store.extend("me", 0.0)
            assert (await store.leader(), (await other.leader()).token) == (None, 1)
            await store.give_up("me")
            assert (await other.leader()).token == 1
        assert await store.load("t") == {"b": b"1"}


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
                for _ in range(3 - n):  # fewer each time: what is taken for one that was written before is not written
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
        loading = asyncio.ensure_future(store.load("t"))
        try:
            done, _ = await asyncio.wait([loading], timeout=TTL)  # a client that is cancelled may wait for the server
        finally:
            backend.server.resume()
            await asyncio.wait([loading])
        assert done, "it waits for as long as the server hangs"
        with pytest.raises(StateStoreError, match="out of reach"):
            await loading
        await leadership.apply([Put("t", "a", b"1")])
        assert await store.load("t") == {"a": b"1"}


async def check_whole(store, acknowledged):
    """The state is one that the process was in at some moment, and not before what it was told is durable."""
    left, right, many = [await store.load(table) for table in ("left", "right", "many")]
    n = int(left["n"])
    assert left == right
    assert n >= acknowledged
    assert many == {f"key {i % 100}": b"%d" % i for i in range(max(1, n - 99), n + 1)}
