"""The hosts that tests are run on."""

import subprocess

import pytest

from .network import Network, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

PING = ["python3", "-c", "import socket, sys; socket.create_connection((sys.argv[1], 7), 1)"]


@pytest.fixture
def network():
    made = Network()
    yield made
    made.close()


def reaches(source, target) -> str:
    """How an attempt to connect to a port that nobody listens on ends: "refused" by a host that is there."""
    error = source.run([*PING, target.address]).stderr
    return "refused" if "ConnectionRefusedError" in error else error.strip().splitlines()[-1]


def test_hosts_reach_each_other_until_one_is_unplugged(network):
    first, second = network.add_host(), network.add_host()
    assert reaches(first, second) == reaches(second, first) == "refused"
    second.unplug()
    assert "timed out" in reaches(first, second)
    second.plug()
    assert reaches(first, second) == "refused"


def test_hosts_have_their_own_processes_files_and_name(network):
    first, second = network.add_host(), network.add_host()
    first.run(["sh", "-c", "touch $TMPDIR/mine /dev/shm/mine"])
    assert second.run(["sh", "-c", "ls $TMPDIR /dev/shm"]).stdout.split() == ["/dev/shm:", f"{second.folder}:", "home"]
    assert second.run(["ls", str(first.folder)]).returncode != 0, "the one cannot see the other's files"
    assert second.run(["ls", str(first.folder.parent)]).stdout.split() == [second.folder.name]
    second.run(["sh", "-c", "echo from inside > $TMPDIR/told"])
    assert (second.folder / "told").read_text() == "from inside\n", "but the tests can"
    assert first.run(["hostname"]).stdout.strip() == "host1"
    sleeper = first.popen(["sleep", "1000"])
    assert first.processes() == ["sleep 1000"]
    assert second.processes() == []
    sleeper.kill()
    sleeper.wait()


def test_a_power_cut_ends_all_that_runs_there(network):
    host = network.add_host()
    daemon = host.popen(["sh", "-c", "setsid sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    daemon.stdout.readline()
    host.kill()
    assert daemon.wait(10) != 0
    daemon.stdout.close()
