"""Environments stay from session to session, never half of one is used, and none goes that somebody uses."""

import os
from pathlib import Path

import pytest

from limelight.cluster.environment.environment_store import EnvironmentStore, cache_folder

NAMES = ["a" * 32, "b" * 32, "c" * 32]


@pytest.fixture
def store(tmp_path):
    made = EnvironmentStore(tmp_path / "store", quota=2500)
    yield made
    made.close()


def make(store, name, size=1000, age=0.0):
    folder = store.folder(name)
    folder.mkdir()
    (folder / "file").write_bytes(bytes(size))
    store.complete(name)
    mark = store.folder(name).parent.parent / "marks" / name
    for path in (mark, folder):
        os.utime(path, (1e9 - age, 1e9 - age))


def there(store):
    return [store.is_complete(name) for name in NAMES]


def test_an_environment_counts_once_it_is_complete(store):
    store.folder(NAMES[0]).mkdir()
    assert not store.is_complete(NAMES[0])
    store.complete(NAMES[0])
    assert store.is_complete(NAMES[0])
    again = EnvironmentStore(Path(store.folder(NAMES[0])).parent.parent)
    assert again.is_complete(NAMES[0])


def test_what_a_builder_left_is_cleared(store):
    make(store, NAMES[0])
    store.clear(NAMES[0])
    assert not store.is_complete(NAMES[0])
    assert not store.folder(NAMES[0]).exists()
    store.clear(NAMES[0])


def test_the_one_used_longest_ago_goes_first(store):
    make(store, NAMES[0], age=100)
    make(store, NAMES[1], age=200)
    make(store, NAMES[2])
    assert there(store) == [True, False, True]


def test_use_counts(store):
    make(store, NAMES[0], age=200)
    make(store, NAMES[1], age=100)
    store.used(NAMES[0])
    make(store, NAMES[2])
    assert there(store) == [True, False, True]


def test_what_another_process_holds_stays(store, tmp_path):
    other = EnvironmentStore(tmp_path / "store")
    make(store, NAMES[0], age=200)
    make(store, NAMES[1], age=100)
    other.hold(NAMES[0])
    make(store, NAMES[2])
    assert there(store) == [True, False, True]
    other.close()
    make(store, NAMES[1], size=2000)
    assert there(store)[0] is False


def test_half_an_environment_takes_room_and_goes_too(store):
    store.folder(NAMES[0]).mkdir()
    (store.folder(NAMES[0]) / "file").write_bytes(bytes(2000))
    os.utime(store.folder(NAMES[0]), (1, 1))
    make(store, NAMES[1])
    assert not store.folder(NAMES[0]).exists()


def test_links_count_as_themselves(store, tmp_path):
    (tmp_path / "large").write_bytes(bytes(100_000))
    store.folder(NAMES[0]).mkdir()
    (store.folder(NAMES[0]) / "link").symlink_to(tmp_path / "large")
    store.complete(NAMES[0])
    make(store, NAMES[1])
    assert there(store)[:2] == [True, True]


def test_the_folder_is_the_users_to_choose(monkeypatch, tmp_path):
    monkeypatch.delenv("LIMELIGHT_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "limelight"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "limelight"
    monkeypatch.setenv("LIMELIGHT_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
