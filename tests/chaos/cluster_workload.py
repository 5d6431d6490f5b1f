"""What runs on a cluster while it is disturbed, as a program: `python cluster_workload.py SECONDS SEED JOURNAL`.

Six kinds of work side by side, each checked against what a sequential run gives, or against a journal on the disk. Each
line of the output is a JSON object; the last one has the counts, and all that went wrong.
"""

import json
import random
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

import limelight as ll
from limelight.util.placement_group import placement_group, remove_placement_group
from limelight.util.scheduling_strategies import PlacementGroupSchedulingStrategy

PATIENCE = 240.0
"""Seconds after which what has not come counts as lost."""


@ll.task(max_retries=-1, num_cpus=0.5)
def mix(seed: int, *values: int) -> int:
    return mixed(seed, *values)


@ll.task(max_retries=-1, num_cpus=0.5)
def mix_nested(seed: int, *values: int) -> int:
    return ll.get(mix.remote(seed, *values))


@ll.task(max_retries=-1, num_cpus=0.5)
def make(seed: int, size: int) -> np.ndarray:
    return made(seed, size)


@ll.task(max_retries=-1, num_cpus=0.5)
def checksum(*arrays: np.ndarray) -> int:
    return summed(*arrays)


@ll.actor(max_restarts=-1, max_task_retries=-1, num_cpus=0)
class Keeper:
    """Keeps a set of numbers in a file, so that it outlives its restarts."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def add(self, number: int) -> int:
        with self.path.open("ab") as file:
            file.write(b"%d\n" % number)
        return number

    def numbers(self) -> list[int]:
        return sorted({int(line) for line in self.path.read_bytes().split()}) if self.path.exists() else []


@ll.actor(max_restarts=-1, max_task_retries=0, num_cpus=0)
class Once:
    """Notes every call in a journal: none may stand there twice."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def step(self, call: str) -> str:
        with self.path.open("ab") as file:
            file.write(call.encode() + b"\n")
        return call


def mixed(seed: int, *values: int) -> int:
    return zlib.crc32(repr((seed, values)).encode())


def made(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8)


def summed(*arrays: np.ndarray) -> int:
    total = 0
    for array in arrays:
        total = zlib.crc32(array.tobytes(), total)
    return total


