"""Mistakes people make with `cluster start`, `join` and `status`: each is told as what it is, and nothing is left."""

import http.server
import socket
import sys
import threading

import pytest

from .machine import OTHER_TOKEN

MINOR = f"3.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def nothing_new_runs(running, guest):
    yield
    assert guest.processes() == []
    assert guest.sessions() == []
    assert len(running.sessions()) == 2


@pytest.fixture
def mute():
    """A server that never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def web():
    """A web server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """A test's output has no place for it."""


class TestWhoIsThere:
    @pytest.mark.parametrize("verb", [["join"], ["status", "--address"]])
    def test_nobody_listens(self, guest, verb):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        error = guest.refused(*verb, f"127.0.0.1:{port}")
        assert f"nobody listens at its port {port}" in error
        assert "--host" in error

    @pytest.mark.parametrize("verb", [["join"], ["status", "--address"]])
    def test_the_name_does_not_resolve(self, guest, verb):
        assert "No machine is known here as 'no-such-host.invalid'" in guest.refused(*verb, "no-such-host.invalid")

    @pytest.mark.parametrize("verb", [["join"], ["status", "--address"]])
    def test_a_web_server_listens(self, guest, web, verb):
        error = guest.refused(*verb, web)
        assert f"What listens at {web} does not answer as a head" in error
        assert len(error) < 500

    @pytest.mark.parametrize("verb", [["join"], ["status", "--address"]])
    def test_who_listens_says_nothing(self, guest, mute, verb):
        error = guest.refused(*verb, mute)
        assert f"What listens at {mute} does not answer as a head" in error
        assert "5 s" in error

    def test_it_is_a_node_and_not_the_head(self, running, guest):
        [node] = {
            connection.laddr.port
            for connection in running.only("limelight: node").net_connections("tcp")
            if connection.status == "LISTEN"
        }
        error = guest.refused("join", f"127.0.0.1:{node}")
        assert f"At 127.0.0.1:{node} answers a node of this cluster, and not its head." in error
        assert "cluster status" in error


class TestWhoAsks:
    @pytest.mark.parametrize("verb", [["join"], ["status", "--address"]])
    def test_without_a_token(self, running, guest, verb):
        error = guest.refused(*verb, running.head, LIMELIGHT_TOKEN="")
        assert "LIMELIGHT_TOKEN=" in error

    @pytest.mark.parametrize("verb", [["join"], ["status", "--address"]])
    def test_with_another_token(self, running, guest, verb):
        error = guest.refused(*verb, running.head, LIMELIGHT_TOKEN=OTHER_TOKEN)
        assert f"The cluster at {running.head} has another token than this machine" in error
        assert "the environment variable LIMELIGHT_TOKEN" in error
        assert "`cluster token`" in error

    def test_with_a_token_file_of_another_cluster(self, running, guest, tmp_path):
        (tmp_path / "token").write_text(OTHER_TOKEN)
        (tmp_path / "token").chmod(0o600)
        variables = {"LIMELIGHT_TOKEN": "", "LIMELIGHT_TOKEN_FILE": str(tmp_path / "token")}
        assert f"took its own from {tmp_path}/token" in guest.refused("join", running.head, **variables)
        (tmp_path / "token").chmod(0o640)
        assert f"chmod 600 {tmp_path}/token" in guest.refused("join", running.head, **variables)

    def test_with_a_folder_for_a_token_file(self, running, guest, tmp_path):
        error = guest.refused("join", running.head, LIMELIGHT_TOKEN="", LIMELIGHT_TOKEN_FILE=str(tmp_path))
        assert f"{tmp_path} cannot be read: Is a directory." in error
        assert "LIMELIGHT_TOKEN_FILE names another" in error

    def test_with_what_is_no_token(self, running, guest):
        error = guest.refused("join", running.head, LIMELIGHT_TOKEN="secret")
        assert "LIMELIGHT_TOKEN is no token" in error
        assert "64 hexadecimal digits" in error

    def test_of_another_version(self, running, guest):
        error = guest.refused("join", running.head, FAKE_VERSION="99.1")
        assert f"The head at {running.head} runs Limelight" in error
        assert "this node 99.1: install the same version" in error

    def test_of_another_minor_version_of_python(self, running, guest):
        error = guest.refused("join", running.head, FAKE_PYTHON="3.99.1")
        assert f"runs Python {MINOR}" in error
        assert "this node Python 3.99.1" in error
        assert "--any-python" in error

    def test_another_minor_version_of_python_can_be_had_all_the_same(self, running, guest):
        said = guest.done("join", running.head, "--any-python", FAKE_PYTHON="3.99.1")
        assert "Note: The head runs Python" in said
        guest.done("stop")

    def test_another_patch_of_python_and_a_wrong_clock_are_told(self, running, guest):
        said = guest.done("join", running.head, "--num-cpus", "1", FAKE_PYTHON=f"{MINOR}.99", FAKE_CLOCK="3600")
        assert f"this node Python {MINOR}.99." in said
        assert "This machine's clock is 3600 s ahead of the head's" in said
        assert "cluster at" in running.done("status")
        guest.done("stop")
        assert "s behind the head's" in guest.done("join", running.head, FAKE_CLOCK="-3600")
        guest.done("stop")


