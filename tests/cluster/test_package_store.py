"""Packages are stored once, unpacked once, and stay while somebody uses them, whoever dies meanwhile."""

import fcntl
import hashlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from limelight.actors.package import build_package
from limelight.cluster import held_folder, package_store
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

    def test_again_replaces_what_was_damaged_on_the_disk(self, store):
        """As where a machine lost its power before all was written: whoever has it sends it again."""
        uri, data = archive({"a": "1" * 1000})
        store.put(uri, data)
        assert store.is_intact(uri)
        store.archive(uri).write_bytes(data[:100])
        store.put(uri, data)
        assert store.archive(uri).read_bytes() == data
        store.archive(uri).write_bytes(b"")
        assert not store.is_intact(uri)
        assert not store.has(uri)
        assert not store.is_intact(uri)

    def test_nothing_is_written_where_it_is_visible(self, root, tmp_path):
        """A process that is killed leaves a whole package, or none."""
        uri, data = archive({"a.py": "x = 1"})
        (tmp_path / "x.zip").write_bytes(data)
        program = (
            "import os, pathlib, sys\n"
            "from limelight.cluster.package_store import PackageStore\n"
            "written = []\n"
            "def watch(event, of):\n"
            "    if event == 'open' and isinstance(of[0], str) and of[2] & (os.O_WRONLY | os.O_RDWR):\n"
            "        written.append(of[0])\n"
            "sys.addaudithook(watch)\n"
            f"store = PackageStore(pathlib.Path({str(root)!r}))\n"
            f"store.put({uri!r}, pathlib.Path({str(tmp_path / 'x.zip')!r}))\n"
            f"store.acquire({uri!r})\n"
            "print(*sorted({pathlib.Path(path).relative_to(sys.argv[1]).parts[0] for path in written}))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(root)], capture_output=True, text=True, timeout=50, check=True
        )
        assert done.stdout == "locks partial\n"

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

    def test_what_cannot_be_unpacked_says_so_whatever_the_reason(self, store):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("a", "some text " * 100)
        data = bytearray(content.getvalue())
        encrypted, broken = bytearray(data), bytearray(data)
        encrypted[6] |= 1  # the flag, in both places
        encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
        broken[31:36] = b"\xff" * 5  # the first bytes that were compressed
        for damaged, why in ((encrypted, "encrypted"), (broken, "decompressing")):
            uri = f"pkg://{hashlib.sha256(damaged).hexdigest()}"
            store.put(uri, bytes(damaged))
            with pytest.raises(RuntimeEnvSetupError, match=f"cannot be unpacked.*{why}"):
                store.acquire(uri)
            assert store.has(uri)  # it is what was sent

    def test_what_was_damaged_on_the_disk_is_as_good_as_not_here(self, store):
        uri = put(store, {"a": "1" * 1000})
        os.truncate(store.archive(uri), 100)
        with pytest.raises(KeyError):
            store.acquire(uri)
        assert not store.has(uri)


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

    def test_to_use_a_package_makes_it_the_last_one_to_go(self, root):
        store = PackageStore(root, quota=550_000)
        first, second = put(store, sized(1)), put(store, sized(2))
        for age, uri in ((2, first), (1, second)):
            folder = store.acquire(uri)
            store.release(uri)
            for path in (folder, store.archive(uri)):
                os.utime(path, (10 - age, 10 - age))
        store.acquire(first)
        store.release(first)
        put(store, sized(3))
        put(store, sized(4))
        assert (store.has(first), store.has(second)) == (True, False)

    def test_room_is_made_for_what_is_unpacked_and_when_something_is_let_go(self, root):
        store = PackageStore(root, quota=250_000)
        first, second = put(store, sized(1)), put(store, sized(2))
        store.acquire(second)
        assert (store.has(first), store.has(second)) == (False, True)
        third = put(store, sized(3))
        store.acquire(third)
        assert store.has(second)
        store.release(second)
        assert (store.has(second), store.has(third)) == (False, True)
        assert {path.name for path in (root / "locks").iterdir()} == {
            third.removeprefix("pkg://") + suffix for suffix in ("", ".make")
        }

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


def test_a_lock_that_an_eviction_has_just_removed_holds_nothing(tmp_path, monkeypatch):
    """Between opening its file and locking it somebody else may have removed the file, and another made it anew."""
    path = tmp_path / "lock"
    flock = fcntl.flock

    def late(descriptor, kind):
        monkeypatch.undo()
        path.unlink()
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = open_lock(path, fcntl.LOCK_SH)
    assert os.path.samestat(os.fstat(lock), path.stat())
    os.close(lock)


def test_an_eviction_that_comes_after_another_one_removes_nothing(root, monkeypatch):
    store, other = PackageStore(root, quota=150_000), PackageStore(root)
    first = put(store, sized(1))
    os.utime(store.archive(first), (1, 1))
    lock = root / "locks" / first.removeprefix("pkg://")
    flock = fcntl.flock

    def late(descriptor, kind):  # it was evicted, and somebody uses it anew
        if kind & fcntl.LOCK_NB and not other._held:
            lock.unlink()
            other.keep(first)
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    put(store, sized(2))
    assert store.has(first)
    assert lock.exists()
    other.close()


def test_threads_that_hold_at_once_hold_by_one_lock(root, monkeypatch):
    store = PackageStore(root)
    uri = put(store, {"f": "x"})

    def overtaken(path, kind):
        monkeypatch.undo()
        store.keep(uri)
        return open_lock(path, kind)

    monkeypatch.setattr(held_folder, "open_lock", overtaken)
    store.keep(uri)
    store.release(uri)
    store.release(uri)
    lock = os.open(root / "locks" / uri.removeprefix("pkg://"), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which fails while anybody holds it
    os.close(lock)


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
