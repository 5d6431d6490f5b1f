"""TLS between hosts, from the commands that make certificates to what can be read on the wire."""

import shutil
import subprocess
import sys
import time

import pytest

from tests.cluster.network import Network, why_not

from .wire_tap import tapped

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

CLUSTER = [sys.executable, "-m", "limelight.cluster.command.main"]
MARKER = b"what nobody else should read"

PROGRAM = f"""
import time, limelight as ll
from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ll.init(address="auto")
here = ll.get_runtime_context().get_node_id()
there = next(node["NodeID"] for node in ll.nodes() if node["NodeID"] != here)

@ll.task(scheduling_strategy=NodeAffinitySchedulingStrategy(there, soft=False))
def elsewhere(text, times):
    return (text * times, ll.get_runtime_context().get_node_id())

@ll.task
def f(x):
    time.sleep(0.2)
    return x * x

text = bytes({list(MARKER)})
assert ll.get(elsewhere.remote(text, 1)) == (text, there)          # over a channel
assert ll.get(elsewhere.remote(text, 100_000)) == (text * 100_000, there)  # a bulk stream
print(ll.get([f.remote(i) for i in range(12)]))
"""


class Machine:
    """A host on which commands are typed."""

    def __init__(self, host) -> None:
        self.host = host
        self.folder = host.home / "tls"
        self.env: dict[str, str] = {}

    def cluster(self, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return self.host.run([*CLUSTER, *words], env=self.env | (env or {}))

    def succeeds(self, *words: str, env: dict[str, str] | None = None) -> str:
        ended = self.cluster(*words, env=env)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def fails(self, *words: str, env: dict[str, str] | None = None) -> str:
        """What it says on stderr; asserts that it fails before any time-out of a connection could be over."""
        start = time.monotonic()
        ended = self.cluster(*words, env=env)
        assert time.monotonic() - start < 10
        assert ended.returncode == 1, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stderr

    def tls(self, folder=None) -> list[str]:
        """The options for the certificates in a folder of this host."""
        folder = folder or self.folder
        return ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]


@pytest.fixture(scope="module")
def network():
    made = Network()
    yield made
    made.close()


@pytest.fixture(scope="module")
def machines(network) -> tuple[Machine, Machine]:
    """A cluster with TLS of two hosts; the first has the head, and made the certificates."""
    head, other = Machine(network.add_host()), Machine(network.add_host())
    head.folder = head.host.home / ".limelight" / "tls"
    head.succeeds("token", "--new-ca")
    head.succeeds("token", "--new-cert", other.host.address, "host2")
    shutil.copytree(head.folder / other.host.address, other.folder)  # as `scp -rp` does
    other.env["LIMELIGHT_TOKEN"] = head.succeeds("token").strip()
    said = head.succeeds("start", "--head", "--host", head.host.address, *head.tls())
    assert f"cluster join {head.host.address}:6379 --tls-cert FILE --tls-key FILE" in said
    other.succeeds("join", head.host.address, *other.tls())
    return head, other


@pytest.fixture(scope="module")
def stranger(network, machines) -> Machine:
    """A machine with the token, and with certificates of an authority of its own."""
    made = Machine(network.add_host())
    made.env["LIMELIGHT_TOKEN"] = machines[1].env["LIMELIGHT_TOKEN"]
    made.folder = made.host.home / ".limelight" / "tls"
    made.succeeds("token", "--new-ca")
    return made


def others_certificates(machines, stranger):
    """A folder on the stranger's host with what was made for another."""
    return shutil.copytree(machines[1].folder, stranger.host.folder / "others", dirs_exist_ok=True)


def test_programs_run_and_nothing_of_theirs_can_be_read_on_the_way(network, machines, tmp_path) -> None:
    heard = tmp_path / "heard"
    with tapped(network, heard):
        for machine in machines:
            ended = machine.host.run([sys.executable, "-c", PROGRAM])
            assert ended.returncode == 0, ended.stderr
            assert "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121]" in ended.stdout
    said = heard.read_bytes()
    assert len(said) > 4 * 100_000 * len(MARKER) / 2, "the tap has not heard the streams"
    assert MARKER not in said
    assert b"Limelight-Proof" not in said
    assert machines[1].env["LIMELIGHT_TOKEN"].encode() not in said


def test_commands_on_other_machines_speak_tls_too(machines, stranger, tmp_path) -> None:
    head = machines[0]
    folder = others_certificates(machines, stranger)
    files = {"LIMELIGHT_TLS_CERT": str(folder / "cert.pem"), "LIMELIGHT_TLS_KEY": str(folder / "key.pem")}
    for options, env in (stranger.tls(folder), {}), ([], files):
        shown = stranger.succeeds("status", "--address", head.host.address, *options, env=env)
        assert "2 nodes" in shown
        said = stranger.fails("drain", "nobody", "--address", head.host.address, *options, env=env)
        assert "The cluster has no node 'nobody'" in said
    said = stranger.fails("status", "--address", head.host.address)
    assert said.startswith(
        f"cluster: The process at tcp:{head.host.address}:6379 speaks TLS, and this one does not: give --"
    )


def test_a_machine_without_tls_is_told_what_is_missing(machines, stranger) -> None:
    said = stranger.fails("join", machines[0].host.address)
    told = f"cluster: The process at tcp:{machines[0].host.address}:6379 speaks TLS, and this one does not: "
    assert said.startswith(f"{told}give --tls-cert and --tls-key here, too")


def test_a_machine_with_certificates_of_another_authority_is_refused(machines, stranger) -> None:
    said = stranger.fails("join", machines[0].host.address, *stranger.tls())
    told = "the certificate is not signed by the authority that is expected here"
    assert said.startswith(f"cluster: Cannot connect to tcp:{machines[0].host.address}:6379: {told}")


def test_a_certificate_for_another_host_is_refused_before_anything_is_started(machines, stranger) -> None:
    said = stranger.fails("join", machines[0].host.address, *stranger.tls(others_certificates(machines, stranger)))
    assert f"nobody can connect to {stranger.host.address}: the certificate is not for that host" in said
    assert f"`cluster token --new-cert {stranger.host.address}`" in said
    assert not [line for line in stranger.host.processes() if "limelight" in line]


def test_a_head_without_tls_is_not_joined_with_it(stranger, network) -> None:
    plain = Machine(network.add_host())
    token = {"LIMELIGHT_TOKEN": stranger.env["LIMELIGHT_TOKEN"]}
    ended = plain.cluster("start", "--head", "--head-only", "--host", plain.host.address, env=token)
    assert "WARNING: without TLS" in ended.stderr
    said = stranger.fails("join", plain.host.address, *stranger.tls())
    assert said.startswith(f"cluster: Cannot connect to tcp:{plain.host.address}:6379: it does not speak TLS, and this")


def test_without_tls_all_can_be_read(network, tmp_path) -> None:
    """What the test of secrecy can see at all."""
    head, other = Machine(network.add_host()), Machine(network.add_host())
    head.succeeds("start", "--head", "--host", head.host.address)
    other.env["LIMELIGHT_TOKEN"] = head.succeeds("token").strip()
    other.succeeds("join", head.host.address)
    heard = tmp_path / "heard"
    with tapped(network, heard):
        ended = other.host.run([sys.executable, "-c", PROGRAM])
        assert ended.returncode == 0, ended.stderr
    said = heard.read_bytes()
    assert MARKER in said
    assert b"Limelight-Proof" in said
    assert other.env["LIMELIGHT_TOKEN"].encode() not in said, "the token itself is never sent"
