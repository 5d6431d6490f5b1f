"""A program that uses all of a cluster at once, and checks every result; run as a script while the head comes and goes.

python load_program.py FILE: works until FILE is there, then tells in FILE.json what it did: of each kind of work each
round's [begin, end] in Unix seconds, and every error.
"""

import json
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

import limelight as ll
from limelight.util.placement_group import placement_group, remove_placement_group
from limelight.util.scheduling_strategies import PlacementGroupSchedulingStrategy

PATIENCE = 60.0
LARGE = 10_000_000


@ll.remote(num_cpus=0.1)
def square(x):
    time.sleep(0.005)
    return x * x


@ll.remote(num_cpus=0.1)
def total(x):
    return sum(ll.get([square.remote(x + i) for i in range(3)], timeout=PATIENCE))


@ll.remote(num_cpus=0.1)
def count(most):
    for x in range(most):
        time.sleep(0.005)
        yield x


@ll.remote(num_cpus=0.1)
def reverse(block):
    return block[::-1].copy()


@ll.remote(num_cpus=0)
class Counter:
    def __init__(self, first=0):
        self.n = first

    def add(self):
        self.n += 1
        return self.n


def tasks(turn: int, _: dict) -> None:
    assert ll.get([square.remote(turn + x) for x in range(20)], timeout=PATIENCE) == [
        (turn + x) ** 2 for x in range(20)
    ]


def nested(turn: int, _: dict) -> None:
    assert ll.get(total.remote(turn), timeout=PATIENCE) == sum((turn + x) ** 2 for x in range(3))


def streams(turn: int, _: dict) -> None:
    assert [ll.get(item, timeout=PATIENCE) for item in count.remote(10)] == list(range(10)), turn


def objects(turn: int, _: dict) -> None:
    block = np.full(LARGE // 8, turn, dtype=np.int64)
    block[0] = -turn
    back = ll.get(reverse.remote(ll.put(block)), timeout=PATIENCE)
    assert back[-1] == -turn
    assert (back[:-1] == turn).all()


def actors(turn: int, _: dict) -> None:
    """One lives and goes, one is killed, one with a name is found again."""
    mine, doomed = Counter.remote(turn), Counter.options(num_cpus=0.1).remote()
    assert ll.get(mine.add.remote(), timeout=PATIENCE) == turn + 1
    assert ll.get(doomed.add.remote(), timeout=PATIENCE) == 1
    ll.kill(doomed)
    name = f"named {turn}"
    named = Counter.options(name=name).remote()
    assert ll.get(ll.get_actor(name).add.remote(), timeout=PATIENCE) == 1
    assert ll.get(named.add.remote(), timeout=PATIENCE) == 2


def detached(turn: int, kept: dict) -> None:
    """One actor all the while: it must never lose its state, nor be started twice."""
    if turn == 0:
        kept["it"] = Counter.options(name="detached", lifetime="detached").remote()
    assert ll.get(ll.get_actor("detached").add.remote(), timeout=PATIENCE) == 2 * turn + 1
    assert ll.get(kept["it"].add.remote(), timeout=PATIENCE) == 2 * turn + 2


def restarts(turn: int, _: dict) -> None:
    """An actor that is killed once is started again once. Its old process may answer a call before it ends."""
    actor = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    assert ll.get(actor.add.remote(), timeout=PATIENCE) == 1
    ll.kill(actor, no_restart=False)
    deadline = time.monotonic() + PATIENCE
    while ll.get(actor.add.remote(), timeout=PATIENCE) != 1:
        assert time.monotonic() < deadline, turn


def groups(turn: int, _: dict) -> None:
    group = placement_group([{"CPU": 0.2}, {"CPU": 0.1}])
    ll.get(group.ready(), timeout=PATIENCE)
    inside = square.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote(turn)
    assert ll.get(inside, timeout=PATIENCE) == turn**2
    remove_placement_group(group)


WORK = [tasks, nested, streams, objects, actors, detached, restarts, groups]


class Worker(threading.Thread):
    """Does one kind of work again and again."""

    def __init__(self, work: Callable[[int, dict], None], stop: str) -> None:
        super().__init__(name=work.__name__)
        self._work = work
        self._sign = Path(stop)
        self.rounds: list[tuple[float, float]] = []
        self.errors: list[str] = []

    def run(self) -> None:
        turn, kept = 0, {}
        while not self._sign.exists() and len(self.errors) < 3:
            begun = time.time()
            try:
                self._work(turn, kept)
            except Exception:
                self.errors.append(f"round {turn}, {time.time() - begun:.2f} s: {traceback.format_exc()}")
            turn += 1
            self.rounds.append((begun, time.time()))


def leftovers() -> list[str]:
    """What the program's end should have left nothing of, while it still runs."""
    runtime = ll.actors.runtime.current()
    actors_left = [row for row in runtime.state("actors") if row["state"] != "DEAD" and row["name"] != "detached"]
    groups_left = [row for row in runtime.state("placement_groups") if row["state"] != "REMOVED"]
    return [str(row) for row in actors_left + groups_left]


def tell(line: str) -> None:
    """To whoever has started this program."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(stop: str) -> None:
    ll.init(address="auto", log_to_driver=False)
    workers = [Worker(work, stop) for work in WORK]
    for worker in workers:
        worker.start()
    tell("begun")
    for worker in workers:
        worker.join()
    ll.kill(ll.get_actor("detached"))
    deadline = time.monotonic() + PATIENCE / 4
    while (left := leftovers()) and time.monotonic() < deadline:
        time.sleep(0.1)
    told = {
        "rounds": {worker.name: worker.rounds for worker in workers},
        "errors": {worker.name: worker.errors for worker in workers if worker.errors},
        "left": left,
    }
    ll.shutdown()
    Path(f"{stop}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