class TestWhatIsOffered:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--num-cpus", "-1"], "cannot be negative"),
            (["--resources", '{"x": NaN}'], "finite number"),
            (["--labels", "a=b c"], "no value for label 'a'"),
            (["--object-store-memory", "1KB"], "at least"),
            (["--object-store-memory", "9000TiB"], "of memory that this machine"),
            (["--object-spilling-directory", "/proc/limelight"], "Cannot make the folder /proc/limelight/limelight-"),
            (["--log-dir", "/proc/limelight"], "The folder for logs, /proc/limelight"),
            (["--host", "192.0.2.77"], "--host 192.0.2.77 is no address of this machine"),
            (["--host", "no-such-host.invalid"], "--host no-such-host.invalid"),
        ],
    )
    def test_what_makes_no_sense(self, running, guest, options, said):
        assert said in guest.refused("join", running.head, *options)

    @pytest.mark.parametrize("host", ["192.0.2.77", "no-such-host.invalid"])
    def test_a_dashboard_elsewhere(self, guest, host):
        assert f"--dashboard-host {host}" in guest.refused("start", "--head", "--port", "0", "--dashboard-host", host)

    def test_a_node_that_does_not_start_takes_its_head_with_it(self, guest):
        assert "cannot be negative" in guest.refused("start", "--head", "--port", "0", "--num-cpus", "-1")


class TestTwice:
    def test_a_second_head_on_the_port(self, running):
        error = running.refused("start", "--head", "--port", running.head.rpartition(":")[2])
        assert f"A head of yours runs at {running.head} already." in error
        assert "--port" in error

    def test_a_second_head_on_the_port_where_the_first_keeps_its_state_in_the_usual_file(self, own):
        """The two fail at that file before they fail at the port."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
        own.done("start", "--head", "--head-only", "--include-dashboard", "false", "--port", port)
        for host in ("127.0.0.1", "127.0.0.2"):
            error = own.refused("start", "--head", "--head-only", "--host", host, "--port", port)
            assert f"A head of yours runs at 127.0.0.1:{port} already." in error
            assert "--port" in error

    def test_a_head_on_a_strangers_port(self, guest, mute):
        port = mute.rpartition(":")[2]
        error = guest.refused("start", "--head", "--port", port)
        assert f"Port {port} on 127.0.0.1 is taken" in error
        assert "another port" in error

    def test_joining_the_own_head(self, running):
        error = running.refused("join", running.head)
        assert f"This machine is a node of the cluster at {running.head} already" in error
        assert "--node-name" in error

    def test_joining_twice(self, running, guest):
        guest.done("join", running.head)
        error = guest.refused("join", running.head)
        assert "already: the node (pid" in error
        guest.done("join", running.head, "--node-name", "second")
        names = [line.split()[1:2] for line in running.done("status").splitlines()]
        assert ["second"] in names
        assert " and " in guest.done("stop")
