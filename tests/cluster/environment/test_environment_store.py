"""Environments stay from session to session, never half of one is used, and none goes that somebody uses."""

import os
import shutil
import sys
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
    with_python(folder)
    store.complete(name)
    mark = store.folder(name).parent.parent / "marks" / name
    for path in (mark, folder):
        os.utime(path, (1e9 - age, 1e9 - age))


def with_python(folder):
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "python").symlink_to(sys.executable)


def there(store):
    return [store.is_complete(name) for name in NAMES]


def test_an_environment_counts_once_it_is_complete(store):
    store.folder(NAMES[0]).mkdir()
    with_python(store.folder(NAMES[0]))
    assert not store.is_complete(NAMES[0])
    store.complete(NAMES[0])
    assert store.is_complete(NAMES[0])
    again = EnvironmentStore(Path(store.folder(NAMES[0])).parent.parent)
    assert again.is_complete(NAMES[0])
    assert not again.is_complete(NAMES[1])


def test_an_environment_whose_interpreter_is_gone_is_none(store, tmp_path):
    """The Python that made it was removed, or somebody has tidied up: it is made anew, rather than fail for ever."""
    for name in NAMES[:2]:
        make(store, name)
    python = store.folder(NAMES[0]) / "bin" / "python"
    python.unlink()
    python.symlink_to(tmp_path / "python-that-was-removed")
    shutil.rmtree(store.folder(NAMES[1]))
    assert there(store) == [False, False, False]


def test_a_machine_that_loses_its_power_keeps_no_mark_without_the_files(store, monkeypatch):
    marks = store.folder(NAMES[0]).parent.parent / "marks"
    seen = []
    sync = os.sync
    monkeypatch.setattr(os, "sync", lambda: (seen.append((there(store)[0], list(marks.iterdir()))), sync()))
    make(store, NAMES[0])
    assert seen == [(False, [])]


def test_what_a_builder_left_is_cleared(store):
    make(store, NAMES[0])
    store.clear(NAMES[0])
    assert not store.is_complete(NAMES[0])
    assert not store.folder(NAMES[0]).exists()
    store.clear(NAMES[0])
    store.folder(NAMES[0]).mkdir()
    with_python(store.folder(NAMES[0]))  # the next builder has begun, and the first one's mark is not for what it makes
    assert not store.is_complete(NAMES[0])


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
    (store.folder(NAMES[0]) / "link-to-folder").symlink_to(tmp_path)
    with_python(store.folder(NAMES[0]))
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
