"""Starting a node process: it is ready, or there is an error that says why, and then there is no process."""

import ast
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import msgspec
import pytest

from limelight.cluster.head.head_config import HeadConfig
from limelight.cluster.node.node_config import NodeConfig
from limelight.cluster.process.identity import process_identity
from limelight.cluster.process.launcher import NodeStartError, launch_node
from limelight.cluster.session_folder import SessionFolder

from .process_death import wait_for_death

DEADLINE = 20


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


@pytest.fixture
def short_folder():
    """One whose path leaves room for sockets."""
    with tempfile.TemporaryDirectory(prefix="x") as folder:
        yield Path(folder)


def launch(command, **settings):
    return launch_node(command.encode(), main="node_mains", **settings)


def test_a_node_is_ready_in_a_session_of_its_own_and_ends_when_told():
    node = launch("serve " + "x" * 1_000_000)
    pid, session, stdin, config_size, title = ast.literal_eval(node.info.decode())
    assert pid == session == node.pid
    assert pid != os.getpid()
    assert stdin == ""
    assert config_size == 1_000_000
    assert title.startswith("limelight: node")
    assert node.is_alive()
    node.end()
    node.end()
    assert not node.is_alive()
    assert not process_identity(pid)


def test_a_node_that_does_not_end_is_killed():
    node = launch("stubborn")
    node.end(timeout=0.1)
    assert not node.is_alive()


def test_an_error_of_the_node_is_the_drivers_error():
    with pytest.raises(NodeStartError, match="OSError: port 6379 is in use") as raised:
        launch("fail 6379")
    assert raised.value.error_type == "OSError"
    assert "node_mains.py" in str(raised.value)


def test_a_node_that_ends_early_is_reported_with_its_code_and_its_words():
    with pytest.raises(NodeStartError, match=r"(?s)exit code 9.*something printed") as raised:
        launch("leave 9")
    assert raised.value.error_type == ""


def test_a_node_that_cannot_be_imported_is_reported():
    with pytest.raises(NodeStartError, match=r"(?s)exit code 1.*No module named 'nowhere'"):
        launch_node(b"", main="nowhere")


def test_a_crash_is_reported_from_the_log_file(tmp_path):
    with pytest.raises(NodeStartError, match=r"(?s)SIGSEGV.*about to crash.*Fatal Python error") as raised:
        launch(f"crash {tmp_path / 'node.log'}")
    assert "node_mains.py" in str(raised.value)


def test_a_node_that_hangs_is_killed_and_reported(monkeypatch):
    with pytest.raises(NodeStartError, match=r"(?s)pid \d+.*not ready within.*waiting for something") as raised:
        launch("hang", timeout=1.0)
    pid = int(str(raised.value).split("pid ")[1].split(")")[0])
    assert not process_identity(pid)


@pytest.mark.parametrize(("made", "name"), [("half", ".new-*"), ("whole", "[!.]*")])
def test_what_a_killed_node_had_made_of_its_session_is_removed(made, name, monkeypatch, short_folder):
    """Nobody but its driver can: its zygote, which does it later, is not there yet."""
    monkeypatch.setenv("LIMELIGHT_TMPDIR", str(short_folder))
    other = SessionFolder.create("1")

    def interrupted_when_it_is_there():
        while not {*other.path.parent.glob(name)} - {other.path}:
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch_node(f"linger {made}".encode(), main="node_mains", meanwhile=interrupted_when_it_is_there)
    assert list(other.path.parent.iterdir()) == [other.path]
    other.remove()
    assert not list(short_folder.iterdir())


@pytest.mark.parametrize(
    ("main", "config"),
    [
        ("limelight.cluster.node_main", NodeConfig()),
        ("limelight.cluster.head_main", HeadConfig(tcp="127.0.0.1:0", token="ab" * 32, state="memory")),
    ],
)
def test_a_detached_process_that_nobody_has_heard_of_ends(main, config, monkeypatch, short_folder):
    """Ctrl-C may come when it was forked, and the launcher does not have its pid yet."""
    monkeypatch.setenv("LIMELIGHT_TMPDIR", str(short_folder))
    popen, started = subprocess.Popen, []

    def interrupted(*arguments, **settings):
        started.append(popen(*arguments, **settings))
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch_node(msgspec.msgpack.encode(config), main=main, detached=True)
    assert started[0].wait(DEADLINE) == 1
    assert not list(short_folder.iterdir())


DRIVER = textwrap.dedent(
    """
    import os, signal, sys
    from limelight.cluster.process.launcher import launch_node
    node = launch_node(b"serve", main="node_mains", detached=sys.argv[1] == "detached")
    print(node.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
)


async def test_a_node_ends_when_its_driver_is_killed():
    node_pid = await asyncio.to_thread(killed_driver, "attached")
    await asyncio.wait_for(wait_for_death(node_pid), DEADLINE)


async def test_a_detached_node_outlives_its_driver():
    node_pid = await asyncio.to_thread(killed_driver, "detached")
    assert process_identity(node_pid)
    os.kill(node_pid, signal.SIGKILL)
    await asyncio.wait_for(wait_for_death(node_pid), DEADLINE)


def killed_driver(how):
    """Run a driver that starts a node and is killed; returns the node's pid."""
    result = subprocess.run([sys.executable, "-c", DRIVER, how], stdout=subprocess.PIPE, text=True, check=False)
    assert result.returncode == -signal.SIGKILL
    return int(result.stdout)


def test_a_node_collects_garbage_but_does_not_look_at_what_it_shares_with_its_workers():
    node = launch_node(msgspec.msgpack.encode(NodeConfig()), main="observed_node")
    node.wait()
    collects, frozen = ast.literal_eval(node.info.decode())
    assert collects
    assert frozen > 10_000


def test_nothing_large_is_imported_before_the_node_process_runs():
    script = "import sys, limelight.cluster.session; print({'asyncio', 'aiohttp', 'ctypes', 'ssl'} & {*sys.modules})"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n", "whoever calls init() waits for it"


def test_a_file_beside_the_user_does_not_stand_in_for_a_module(tmp_path, monkeypatch):
    (tmp_path / "asyncio.py").write_text("raise RuntimeError('the wrong asyncio')")
    monkeypatch.chdir(tmp_path)
    launch("serve").end()