class Workload:
    """The kinds of work; each runs in a thread of its own until the time is over."""

    def __init__(self, seconds: float, seed: int, journal: Path) -> None:
        self.end = time.monotonic() + seconds
        self.seed = seed
        self.journal = journal
        self.counts: dict[str, int] = {}
        self.wrong: list[str] = []
        self.lock = threading.Lock()
        self.kept: dict[str, set[int]] = {"keeper-0": set(), "keeper-1": set()}

    def count(self, what: str, more: int = 1) -> None:
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + more

    def check(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.fault(f"{what}: {found!r:.200} instead of {expected!r:.200}")

    def fault(self, text: str) -> None:
        with self.lock:
            self.wrong.append(text)
        print(json.dumps({"wrong": text}), flush=True)

    def repeat(self, name: str, piece: Callable[[random.Random], None]) -> threading.Thread:
        def run() -> None:
            number = 0
            while time.monotonic() < self.end:
                number += 1
                try:
                    piece(random.Random(f"{self.seed} {name} {number}"))
                except Exception:
                    self.fault(f"{name}: {traceback.format_exc()[-1500:]}")
                self.count(name)

        thread = threading.Thread(target=run, name=name)
        thread.start()
        return thread

    # --- the kinds of work ---

    def graph(self, chance: random.Random) -> None:
        """A graph of tasks."""
        refs: list[ll.ObjectRef] = []
        values: list[int] = []
        for _ in range(40):
            inputs = [chance.randrange(len(refs)) for _ in range(min(len(refs), chance.randrange(4)))]
            seed, function = chance.randrange(1 << 30), chance.choice([mix, mix, mix_nested])
            refs.append(function.remote(seed, *[refs[i] for i in inputs]))
            values.append(mixed(seed, *[values[i] for i in inputs]))
        self.check("graph", ll.get(refs, timeout=PATIENCE), values)
        self.count("tasks", len(refs))

    def large(self, chance: random.Random) -> None:
        """Large objects, made anywhere and read elsewhere."""
        sizes = [chance.randrange(1 << 20, 12 << 20) for _ in range(4)]
        seeds = [chance.randrange(1 << 30) for _ in sizes]
        arrays = [made(*pair) for pair in zip(seeds, sizes, strict=True)]
        refs = [make.remote(*pair) for pair in zip(seeds, sizes, strict=True)]
        refs[0] = ll.put(arrays[0])
        sums = [checksum.remote(*refs), checksum.remote(refs[1], refs[0]), checksum.remote(refs[-1])]
        expected = [summed(*arrays), summed(arrays[1], arrays[0]), summed(arrays[-1])]
        self.check("large", ll.get(sums, timeout=PATIENCE), expected)
        self.check("large here", summed(ll.get(refs[2], timeout=PATIENCE)), summed(arrays[2]))
        self.count("large objects", len(refs))

    def keeping(self, chance: random.Random) -> None:
        """An actor with state that survives its restarts."""
        path = self.journal / f"kept-{chance.randrange(1 << 60):x}"
        keeper = Keeper.remote(str(path))
        numbers = [chance.randrange(1 << 30) for _ in range(30)]
        refs = [keeper.add.remote(number) for number in numbers]
        self.check("actor", ll.get(refs, timeout=PATIENCE), numbers)
        self.check("actor's state", ll.get(keeper.numbers.remote(), timeout=PATIENCE), sorted(set(numbers)))
        path.unlink()
        self.count("actor calls", len(refs))

    def once(self, chance: random.Random) -> None:
        """Calls that may fail, but not run twice; and those that were answered have run."""
        path = self.journal / f"once-{chance.randrange(1 << 60):x}"
        actor = Once.remote(str(path))
        calls = [f"{i}" for i in range(60)]
        answered: list[str] = []
        for start in range(0, len(calls), 10):
            for ref in [actor.step.remote(call) for call in calls[start : start + 10]]:
                try:
                    answered.append(ll.get(ref, timeout=PATIENCE))
                except ll.exceptions.RayActorError:
                    self.count("calls that failed with their actor")
        ran = path.read_text().split() if path.exists() else []
        self.check("calls that ran twice", sorted({call for call in ran if ran.count(call) > 1}), [])
        self.check("calls that were answered and have not run", sorted(set(answered) - set(ran)), [])
        path.unlink(missing_ok=True)
        self.count("calls at most once", len(calls))

    def groups(self, chance: random.Random) -> None:
        """Placement groups."""
        strategy = chance.choice(["PACK", "SPREAD", "STRICT_PACK"])
        group = placement_group([{"CPU": 0.5}, {"CPU": 0.5}], strategy=strategy)
        try:
            ll.get(group.ready(), timeout=PATIENCE)
            seeds = [chance.randrange(1 << 30) for _ in range(6)]
            inside = mix.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group))
            found = ll.get([inside.remote(seed) for seed in seeds], timeout=PATIENCE)
            self.check("group", found, [mixed(seed) for seed in seeds])
        finally:
            remove_placement_group(group)
        self.count("placement groups")

    def detached(self, chance: random.Random) -> None:
        """Actors that nobody owns, found by name."""
        name = chance.choice(sorted(self.kept))
        number = chance.randrange(1 << 30)
        keeper = ll.get_actor(name)
        self.check("detached actor", ll.get(keeper.add.remote(number), timeout=PATIENCE), number)
        self.kept[name].add(number)
        time.sleep(0.2)  # no condition: it sets the pace

    def run(self) -> None:
        for name in self.kept:
            Keeper.options(name=name, lifetime="detached").remote(str(self.journal / name))
        kinds = [self.graph, self.large, self.keeping, self.once, self.groups, self.detached]
        threads = [self.repeat(kind.__name__, kind) for kind in kinds]
        told = time.monotonic()
        for thread in threads:
            while thread.is_alive():
                thread.join(1.0)
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    print(json.dumps(self.counts), flush=True)
        for name, numbers in self.kept.items():
            found = ll.get(ll.get_actor(name).numbers.remote(), timeout=PATIENCE)
            self.check(f"state of detached actor {name}", found, sorted(numbers))
        print(json.dumps({"counts": self.counts, "wrong": self.wrong}), flush=True)


if __name__ == "__main__":
    ll.init(address="auto", log_to_driver=False, namespace="chaos")
    workload = Workload(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    workload.run()
    sys.exit(1 if workload.wrong else 0)
