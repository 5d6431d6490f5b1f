"""Where the token could be seen by who should not see it, and what others of the machine can reach."""

import os
import re
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

import limelight as ll
from tests.cluster.network import Network, why_not

from .conftest import COMMAND

LOOK = """
import limelight as ll, os
ll.init(address="auto")

@ll.task
def environment():
    print("a line of a task")
    return dict(os.environ)

@ll.actor
class Holder:
    def environment(self):
        return dict(os.environ)

import numpy as np
kept = ll.put(np.ones(1_000_000))
for found in ll.get([environment.remote(), Holder.remote().environment.remote()]):
    print(sorted(found.items()))
"""


@pytest.fixture(scope="module")
def used(cluster):
    """A cluster in which something has run, and what that has said."""
    return cluster, cluster.python(LOOK)


def test_programs_do_not_find_the_token_in_their_environment(used) -> None:
    """They could read it, as all that runs in a cluster may; but environments are printed, logged and sent around."""
    cluster, said = used
    assert "LIMELIGHT_TMPDIR" in said
    assert cluster.token not in said
    for process in cluster.processes():
        assert cluster.token not in "".join(process.environ().values()), process


def test_the_token_is_in_no_command_line(used) -> None:
    cluster, _ = used
    assert cluster.processes()
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if cluster.token in line]


def test_the_token_is_in_no_file_but_those_that_keep_it(used) -> None:
    cluster, _ = used
    files = [path for path in cluster.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    holders = [path for path in files if cluster.token.encode() in path.read_bytes()]
    assert {path.name for path in holders} == {"token"}
    assert len(holders) == 3  # the user's, and one in the session's folder of the head and of the node
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in holders)
    assert any(path.name.endswith(".log") for path in files), "no logs were looked at"


def test_nobody_else_can_enter_the_folder_of_sessions(used) -> None:
    """So the modes of what is inside, of sockets, logs, packages and spilled objects, matter to nobody."""
    cluster, _ = used
    sessions = cluster.folder / f"limelight-{os.getuid()}"
    assert stat.S_IMODE(sessions.stat().st_mode) == 0o700
    sockets = [path for path in sessions.rglob("*") if path.is_socket()]
    assert sockets
    for path in sockets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_logs_in_a_folder_of_the_users_choice_are_private_too(cluster) -> None:
    """--log-dir may name a folder that everybody can enter."""
    logs = cluster.folder / "logs"
    logs.mkdir(mode=0o755)
    said = cluster.cluster("start", "--head", "--head-only", "--port", "0", "--state", "memory", "--log-dir", str(logs))
    port = re.search(r"127\.0\.0\.1:(\d+)", said)[1]
    try:
        [made] = logs.iterdir()
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in made.iterdir())
    finally:
        for process in cluster.processes():
            if any(str(found.laddr.port) == port for found in process.net_connections("inet")):
                process.terminate()
                process.wait(10)


def test_a_session_of_a_program_listens_on_no_port(ll_local) -> None:
    """`init()` without an address: Unix sockets only, so no stranger has anything to speak to."""

    @ll.task
    def pid() -> int:
        return os.getpid()

    @ll.actor
    class Holder:
        def pid(self) -> int:
            return os.getpid()

    worker = ll.get(pid.remote())
    holder = Holder.remote()
    host = ll.get(holder.pid.remote())  # it runs from here on
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    assert {worker, host} <= {process.pid for process in processes}
    for process in processes:
        found = process.net_connections("inet")
        assert not [one for one in found if one.status == psutil.CONN_LISTEN], process


def test_the_shared_memory_of_a_node_has_no_name(ll_local) -> None:
    """Others of the machine could open a file in /dev/shm; the arena has none, and /proc guards its descriptor."""
    import numpy as np

    kept = ll.put(np.ones(1_000_000))
    maps = Path("/proc/self/maps").read_text()
    assert "memfd:" in maps
    assert "/dev/shm" not in maps
    del kept


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_what_is_printed_into_a_log_has_no_token_and_a_warning() -> None:
    """`--block` is for systemd and containers, whose logs others may read."""
    network = Network()
    try:
        host = network.add_host()
        command = [*COMMAND, "start", "--head", "--head-only", "--host", host.address, "--block"]
        with host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as head:
            said = ""
            while "WARNING: without TLS" not in said:
                line = head.stdout.readline()
                assert line, said
                said += line
            token = host.run([*COMMAND, "token"]).stdout.strip()
            assert host.run([*COMMAND, "stop"]).returncode == 0
            said += head.stdout.read()
        assert len(token) == 64
        assert token not in said
        assert f"LIMELIGHT_TOKEN=… cluster join {host.address}:6379" in said
        assert f"port 6379 of {host.address} is open to the network. Whoever has the token can run programs" in said
    finally:
        network.close()
