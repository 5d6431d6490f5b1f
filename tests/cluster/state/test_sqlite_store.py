"""What is particular to the state in a file: whose it is, damage, and leading until the process ends."""

import contextlib
import fcntl
import os
import sqlite3
import stat

import pytest

from limelight.cluster.state import sqlite_store
from limelight.cluster.state.change import Put
from limelight.cluster.state.error import FencedError, StateStoreError
from limelight.cluster.state.sqlite_store import SqliteStore
from tests.cluster.state.writer_in_process import WriterInProcess

LONG = 1e6


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "cluster.db"


@contextlib.asynccontextmanager
async def opened(path):
    store = SqliteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_the_file_and_its_folder_are_its_users_alone(path):
    async with opened(path) as store:
        await (await store.acquire(b"", LONG)).apply([Put("t", "a", b"secret")])
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert modes == dict.fromkeys(["cluster.db", "cluster.db-wal", "cluster.db-shm", "cluster.db.lock"], 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_file_that_others_could_read_is_made_private(path):
    path.parent.mkdir()
    path.touch(0o644)
    async with opened(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_each_batch_reaches_the_disk_before_it_counts(path):
    async with opened(path) as store:
        names = ("journal_mode", "synchronous")
        found = await store._run(lambda: [store._database.execute(f"PRAGMA {name}").fetchone()[0] for name in names])
    assert found == ["wal", 2]  # FULL


async def test_a_head_leads_until_its_process_ends_and_not_a_moment_longer(path):
    with WriterInProcess(f"sqlite:///{path}", 0.01) as process:
        process.read_until(50)
        async with opened(path) as store:
            leader = await store.leader()
            assert (leader.token, leader.holder) == (process.token, b"the process")
            assert await store.acquire(b"", LONG) is None
            process.pause()
            assert await store.acquire(b"", LONG, instead_of=process.token) is None, "it is only paused"
            process.kill()
            assert await store.leader() is None
            leadership = await store.acquire(b"", LONG)
            assert leadership.token > process.token


async def test_a_lock_file_that_somebody_removed_makes_no_two_writers(path):
    async with opened(path) as first, opened(path) as second:
        old = await first.acquire(b"", LONG)
        path.with_name("cluster.db.lock").unlink()
        new = await second.acquire(b"", LONG)
        await new.apply([Put("t", "a", b"new")])
        await first.give_up(old._claim)
        assert (await second.leader()).token == new.token, "it frees nothing that is not its own"
        with pytest.raises(FencedError):
            await old.renew()
        assert not await first.write(old._claim, 1, [Put("t", "a", b"old")])
        assert await first.load("t") == {"a": b"new"}


@pytest.mark.parametrize("content", [b"this is no database " * 100, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_what_is_no_database_is_left_as_it_is_and_named(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StateStoreError, match="damaged or no SQLite database") as caught:
        await SqliteStore(path).open()
    assert str(path) in str(caught.value)
    assert "Put a backup in its place" in str(caught.value)
    assert path.read_bytes() == content


async def test_a_damaged_page_is_found_when_the_file_is_opened(path):
    async with opened(path) as store:
        await (await store.acquire(b"", LONG)).apply([Put("t", f"{n:040}", b"x" * 100) for n in range(2000)])
    content = bytearray(path.read_bytes())
    assert len(content) > 20 * 4096
    for page in range(10, len(content) // 4096, 3):
        content[page * 4096 : page * 4096 + 200] = os.urandom(200)
    path.write_bytes(content)
    with pytest.raises(StateStoreError, match="damaged"):
        await SqliteStore(path).open()


async def test_another_programs_database_is_left_alone(path):
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StateStoreError, match="another program's database"):
        await SqliteStore(path).open()


async def test_a_path_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateStoreError, match=r"file/cluster\.db"):
        await SqliteStore(tmp_path / "file" / "cluster.db").open()


async def test_a_disk_that_is_full_costs_nothing_that_was_written(path):
    async with opened(path) as store:
        leadership = await store.acquire(b"", LONG)
        await leadership.apply([Put("t", "a", b"1")])
        pages = await store._run(lambda: store._database.execute("PRAGMA page_count").fetchone()[0])
        await store._run(lambda: store._database.execute(f"PRAGMA max_page_count = {pages + 2}"))
        with pytest.raises(StateStoreError, match="full"):
            await leadership.apply([Put("t", "a", b"2"), Put("t", "b", b"x" * 100_000)])
        assert await store.load("t") == {"a": b"1"}
        await leadership.apply([Put("t", "a", b"3")])
        assert await store.load("t") == {"a": b"3"}


async def test_a_batch_that_fails_in_its_middle_leaves_nothing(path):
    async with opened(path) as store:
        leadership = await store.acquire(b"", LONG)
        with pytest.raises(StateStoreError):
            await leadership.apply([Put("t", "a", b"1"), Put("t", "b", object())])  # nothing that SQLite could hold
        assert await store.load("t") == {}
        await leadership.apply([Put("t", "a", b"1")])
        assert await store.load("t") == {"a": b"1"}


async def test_a_head_that_could_not_take_the_lead_can_when_the_file_is_free(path, monkeypatch):
    monkeypatch.setattr(sqlite_store, "BUSY_S", 0.05)
    async with opened(path) as store:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateStoreError, match="locked by another program"):
                await store.acquire(b"", LONG)
            other.execute("ROLLBACK")
        assert await store.acquire(b"", LONG)


async def test_who_only_looks_who_leads_keeps_nobody_from_leading(path, monkeypatch):
    async with opened(path) as store:
        store._lock_path.touch()
        with store._lock_path.open() as looks:
            fcntl.flock(looks, fcntl.LOCK_SH)
            monkeypatch.setattr(sqlite_store.time, "sleep", lambda _: fcntl.flock(looks, fcntl.LOCK_UN))
            assert await store.acquire(b"", LONG)
