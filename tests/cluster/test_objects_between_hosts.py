"""Objects between real nodes on hosts of their own, while links are cut and, in the last test, a host dies."""

import json
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

from tests.cluster.network import Host, Network, why_not

SIZE = 64 << 20
LINK = "400mbit"
"""Slow enough that a transfer can be met in the middle."""
COMMAND = [sys.executable, "-m", "limelight.cluster.command.main"]
PATIENCE = 60.0

PROLOGUE = f"""
import sys, zlib
import limelight as ll, numpy as np
from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ll.init(address="auto", log_to_driver=False)

def on(name):
    (node,) = [each["NodeID"] for each in ll.nodes() if each["Alive"] and each["NodeManagerAddress"] == name]
    return NodeAffinitySchedulingStrategy(node, soft=False)

def tell(word):
    print(word, flush=True)
    assert sys.stdin.readline()

@ll.remote
def make():
    return np.random.default_rng(0).bytes({SIZE})

@ll.remote
def digest(data):
    return zlib.crc32(data)
"""

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"hosts: {why_not()}")


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    """A cluster of four hosts with slow links; the first has the head, and no CPU for tasks."""
    network = Network()
    try:
        first, *others = [network.add_host() for _ in range(4)]
        started = first.run([*COMMAND, "start", "--head", "--host", first.address, "--num-cpus", "0"])
        assert started.returncode == 0, started.stderr
        token = re.search(r"LIMELIGHT_TOKEN=(\w+)", started.stdout)
        assert token is not None
        joining = [
            host.popen(
                [*COMMAND, "join", f"{first.address}:6379", "--num-cpus", "1"],
                env={"LIMELIGHT_TOKEN": token[1]},
                stdout=subprocess.DEVNULL,
            )
            for host in others
        ]
        assert [process.wait(PATIENCE) for process in joining] == [0, 0, 0]
        for host in network.hosts:
            network.shape(host, LINK)
        yield network.hosts
    finally:
        network.close()


class Program:
    """A driver on the first host, which says where it is and waits to be told to go on."""

    def __init__(self, host: Host, text: str) -> None:
        self._process = host.popen(
            [sys.executable, "-c", PROLOGUE + textwrap.dedent(text)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            pytest.fail(self.end())
        return line

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> str:
        _, errors = self._process.communicate(timeout=PATIENCE)
        return errors


def traffic(host: Host, direction: str) -> int:
    """Bytes that a host has sent ("tx") or received ("rx") so far."""
    shown = subprocess.run(
        ["ip", "-n", host.namespace, "-s", "-j", "link", "show", "eth0"], check=True, capture_output=True, text=True
    )
    return json.loads(shown.stdout)[0]["stats64"][direction]["bytes"]


def until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_object_that_all_hosts_want_leaves_its_own_about_once(hosts):
    program = Program(
        hosts[0],
        f"""
        places = [on(name) for name in {[host.address for host in hosts[1:]]}]
        ll.get([digest.options(scheduling_strategy=place).remote(b"to have a worker there") for place in places])
        ref = ll.put(np.random.default_rng(0).bytes({SIZE}))
        tell("here")
        found = ll.get([digest.options(scheduling_strategy=place).remote(ref) for place in places])
        assert len(set(found)) == 1, found
        print("done", flush=True)
        """,
    )
    assert program.hear() == "here"
    before = [traffic(host, "tx") for host in hosts]
    program.go_on()
    assert program.hear() == "done"
    sent = [traffic(host, "tx") - at for host, at in zip(hosts, before, strict=True)]
    program.end()
    assert sent[0] < 1.8 * SIZE, "three hosts have it, and the first has not sent it to each"
    assert sum(sent) > 3 * SIZE


def test_who_waits_for_an_object_to_come_may_set_a_time_limit(hosts):
    program = Program(
        hosts[0],
        f"""
        ref = make.options(scheduling_strategy=on("{hosts[1].address}")).remote()
        assert ll.wait([ref], fetch_local=False)[0]
        try:
            ll.get(ref, timeout=0.2)
        except ll.exceptions.GetTimeoutError as error:
            assert "another node" in str(error), error
            tell("too late")
        assert len(ll.get(ref, timeout=50)) == {SIZE}
        print("done", flush=True)
        """,
    )
    assert program.hear() == "too late"
    program.go_on()
    assert program.hear() == "done"
    program.end()


def test_a_link_that_is_cut_in_the_middle_and_comes_back(hosts):
    program = Program(
        hosts[0],
        f"""
        ref = make.options(scheduling_strategy=on("{hosts[1].address}")).remote()
        expected = ll.get(digest.options(scheduling_strategy=on("{hosts[1].address}")).remote(ref))
        tell("made")
        assert ll.get(digest.options(scheduling_strategy=on("{hosts[2].address}")).remote(ref)) == expected
        print("done", flush=True)
        """,
    )
    assert program.hear() == "made"
    before = traffic(hosts[2], "rx")
    program.go_on()
    until(lambda: traffic(hosts[2], "rx") > before + SIZE // 4)
    hosts[1].unplug()
    time.sleep(1.0)  # the outage itself
    hosts[1].plug()
    assert program.hear() == "done"
    assert traffic(hosts[2], "rx") - before < 1.6 * SIZE, "it went on where it was"
    program.end()


def test_a_host_that_dies_while_it_sends_is_replaced_by_one_that_has_a_copy(hosts):
    program = Program(
        hosts[0],
        f"""
        ref = make.options(scheduling_strategy=on("{hosts[1].address}"), max_retries=0).remote()
        expected = ll.get(digest.options(scheduling_strategy=on("{hosts[2].address}")).remote(ref))
        tell("copied")
        assert ll.get(digest.options(scheduling_strategy=on("{hosts[3].address}")).remote(ref)) == expected
        print("done", flush=True)
        """,
    )
    assert program.hear() == "copied"
    before = traffic(hosts[3], "rx")
    program.go_on()
    until(lambda: traffic(hosts[3], "rx") > before + SIZE // 4)
    hosts[1].kill()
    assert program.hear() == "done"
    assert traffic(hosts[3], "rx") - before < 1.6 * SIZE, "what had come was not sent again"
    program.end()
