"""One kind of state store for its contract's tests, on a real server where it has one.

`memory` is the twin that other tests run on; `sqlite` has no server, so what is about one does not apply to it.
"""

import asyncio
import contextlib
import itertools
import sqlite3

import psycopg
import pytest
import redis

from limelight.cluster.state.store_url import make_store
from tests.cluster.state.memory_store import MemoryServer, MemoryStore

TTL = 30.0
SHORT = 0.2

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


async def lead(store, holder=b"here", ttl_s=TTL):
    leadership = await store.acquire(holder, ttl_s)
    assert leadership is not None
    return leadership


async def take_over(store):
    """Ask again and again, as one who stands by does."""
    async with asyncio.timeout(TTL / 3):
        while (leadership := await store.acquire(b"standby", TTL)) is None:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(SHORT / 8)
    return leadership


def move_lease(backend, seconds):
    """As if the server's clock had been set: whoever leads has so much time left."""
    if backend.kind == "memory":
        backend.memory.until = backend.memory.clock() + seconds
    elif backend.kind == "redis":
        with redis.Redis.from_url(backend.url().partition("?")[0]) as client:
            until = round((client.time()[0] + seconds) * 1000)
            client.hset(f"limelight:{{{backend.cluster}}}:leadership", "until", until)
    else:
        with psycopg.connect(backend.url().partition("?")[0]) as connection:
            connection.execute(
                "UPDATE limelight.leadership SET until = clock_timestamp() + %s * interval '1 second'"
                " WHERE cluster = %s",
                (seconds, backend.cluster),
            )


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
