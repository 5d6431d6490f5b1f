"""A session's folder is private, short, found while it lives, and gone afterwards, however its process ended."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from limelight.cluster import session_info, session_remains
from limelight.cluster.host_id import host_id
from limelight.cluster.session_folder import SessionFolder
from limelight.cluster.session_info import (
    LONGEST_SOCKET_NAME,
    SessionFolderError,
    read_info,
    read_token,
    sessions_folder,
)
from limelight.cluster.session_remains import current_session, live_sessions


@pytest.fixture
def base(tmp_path):
    return tmp_path / "limelight-0"


@pytest.fixture
def folder(base):
    made = SessionFolder.create("1.2", driver_pid=7, base=base)
    yield made
    made.remove()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def killed_session(base):
    """The folder of a session whose process was killed."""
    code = textwrap.dedent(
        f"""
        import os, pathlib, signal
        from limelight.cluster.session_folder import SessionFolder
        made = SessionFolder.create("1", base=pathlib.Path({str(base)!r}))
        made.make_current()
        print(made.path, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    return Path(result.stdout.strip())


def test_a_session_says_what_it_is_and_nobody_else_can_read_it(folder, base):
    info = read_info(folder.path)
    assert (info.name, info.version, info.pid, info.driver_pid) == (folder.name, "1.2", os.getpid(), 7)
    assert len(read_token(folder.path)) == 64
    assert [mode(path) for path in (base, folder.path, folder.sockets, folder.logs)] == [0o700] * 4
    assert mode(folder.path / "token") == 0o600


def test_removal_leaves_nothing_not_even_the_base(folder, base):
    folder.make_current()
    (folder.logs / "worker.out").write_text("x")
    folder.remove()
    folder.remove()
    assert not base.exists()


def test_removal_leaves_other_sessions_alone(folder, base):
    other = SessionFolder.create("1", base=base)
    other.make_current()
    folder.remove()
    assert current_session(base) == other.path
    other.remove()


def test_sessions_of_killed_processes_are_recognised_and_removed_at_the_next_start(folder, base):
    dead = killed_session(base)
    assert dead.is_dir()
    assert current_session(base) is None
    assert live_sessions(base) == [folder.path]
    other = SessionFolder.create("1", base=base)
    assert not dead.exists()
    assert live_sessions(base) == sorted([folder.path, other.path])
    other.remove()


def test_a_child_that_lives_on_does_not_keep_a_session_alive(base):
    folder = SessionFolder.create("1", base=base)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        os.close(folder._lock)
        assert live_sessions(base) == []
        child.kill()
    folder._lock = os.open(folder.path / "lock", os.O_RDWR)
    folder.remove()


def test_what_a_killed_creator_left_half_built_is_removed_after_a_while(base, monkeypatch):
    half = base / ".new-0101-000000-abcd"
    half.mkdir(parents=True, mode=0o700)
    base.chmod(0o700)
    SessionFolder.create("1", base=base).remove()
    assert half.exists()
    monkeypatch.setattr(session_remains, "_UNFINISHED_SECONDS", -1.0)
    SessionFolder.create("1", base=base).remove()
    assert not base.exists()


def test_the_current_session_is_the_last_that_said_so(folder, base):
    assert current_session(base) is None
    folder.make_current()
    assert current_session(base) == folder.path
    other = SessionFolder.create("1", base=base)
    other.make_current()
    assert current_session(base) == other.path
    other.remove()
    assert current_session(base) is None


def test_a_folder_that_others_can_write_to_is_refused(base):
    base.mkdir(mode=0o777)
    base.chmod(0o777)
    with pytest.raises(SessionFolderError, match="LIMELIGHT_TMPDIR"):
        SessionFolder.create("1", base=base)


def test_a_link_in_place_of_the_folder_is_refused(base, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    base.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SessionFolderError, match="not a private folder"):
        SessionFolder.create("1", base=base)


def test_a_token_that_others_can_read_is_refused(folder):
    (folder.path / "token").chmod(0o644)
    with pytest.raises(SessionFolderError, match="0600"):
        read_token(folder.path)


def test_a_joining_node_takes_the_clusters_token(folder):
    folder.write_token("ab" * 32)
    assert read_token(folder.path) == "ab" * 32
    assert mode(folder.path / "token") == 0o600


def test_sockets_with_the_longest_name_can_be_bound_in_the_deepest_folder_that_is_accepted(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        room = session_info._room_left(Path(short) / f"limelight-{os.getuid()}")
        deepest = Path(short) / ("x" * (room - 1))
        deepest.mkdir()
        monkeypatch.setenv("LIMELIGHT_TMPDIR", str(deepest))
        folder = SessionFolder.create("1", base=sessions_folder())
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(folder.socket_path("s" * LONGEST_SOCKET_NAME))
        with pytest.raises(ValueError, match="longer"):
            folder.socket_path("s" * (LONGEST_SOCKET_NAME + 1))
        folder.remove()


def test_a_chosen_folder_whose_path_is_too_long_is_an_error_that_teaches(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("LIMELIGHT_TMPDIR", str(long))
    with pytest.raises(SessionFolderError, match=r"too long for Unix sockets.*LIMELIGHT_TMPDIR"):
        sessions_folder()


def test_a_temporary_folder_whose_path_is_too_long_is_replaced_by_tmp(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.delenv("LIMELIGHT_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(long))
    assert sessions_folder() == Path(f"/tmp/limelight-{os.getuid()}")


def test_this_host_is_itself_in_every_process():
    code = "from limelight.cluster.host_id import host_id; print(host_id())"
    other = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert other.stdout.strip() == host_id()
    assert len(host_id()) == 32


def test_a_folder_is_whole_or_hidden_so_that_what_is_half_removed_is_no_session(folder, base, monkeypatch):
    """rmtree may be cut short: by a kill, or by a worker that still makes a file."""
    monkeypatch.setattr(session_remains.shutil, "rmtree", lambda path, ignore_errors: removed.append(path))
    removed = []
    folder.remove()
    assert removed == [base / f".gone-{folder.name}"]
    assert (removed[0] / "lock").is_file(), "nothing of it was removed yet"
    assert not folder.path.exists()
    assert live_sessions(base) == []
    monkeypatch.undo()
    SessionFolder.create("1", base=base).remove()
    assert not base.exists(), "the next start removes the rest"
