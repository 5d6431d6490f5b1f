"""Packages are stored once, unpacked once, and stay while somebody uses them, whoever dies meanwhile."""

import hashlib
import io
import multiprocessing
import os
import signal
import threading
import time
import zipfile
from pathlib import Path

import pytest

from limelight.actors.package import build_package
from limelight.cluster import package_store
from limelight.cluster.held_folder import open_lock
from limelight.cluster.package_store import PackageStore
from limelight.exceptions import RuntimeEnvSetupError


def archive(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    data = content.getvalue()
    return f"pkg://{hashlib.sha256(data).hexdigest()}", data


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    store = PackageStore(root)
    yield store
    store.close()


def put(store, files):
    uri, data = archive(files)
    store.put(uri, data)
    return uri


def unfinished(root):
    return list((root / "partial").iterdir())


class TestPut:
    def test_and_unpack(self, store, root):
        uri = put(store, {"a.py": "x = 1", "sub/b.py": "y"})
        assert store.has(uri)
        folder = store.acquire(uri)
        assert (folder / "a.py").read_text() == "x = 1"
        assert (folder / "sub" / "b.py").read_text() == "y"
        assert not unfinished(root)

    def test_a_package_that_was_built(self, store, tmp_path):
        project = tmp_path / "project"
        (project / "empty").mkdir(parents=True)
        (project / "run.sh").write_text("#!/bin/sh")
        (project / "run.sh").chmod(0o755)
        made = build_package(project, tmp_path)
        store.put(made.uri, made.path)
        folder = store.acquire(made.uri)
        assert (folder / "empty").is_dir()
        assert os.access(folder / "run.sh", os.X_OK)

    def test_damaged_content_is_refused(self, store, root):
        uri, data = archive({"a": "1"})
        with pytest.raises(ValueError, match="arrived damaged"):
            store.put(uri, data + b"x")
        assert not store.has(uri)
        assert not unfinished(root)

    def test_again_changes_nothing(self, store):
        uri = put(store, {"a": "1"})
        before = store.archive(uri).stat().st_ino
        put(store, {"a": "1"})
        assert store.archive(uri).stat().st_ino == before

    @pytest.mark.parametrize("uri", ["pkg://short", "s3://x", "pkg://" + "g" * 64, "pkg://../../etc/passwd"])
    def test_what_is_no_uri_of_a_package_is_refused(self, store, uri):
        for operation in (store.has, store.archive, store.acquire, store.release, lambda uri: store.put(uri, b"")):
            with pytest.raises(ValueError, match="not the URI of a package"):
                operation(uri)

    def test_what_is_not_here_is_a_key_error(self, store):
        uri, _ = archive({"a": "1"})
        for operation in (store.archive, store.acquire, store.release):
            with pytest.raises(KeyError):
                operation(uri)


class TestHostileArchives:
    @pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil"])
    def test_names_that_lead_outside(self, store, root, name):
        uri = put(store, {name: "x"})
        with pytest.raises(RuntimeEnvSetupError, match="unsafe name"):
            store.acquire(uri)
        assert not list(root.parent.rglob("evil"))
        assert not unfinished(root)

    def test_more_content_than_the_quota(self, root):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("zeros", bytes(5_000_000))
        uri = f"pkg://{hashlib.sha256(data.getvalue()).hexdigest()}"
        store = PackageStore(root, quota=1_000_000)
        store.put(uri, data.getvalue())
        with pytest.raises(RuntimeEnvSetupError, match="more than the store's quota"):
            store.acquire(uri)
        assert not unfinished(root)

    def test_not_an_archive(self, store):
        data = b"not a zip"
        uri = f"pkg://{hashlib.sha256(data).hexdigest()}"
        store.put(uri, data)
        with pytest.raises(RuntimeEnvSetupError, match="cannot be unpacked"):
            store.acquire(uri)


def sized(number, size=100_000):
    return {f"file{number}": os.urandom(size // 2).hex()}


class TestQuota:
    def test_unused_packages_go_the_one_used_longest_ago_first(self, root):
        store = PackageStore(root, quota=500_000)  # archive and folder: 200 kB a package
        first, second = put(store, sized(1)), put(store, sized(2))
        for age, uri in ((200, first), (100, second)):
            folder = store.acquire(uri)
            store.release(uri)
            for path in (folder, store.archive(uri)):
                os.utime(path, (time.time() - age, time.time() - age))
        third = put(store, sized(3))
        store.acquire(third)
        assert [store.has(uri) for uri in (first, second, third)] == [False, True, True]
        assert not folder.parent.joinpath(first.removeprefix("pkg://")).exists()
        store.close()

    def test_packages_in_use_stay_over_the_quota(self, root):
        store = PackageStore(root, quota=250_000)
        folders = [store.acquire(put(store, sized(number))) for number in range(4)]
        assert all(any(folder.iterdir()) for folder in folders)
        store.close()

    def test_a_package_is_in_use_until_its_last_user_released_it(self, root):
        store = PackageStore(root, quota=250_000)
        uri = put(store, sized(1))
        folder = store.acquire(uri)
        assert store.acquire(uri) == folder
        store.release(uri)
        put(store, sized(2))
        put(store, sized(3))
        assert folder.exists()
        store.release(uri)
        put(store, sized(4))
        assert not folder.exists()

    def test_a_package_that_is_kept_stays_before_anybody_unpacks_it(self, root):
        store = PackageStore(root, quota=150_000)
        uri, data = archive(sized(1))
        store.keep(uri)
        store.put(uri, data)
        put(store, sized(2))
        assert store.has(uri)
        store.release(uri)
        put(store, sized(3))
        assert not store.has(uri)

    def test_an_evicted_package_can_be_put_again(self, root):
        store = PackageStore(root, quota=150_000)
        files = sized(1)
        uri = put(store, files)
        os.utime(store.archive(uri), (1, 1))
        put(store, sized(2))
        assert not store.has(uri)
        assert put(store, files) == uri
        assert store.acquire(uri).exists()
        store.close()


def in_child(target, *args):
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    return process


def hold_forever(root, uri, ready):
    PackageStore(root, quota=250_000).acquire(uri)
    ready.set()
    signal.pause()


def acquire_often(root, uri, data):
    store = PackageStore(root, quota=25_000)  # too little for the archive and the folder: each release evicts
    good = 0
    for _ in range(30):
        try:
            store.put(uri, data)
            folder = store.acquire(uri)
        except KeyError:  # somebody made room between the two
            continue
        assert {path.name for path in folder.iterdir()} == {f"f{number}" for number in range(20)}
        good += 1
        store.release(uri)
    assert good > 0


class TestBetweenProcesses:
    def test_a_package_another_process_uses_stays_until_that_process_dies(self, root):
        ready = multiprocessing.get_context("spawn").Event()
        store = PackageStore(root, quota=250_000)
        uri = put(store, sized(1))
        child = in_child(hold_forever, root, uri, ready)
        try:
            assert ready.wait(30)
            put(store, sized(2))
            put(store, sized(3))
            assert store.has(uri)
        finally:
            child.kill()
            child.join(30)
            child.close()
        put(store, sized(4))
        assert not store.has(uri)

    def test_putting_using_and_evicting_at_once_never_shows_half_a_package(self, root):
        uri, data = archive({f"f{number}": "x" * 1000 for number in range(20)})
        children = [in_child(acquire_often, root, uri, data) for _ in range(3)]
        for child in children:
            child.join(60)
            assert child.exitcode == 0
            child.close()
        assert not unfinished(root)


def test_threads_that_want_the_same_package_unpack_it_once(store, monkeypatch):
    uri = put(store, {f"f{number}": "x" for number in range(50)})
    unpacked = []
    original = PackageStore._unpack

    def counted(self, digest, uri):
        unpacked.append(digest)
        original(self, digest, uri)

    monkeypatch.setattr(PackageStore, "_unpack", counted)
    folders = []
    threads = [threading.Thread(target=lambda: folders.append(store.acquire(uri))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(folders)) == 1
    assert len(folders) == 8
    assert len(unpacked) == 1


def test_a_package_that_another_process_unpacked_first_and_keeps_is_shared(root, monkeypatch):
    quick, slow = PackageStore(root), PackageStore(root)
    uri = put(quick, {"f": "x"})

    def overtaken(path, kind):  # it has looked, and found the package packed
        monkeypatch.undo()
        quick.acquire(uri)
        return open_lock(path, kind)

    monkeypatch.setattr(package_store, "open_lock", overtaken)
    assert slow.acquire(uri) == quick.acquire(uri)
    slow.close()
    quick.close()


def test_left_overs_of_processes_that_died_are_swept(root):
    PackageStore(root)
    for name, age in (("old.zip", 7200), ("new.zip", 0)):
        path = root / "partial" / name
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age, time.time() - age))
    PackageStore(root)
    assert [path.name for path in unfinished(root)] == ["new.zip"]


def test_nothing_stays_open(root):
    before = set(Path("/proc/self/fd").iterdir())
    store = PackageStore(root, quota=500)
    for number in range(5):
        uri = put(store, sized(number, 100))
        store.acquire(uri)
        store.release(uri)
    store.acquire(put(store, sized(9, 100)))
    store.close()
    assert len(set(Path("/proc/self/fd").iterdir())) <= len(before)
