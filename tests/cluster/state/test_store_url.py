"""Which store a URL means."""

from pathlib import Path

import pytest

from limelight.cluster.state.error import StateStoreError
from limelight.cluster.state.null_store import NullStore
from limelight.cluster.state.postgres_store import PostgresStore
from limelight.cluster.state.redis_store import RedisStore
from limelight.cluster.state.sqlite_store import SqliteStore
from limelight.cluster.state.store_url import make_store, safe_url


@pytest.mark.parametrize(
    ("url", "kind", "place"),
    [
        ("memory", NullStore, "memory"),
        ("sqlite:////var/lib/cluster.db", SqliteStore, "the file /var/lib/cluster.db"),
        ("sqlite:///some/cluster.db", SqliteStore, f"the file {Path.cwd()}/some/cluster.db"),
        ("redis://db", RedisStore, "redis://db"),
        ("redis://me:hush@db:6380/3?cluster=blue", RedisStore, "redis://me@db:6380/3?cluster=blue"),
        ("rediss://:hush@db/0?volatile=accept", RedisStore, "rediss://db/0?volatile=accept"),
        ("postgresql://me:hush@db/state", PostgresStore, "postgresql://me@db/state"),
        (
            "postgres://me:hush@db:5433/state?sslmode=require",
            PostgresStore,
            "postgres://me@db:5433/state?sslmode=require",
        ),
        ("postgresql:///state?password=hush&host=db", PostgresStore, "postgresql:///state?host=db"),
    ],
)
def test_a_url_means_a_store_and_is_shown_without_its_password(url, kind, place):
    store = make_store(url)
    assert type(store) is kind
    assert store.place == place
    assert "hush" not in safe_url(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "no scheme"),
        ("cluster.db", "'cluster.db' names no state store that there is"),
        ("mysql://me:hush@db/state", "mysql"),
        ("sqlite://cluster.db", "three slashes"),
        ("sqlite:///", "names no file"),
        ("sqlite:////var/lib/", "names no file"),
        ("sqlite:///cluster.db?mode=ro", "options"),
        ("redis:///0", "no host"),
        ("redis://db/main", "numbers"),
        ("redis://me:hush@db:port/0", "is no URL"),
        ("redis://db?cluster=", "a cluster's name"),
        ("redis://db?cluster=a}b", "a cluster's name"),
        ("redis://db?volatile=yes", "volatile=accept"),
    ],
)
def test_any_other_is_refused_with_a_list_of_what_there_is(url, words):
    with pytest.raises(StateStoreError, match=words) as caught:
        make_store(url)
    assert "sqlite:////absolute" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://db?no_such_option=1", "postgresql://me:hu%sh@db/x", "postgresql://db/x?nonsense=1"]
)
async def test_what_the_client_library_does_not_understand_is_an_error_of_ours(url):
    with pytest.raises(StateStoreError) as caught:
        await make_store(url).open()
    assert "hu%sh" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "module", "extra"), [("redis://db", "redis", "redis"), ("postgresql://db/x", "psycopg", "postgres")]
)
async def test_a_client_library_that_is_missing_is_named_with_what_to_type(url, module, extra, monkeypatch):
    for name in (module, f"{module}.asyncio", f"{module}.asyncio.retry", f"{module}.conninfo"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(StateStoreError, match=rf'pip install "limelight\[{extra}\]"'):
        await make_store(url).open()
