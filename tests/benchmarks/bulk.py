"""How fast objects cross between hosts, against a bare socket: `python -m tests.benchmarks.bulk`, as root.

Hosts are network namespaces (tests/cluster/network.py) with a node's store and its pulls in a process each. Every
object is preceded by as many bytes through a bare socket between the same two hosts; what counts is the ratio.

For the broadcast the hosts' links are slowed down to what one machine's processors can feed for all of them, or the
figure would be that of the processors, which all hosts share here.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.cluster.network import Host, Network, why_not
from tests.source_tree import ROOT

MB = 1_000_000
OBJECT = 48 << 20
"""50 MB."""
BROADCAST = 1 << 30
ROUNDS = 9
LINK = "1gbit"


class Peer:
    """A node on a host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = host.popen(
            [sys.executable, "-m", "tests.benchmarks.station_host", host.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": path},
        )
        self.about = self._hear()

    def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, arguments]) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.host.name} has ended with {self._process.wait()}")
        return json.loads(line)


def shape(network: Network, rate: str) -> None:
    """Slow every host's link down, in both directions."""
    for host in network.hosts:
        network.shape(host, rate)


def bare(source: Peer, target: Peer, size: int) -> float:
    """Seconds for so many bytes through a bare socket."""
    port = source.ask("listen", size=size)["port"]
    return target.ask("receive", host=source.host.address, port=port, size=size)["seconds"]


def one_object(source: Peer, target: Peer, size: int) -> float:
    """Seconds for an object."""
    published = source.ask("publish", size=size)
    seconds = target.ask("pull", **published)["seconds"]
    for peer in (source, target):
        peer.ask("free", object=published["object"])
    return seconds


def unicast(peers: list[Peer]) -> None:
    """50 MB from one host to another, again and again."""
    ratios: list[float] = []
    rates: list[float] = []
    for round_ in range(ROUNDS):
        raw, ours = bare(*peers[:2], OBJECT), one_object(*peers[:2], OBJECT)
        if round_ == 0:
            print(f"first 50 MB, into memory that is new: {OBJECT / ours / MB:.0f} MB/s", flush=True)
            continue
        ratios.append(raw / ours)
        rates.append(OBJECT / ours / MB)
    print(
        f"50 MB: median {statistics.median(rates):.0f} MB/s, {statistics.median(ratios):.0%} of a bare socket"
        f" ({min(ratios):.0%} to {max(ratios):.0%})",
        flush=True,
    )


def broadcast(peers: list[Peer], size: int) -> None:
    """A large object from one host to four others, at the same time."""
    source, others = peers[0], peers[1:]
    one = one_object(source, others[0], size)
    before = source.ask("sent")["ranges"]
    published = source.ask("publish", size=size)
    with ThreadPoolExecutor(len(others)) as threads:
        all_ = max(answer["seconds"] for answer in threads.map(lambda peer: peer.ask("pull", **published), others))
    ranges = source.ask("sent")["ranges"] - before
    for peer in peers:
        peer.ask("free", object=published["object"])
    print(
        f"{size >> 20} MiB to {len(others)} hosts: {all_:.2f} s, one copy {one:.2f} s ({size / one / MB:.0f} MB/s): "
        f"{all_ / one:.2f}x; the source sent {ranges * (4 << 20) / size:.2f} copies",
        flush=True,
    )


def main() -> None:
    """Make hosts, measure, remove them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", default=LINK, help="the links' rate during the broadcast, as tc(8) takes it")
    parser.add_argument("--size", type=int, default=BROADCAST, help="bytes of the object that is broadcast")
    options = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(f"This benchmark {reason}.")
    network = Network()
    peers: list[Peer] = []
    try:
        peers += [Peer(network.add_host()) for _ in range(5)]
        book = {peer.about["node"]: peer.about["address"] for peer in peers}
        for peer in peers:
            peer.ask("meet", peers=book)
        unicast(peers)
        broadcast(peers, options.size // 4)
        shape(network, options.link)
        print(f"with links of {options.link}:", flush=True)
        unicast(peers)
        broadcast(peers, options.size)
    finally:
        for peer in peers:
            peer.close()
        network.close()


if __name__ == "__main__":
    main()
