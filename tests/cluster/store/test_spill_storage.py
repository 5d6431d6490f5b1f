"""Where spilled objects are kept: all of one or nothing, and damage is noticed."""

import builtins
import errno
import os
from pathlib import Path

import pytest

from limelight.cluster.store.error import SpilledObjectLostError, SpillStorageError
from limelight.cluster.store.spill_storage import DirectoryStorage, FsspecStorage, open_spill_storage

CONTENT = memoryview(os.urandom(9 << 20))


@pytest.fixture(params=["directory", "memory"])
def storage(request, tmp_path):
    if request.param == "directory":
        made = open_spill_storage(str(tmp_path / "spill"))
        assert isinstance(made, DirectoryStorage)
    else:
        made = open_spill_storage("memory://limelight-test/spill")
        assert isinstance(made, FsspecStorage)
    yield made
    made.clear()
    made.clear()


@pytest.mark.parametrize("size", [0, 1, 4096, len(CONTENT)])
def test_what_was_written_is_read_again(storage, size):
    url = storage.write("object", CONTENT[:size])
    into = memoryview(bytearray(size))
    storage.read(url, into)
    assert into == CONTENT[:size]


def test_deleting_is_idempotent(storage):
    url = storage.write("object", CONTENT[:100])
    storage.delete(url)
    storage.delete(url)
    with pytest.raises(SpillStorageError, match="Cannot read"):
        storage.read(url, memoryview(bytearray(100)))


def test_another_object_s_size_is_refused(storage):
    url = storage.write("object", CONTENT[:100])
    with pytest.raises(SpillStorageError, match="expected 99 bytes"):
        storage.read(url, memoryview(bytearray(99)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "cut short"),
        (lambda content: content[:10], "cut short"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "checksum"),
        (lambda content: b"x" + content[1:], "not the spilled object"),
    ],
)
def test_damage_is_noticed(tmp_path, damage, message):
    storage = DirectoryStorage(str(tmp_path))
    url = storage.write("object", CONTENT[:5000])
    Path(url).write_bytes(damage(Path(url).read_bytes()))
    with pytest.raises(SpillStorageError, match=message):
        storage.read(url, memoryview(bytearray(5000)))


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    storage = DirectoryStorage(str(tmp_path))
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(SpillStorageError, match=r"Cannot write 5000 bytes to .*No space left"):
        storage.write("object", CONTENT[:5000])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SpillStorageError, match="Cannot make the folder"):
        open_spill_storage(str(tmp_path / "file" / "spill"))


def test_clearing_removes_what_a_crash_left(tmp_path):
    storage = open_spill_storage(f"file://{tmp_path}/spill")
    storage.write("object", CONTENT[:10])
    (tmp_path / "spill" / "other.part").write_bytes(b"half")
    storage.clear()
    assert list(tmp_path.iterdir()) == []


def test_without_fsspec_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without_fsspec(name, *args, **kwargs):
        if name.startswith("fsspec"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_fsspec)
    with pytest.raises(SpillStorageError, match=r"pip install 'limelight\[data\]'"):
        open_spill_storage("s3://bucket/spill")


def test_a_file_system_that_is_not_known_is_told():
    with pytest.raises(SpillStorageError, match="Cannot use nosuch://x"):
        open_spill_storage("nosuch://x")


def test_a_disk_that_has_become_read_only_is_said(tmp_path, monkeypatch):
    """Linux refuses to delete there what is not even there."""
    storage = DirectoryStorage(str(tmp_path))

    def refuse(*_args, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(SpillStorageError, match="Read-only"):
        storage.write("object", CONTENT[:10])


def test_what_cannot_be_read_now_is_not_lost(tmp_path, monkeypatch):
    storage = DirectoryStorage(str(tmp_path))
    url = storage.write("object", CONTENT[:10])
    into = memoryview(bytearray(10))
    with monkeypatch.context() as patched:

        def refuse(*_args, **_options):
            raise OSError(errno.EMFILE, "Too many open files")

        patched.setattr(Path, "open", refuse)
        with pytest.raises(SpillStorageError, match="Too many") as caught:
            storage.read(url, into)
        assert not isinstance(caught.value, SpilledObjectLostError)
    storage.read(url, into)
    storage.delete(url)
    with pytest.raises(SpilledObjectLostError):
        storage.read(url, into)
