"""Disturb a cluster of hosts for as long as you like: `python -m tests.chaos.cluster --seconds 1800 --seed 1`.

Needs root, for the hosts are network namespaces. Exit code 1 where anything was wrong or left behind.
"""

import argparse
import sys

import msgspec

from ..cluster.network import why_not
from .cluster_world import run_chaos


def main() -> int:
    """Run, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, action="append", help="several may be given; one run each")
    options = parser.parse_args()
    if reason := why_not():
        parser.error(reason)
    bad = False
    for seed in options.seed or [1]:
        report = run_chaos(seed, options.seconds, lambda line: print(line, flush=True))
        print(msgspec.json.format(msgspec.json.encode(report)).decode(), flush=True)
        bad |= bool(report.wrong or report.left)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
