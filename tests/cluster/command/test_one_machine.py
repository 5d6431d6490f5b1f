"""A cluster of one machine: started, asked, used, stopped, and killed in every way."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from .machine import Machine, address_in, machine, until

PROGRAM = """
import os, sys
import limelight as ll
ll.init(*sys.argv[1:])
print(ll.get(ll.task(lambda: 6 * 7).remote()), len(ll.nodes()))
"""

SMALL_PROGRAM = """
import sys
import limelight as ll
ll.init(*sys.argv[1:])
print(ll.get(ll.task(lambda: 6 * 7).remote()))
"""

LONG_PROGRAM = """
import threading
import limelight as ll
ll.init("auto")
@ll.task
def long():
    print("on", flush=True)
    threading.Event().wait()
ll.get(long.remote())
"""

AS_OTHER = """
import encodings.ascii, os, sys
from limelight.cluster.client import session_client
from limelight.cluster.command import command_line, main
os.setgid(65534)
os.setuid(65534)  # after all is imported: this Python may be where only root can read
sys.exit(main.main(sys.argv[1:]))
"""


def program(own: Machine, *arguments: str, code: str = PROGRAM, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program there."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**own.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestOpenPorts:
    """What others on the network can reach is told loudly, and nothing else is."""

    @pytest.mark.parametrize("host", ["0.0.0.0", "::"])
    def test_a_dashboard_that_is_open_on_all_addresses(self, own, host):
        result = own.cluster("start", "--head", "--port", "0", "--head-only", "--dashboard-host", host)
        assert result.returncode == 0, result.stderr
        port = result.stdout.partition("The dashboard is at ")[2].partition(".\n")[0].rpartition(":")[2]
        assert f"WARNING: the dashboard, port {port} of all addresses of this machine ({host})" in result.stderr
        assert "read the token" in result.stderr

    def test_nothing_is_open_unless_asked(self, own):
        result = own.cluster("start", "--head", "--port", "0", "--head-only")
        assert result.returncode == 0
        assert result.stderr == ""


class TestUse:
    def test_status_shows_the_node_and_what_is_in_use(self, running):
        said = running.done("status")
        assert said.startswith(f"The cluster at {running.head}: 1 node.")
        assert "CPU" in said

    def test_status_knows_the_cluster_by_its_address_too(self, running):
        assert running.done("status", "--address", running.head) == running.done("status")
        assert "nobody listens" in running.refused("status", "--address", "127.0.0.1:1")

    @pytest.mark.parametrize("name", ["auto", "address"])
    def test_a_program_uses_it(self, running, name):
        assert program(running, running.head if name == "address" else name).stdout == "42 1\n"

    @pytest.mark.parametrize("variable", ["LIMELIGHT_ADDRESS", "RAY_ADDRESS"])
    def test_a_program_that_names_no_address_uses_what_the_environment_names(self, running, variable):
        assert program(running, **{variable: running.head}).stdout == "42 1\n"

    def test_the_same_head_by_another_name(self, running):
        port = running.head.rpartition(":")[2]
        assert program(running, f"localhost:{port}").stdout == "42 1\n"

    def test_a_program_with_another_address_is_told_what_to_type(self, running):
        result = program(running, "10.1.2.3:6379")
        assert "`cluster join 10.1.2.3:6379` first" in result.stderr
        assert running.head in result.stderr

    def test_a_program_where_nothing_runs_is_told_what_to_type(self, own):
        assert "`cluster start --head` starts one" in program(own, "auto").stderr

    def test_the_token_is_the_file_s_and_private(self, running):
        path = Path(running.done("token", "--path").strip())
        assert path.stat().st_mode & 0o777 == 0o600
        assert running.done("token") == path.read_text()


class TestStop:
    def test_nothing_is_left(self, own):
        own.start()
        assert own.done("stop").startswith("Stopped the head (pid")
        until(lambda: not own.processes(), "all has ended")
        assert own.sessions() == []
        assert own.done("stop") == "No cluster of yours runs on this machine.\n"
        assert "`cluster start --head` starts one" in own.refused("status")

    def test_a_node_that_does_not_listen_is_killed_by_force_only(self, own):
        own.start()
        node = own.only("limelight: node")
        node.suspend()
        assert "the node (pid" in own.done("stop", "--force")
        until(lambda: not own.processes(), "all has ended")
        assert own.sessions() == []

    def test_a_head_is_stopped_while_a_program_runs(self, own):
        own.start()
        driver = subprocess.Popen(
            [sys.executable, "-c", LONG_PROGRAM],
            env=own.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert "on" in driver.stdout.readline()
        own.done("stop")
        _, error = driver.communicate(timeout=30)
        assert driver.returncode == 1
        assert "Error" in error.splitlines()[-1]


class TestCrash:
    def test_all_is_started_again_where_all_was_killed(self, own):
        own.start()
        for process in own.processes():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has ended with another
                process.kill()
        until(lambda: not own.processes(), "all has ended")
        assert "No cluster of yours" in own.refused("status")
        own.start()
        assert len(own.sessions()) == 2
        assert program(own, "auto", code=SMALL_PROGRAM).stdout == "42\n"

    def test_a_killed_head_is_told_and_started_again_beside_its_node(self, own):
        address = own.start()
        node = own.only("limelight: node")
        own.only("limelight: head").kill()
        error = own.refused("status")
        assert f"The head at {address} has not answered" in error
        assert "`cluster start --head` with the same options" in error
        assert program(own, "auto", code=SMALL_PROGRAM).stdout == "42\n", "the node goes on without"
        said = own.done("start", "--head", "--port", address.rpartition(":")[2])
        assert f"The node of this machine (pid {node.pid}), which has waited for a head" in said
        until(lambda: "1 node." in own.done("status"), "the node is back")
        assert own.only("limelight: node") == node
        assert program(own, "auto").stdout == "42 1\n"

    def test_a_head_that_comes_back_as_another_version_is_told_on_the_other_machines(self, own):
        with machine() as guest:
            address = own.start("--head-only")
            guest.done("join", address, LIMELIGHT_TOKEN=own.done("token").strip())
            own.only("limelight: head").kill()
            port = address.rpartition(":")[2]
            own.done("start", "--head", "--head-only", "--port", port, FAKE_VERSION="99.1")
            until(lambda: "runs Limelight 99.1" in guest.cluster("status").stderr, "the node has looked")
            assert "`cluster stop` ends this machine's node" in guest.refused("status")
            assert guest.done("stop").startswith("Stopped the node")

    def test_ctrl_c_before_all_is_started_ends_what_is_started(self, own):
        with own.foreground("start", "--head", "--port", "0") as command:
            until(lambda: own.processes("limelight: node"), "the head runs, and the node begins")
            command.send_signal(signal.SIGINT)
            assert command.communicate(timeout=30) == ("", "")
            assert command.returncode == 130
        assert own.processes() == []
        assert own.sessions() == []

    def test_a_killed_node_is_shown_as_gone(self, own):
        own.start()
        own.done("join", address_in_status(own), "--node-name", "second")
        [_, second] = sorted(own.processes("limelight: node"), key=lambda process: process.create_time())
        second.kill()
        until(lambda: "1 node." in own.done("status"), "it is given up")
        told = own.done("status", COLUMNS="80").partition("GONE")[2].splitlines()
        assert any(line.split(maxsplit=1)[1:] == ["second  its process ended without a word"] for line in told)


def address_in_status(own: Machine) -> str:
    return own.done("status").removeprefix("The cluster at ").partition(": ")[0]


class TestBlock:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_ends_with_all_when_told_to(self, own, number):
        with self.blocked(own) as command:
            command.send_signal(number)
            assert command.wait(30) == 0
        assert own.processes() == []
        assert own.sessions() == []

    @pytest.mark.parametrize("title", ["limelight: head", "limelight: node"])
    def test_it_fails_when_a_process_dies_so_that_systemd_starts_all_again(self, own, title):
        with self.blocked(own) as command:
            own.only(title).kill()
            _, error = command.communicate(timeout=30)
            assert command.returncode == 1
            assert "has ended (it ended, killed by signal 9 (SIGKILL)); so all has." in error
        until(lambda: not own.processes(), "all has ended")

    def test_killed_itself_it_leaves_nothing(self, own):
        with self.blocked(own) as command:
            command.kill()
            command.wait(30)
        until(lambda: not own.processes(), "all has ended")

    def test_a_joined_node_ends_well_when_the_cluster_does(self, own):
        with machine() as guest:
            address = own.start()
            token = own.done("token").strip()
            with guest.foreground("join", address, "--block", LIMELIGHT_TOKEN=token) as command:
                until(lambda: "2 nodes." in own.done("status"), "it has joined")
                own.done("stop")
                assert command.wait(30) == 0
            assert guest.processes() == []

    def test_with_two_commands_a_head_is_replaced_while_its_node_goes_on(self, own):
        with own.foreground("start", "--head", "--head-only", "--port", "0", "--block") as first:
            address = address_in(first.stdout.readline())
            with own.foreground("join", address, "--num-cpus", "1", "--block") as joined:
                until(lambda: "1 node." in own.cluster("status").stdout, "the node is there")
                node = own.only("limelight: node")
                own.only("limelight: head").kill()
                assert first.wait(30) == 1
                again = ["start", "--head", "--head-only", "--port", address.rpartition(":")[2], "--block"]
                with own.foreground(*again) as second:
                    assert address_in(second.stdout.readline()) == address
                    until(lambda: "1 node." in own.cluster("status").stdout, "the node is back")
                    assert own.only("limelight: node") == node
                    own.done("stop")
                    assert second.wait(30) == joined.wait(30) == 0

    @staticmethod
    @contextmanager
    def blocked(own: Machine) -> Iterator[subprocess.Popen[str]]:
        with own.foreground("start", "--head", "--port", "0", "--num-cpus", "1", "--block") as command:
            address_in(command.stdout.readline())
            yield command


class TestPlaces:
    def test_logs_stay_where_they_are_wanted(self, own):
        logs = own.folder / "logs"
        own.start("--log-dir", str(logs))
        own.done("stop")
        assert sorted(path.name for path in logs.glob("*/*.log")) == ["head.log", "node.log"]

    def test_a_home_that_cannot_be_written(self, own):
        (own.home / "file").touch()
        error = own.refused("start", "--head", "--port", "0", HOME=str(own.home / "file"))
        assert "token cannot be" in error or "token in" in error
        assert program_of(own, HOME=str(own.home / "file")) == "127.0.0.1"

    def test_a_full_disk_for_the_session(self, own):
        error = own.refused("start", "--head", "--port", "0", LIMELIGHT_TMPDIR="/proc")
        assert "LIMELIGHT_TMPDIR" in error

    def test_ipv6(self, own):
        address = own.start("--host", "::1")
        assert address.startswith("[::1]:")
        assert address in own.done("status")
        assert program(own, address).stdout == "42 1\n"
        assert "already" in own.refused("join", address)


def program_of(own: Machine, **environment: str) -> str:
    """Start without a home, with the token in the environment and the state in memory, and stop; returns the host."""
    token = "ab" * 32
    said = own.done("start", "--head", "--port", "0", "--state", "memory", LIMELIGHT_TOKEN=token, **environment)
    own.done("stop", **environment)
    return address_in(said).rpartition(":")[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_two_users_do_not_see_each_other():
    with machine("/tmp") as own:
        own.start()
        own.folder.chmod(0o1777)
        token = own.folder / "token"

        def as_other(verb: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-c", AS_OTHER, verb],
                env={**own.environment, "LIMELIGHT_TOKEN_FILE": str(token)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        assert "No cluster of yours" in as_other("status").stderr
        assert as_other("stop").stdout == "No cluster of yours runs on this machine.\n"
        assert as_other("token").stdout == token.read_text() != own.done("token")
        assert len(own.processes("limelight: node")) == 1
