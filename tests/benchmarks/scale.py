"""How far one machine goes: many actors, many tasks, many refs, more data than the store holds.

    python -m tests.benchmarks.scale [--scale 0.1]

Each line is one measurement in a fresh session of this process. The sizes are those of the goals in the issue that
asks for them; --scale makes all of them smaller.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psutil

import limelight as ll

from .footprint import proportional_memory
from .machine import description

GIB = 1 << 30


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__.split("\n\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes (1.0)")
    parser.add_argument("--only", default="", help="names of measurements, with commas between")
    options = parser.parse_args(arguments)
    print(", ".join(f"{key}: {value}" for key, value in description().items()), flush=True)
    for measure in MEASURES:
        name = measure.__name__
        if not options.only or name in options.only.split(","):
            print(f"{name.replace('_', ' '):20} {measure(options.scale)}", flush=True)


@contextmanager
def session(**settings: object) -> Iterator[None]:
    """A session for one measurement."""
    ll.init(log_to_driver=False, **settings)
    try:
        yield
    finally:
        ll.shutdown()


def timed(action: Callable[[], object]) -> tuple[float, object]:
    """Seconds that an action took, and its result."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def memory() -> int:
    """Bytes of this process and all it has started (PSS)."""
    own = psutil.Process()
    return sum(proportional_memory(process.pid) for process in [own, *own.children(recursive=True)])


def light_actors(scale: float) -> str:
    """Create many actors, have each answer one call, and drop them."""
    count = int(10_000 * scale)

    @ll.remote(isolation="shared")
    class Light:
        def __init__(self, number: int) -> None:
            self.number = number

        def answer(self) -> int:
            return self.number

    with session(num_cpus=4):
        ll.get(Light.remote(0).answer.remote())
        actors: list = []

        def create() -> list[int]:
            actors.extend(Light.remote(number) for number in range(count))
            return ll.get([actor.answer.remote() for actor in actors])

        seconds, answers = timed(create)
        assert answers == list(range(count))
        used = memory()
        again, _ = timed(lambda: ll.get([actor.answer.remote() for actor in actors]))
        return (
            f"{count} actors created, each answered a call: {seconds:.2f} s, {count / seconds:,.0f}/s; "
            f"{used / GIB:.2f} GiB in all; a second call to each: {count / again:,.0f}/s"
        )


def queued_tasks(scale: float) -> str:
    """Submit many tasks at once."""
    count = int(100_000 * scale)
    with session(num_cpus=2):
        square = ll.remote(lambda x: x * x)
        ll.get([square.remote(x) for x in range(100)])
        submitting, refs = timed(lambda: [square.remote(x) for x in range(count)])
        used = memory()
        rest, values = timed(lambda: ll.get(refs))
        assert values == [x * x for x in range(count)]
        return (
            f"{count} tasks submitted in {submitting:.2f} s, all done after {submitting + rest:.2f} s, "
            f"{count / (submitting + rest):,.0f}/s; {used / GIB:.2f} GiB at most"
        )


def many_refs(scale: float) -> str:
    """Pass, get and wait for many refs at once."""
    count = int(10_000 * scale)

    @ll.remote
    def make(x: int) -> int:
        return x

    @ll.remote
    def total_of_list(refs: list) -> int:
        return sum(ll.get(refs))

    @ll.remote
    def total(*values: int) -> int:
        return sum(values)

    with session(num_cpus=2):
        refs = [make.remote(x) for x in range(count)]
        ll.get(refs)
        right = count * (count - 1) // 2
        get, _ = timed(lambda: ll.get(refs))
        in_list, one = timed(lambda: ll.get(total_of_list.remote(refs)))
        arguments, two = timed(lambda: ll.get(total.remote(*refs)))
        assert one == two == right
        stored, _ = timed(lambda: ll.get(ll.put(refs)))
        pending = [make.remote(x) for x in range(count)]
        wait, _ = timed(lambda: ll.wait(pending, num_returns=count))
        one_by_one, _ = timed(lambda: drain([make.remote(x) for x in range(count // 10)]))
        return (
            f"{count} refs: get {get * 1e3:.0f} ms, in an argument's list {in_list * 1e3:.0f} ms, as arguments "
            f"{arguments * 1e3:.0f} ms, put and get in a list {stored * 1e3:.0f} ms, wait for all "
            f"{wait * 1e3:.0f} ms; wait for {count // 10} one at a time {one_by_one * 1e3:.0f} ms"
        )


def drain(pending: list) -> None:
    """Wait for refs one at a time."""
    while pending:
        _, pending = ll.wait(pending)


def nesting(scale: float) -> str:
    """Tasks that wait for tasks, deeper than there are CPUs."""
    depth = max(2, int(50 * scale))

    @ll.remote
    def deep(left: int) -> int:
        return 1 + ll.get(deep.remote(left - 1)) if left else 0

    with session(num_cpus=2):
        first, result = timed(lambda: ll.get(deep.remote(depth)))
        assert result == depth
        second, _ = timed(lambda: ll.get(deep.remote(depth)))
        return f"{depth} deep on 2 CPUs: {first:.2f} s, and {second:.2f} s when the workers are there"


def rounds(scale: float) -> str:
    """The program of the README: twelve tasks of two seconds on six CPUs take two rounds."""
    seconds = max(0.2, 2 * scale)

    @ll.remote
    def nap() -> None:
        time.sleep(seconds)

    with session(num_cpus=6):
        took, _ = timed(lambda: ll.get([nap.remote() for _ in range(12)]))
        return f"12 tasks of {seconds:g} s on 6 CPUs: {took:.2f} s ({took / seconds:.2f} times one task)"


def spilling(scale: float) -> str:
    """Four times what the store holds, kept and read again."""
    size = int(100e6 * scale) // 8 * 8
    with session(num_cpus=2, object_store_memory=5 * size):
        arrays = (np.random.default_rng(seed).integers(0, 1 << 62, size=size // 8) for seed in range(20))
        refs, sums, writing = [], [], 0.0
        for array in arrays:
            seconds, ref = timed(lambda array=array: ll.put(array))
            writing += seconds
            refs.append(ref)
            sums.append(int(array.sum()))
        reading, same = timed(lambda: all(int(ll.get(ref).sum()) == sums[index] for index, ref in enumerate(refs)))
        assert same
        total = 20 * size
        return (
            f"{total / 1e9:.1f} GB through a store of {5 * size / 1e9:.1f} GB: put {total / writing / 1e9:.2f} GB/s, "
            f"read again {total / reading / 1e9:.2f} GB/s"
        )


MEASURES = (light_actors, queued_tasks, many_refs, nesting, rounds, spilling)

if __name__ == "__main__":
    main()
