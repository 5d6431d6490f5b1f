"""What a decision costs as the cluster grows: `python -m tests.sim.cost` prints the table.

Each part of the scheduler, and of what copies objects between nodes (the owners' directories, the nodes' pull
machines), is given the same work per run by clusters of several sizes, and must take about as many steps for a
decision, whatever the size. `tests/sim/test_cost.py` asserts it, of less work.

Each run is a process of its own, two of them at a time (`--jobs`). What the garbage collector takes is told apart: in
a real cluster each process has the objects of one node or caller to look at, here one process has those of all. What
there is before any work is frozen, as a node process freezes what it has imported; the rest of that row is what the
simulation keeps of tasks and messages, and says nothing of a cluster.
"""

import argparse
import gc
import multiprocessing
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from typing import NamedTuple

import msgspec

from limelight.cluster.scheduling import actor_table as a
from limelight.cluster.scheduling import group_table as g
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.strategy import HYBRID, LeaseSpec, Spread

from .caller import Work
from .cluster import SimCluster
from .copies import CopyCluster, broadcast, traffic
from .head import WholeCluster
from .meter import Collection, Cost, Meter

CPUS = 4
ONE = ResourceSet.parse({"CPU": 1})
LITTLE = ResourceSet.parse({"memory": 1 << 20})
COPIES_A_DEATH = 500
"""So many copies are made for each node that dies meanwhile."""
STRATEGIES: tuple[g.GroupStrategy, ...] = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


class Load(msgspec.Struct, frozen=True):
    """How much work a run is.

    Attributes:
        copies: of objects, made by nodes.
        every: see `Meter`.
        killed: one in so many nodes dies under its actors.
    """

    tasks: int = 1_000_000
    actors: int = 100_000
    groups: int = 2_000
    copies: int = 20_000
    every: int = 50
    killed: int = 100


def tasks_of_many(nodes: int, load: Load) -> dict[str, Cost]:
    """A caller on every tenth node, whose tasks overflow onto all others; with two classes each."""
    cluster = built(SimCluster(1, meter=Meter(load.every)), nodes)
    callers = max(1, nodes // 10)
    each = load.tasks // (2 * callers)
    for i in range(callers):
        caller = cluster.add_caller(f"c{i}", f"n{i * 10}")
        for key, strategy in ((b"hybrid", HYBRID), (b"spread", Spread())):
            first = (2 * i + (key == b"spread")) * each
            caller.submit(Work(key, LeaseSpec(ONE, strategy), 0.2), range(first, first + each))
    run_all(cluster)
    return cluster.meter.costs()


def tasks_of_one(nodes: int, load: Load, seconds: float = 0.2) -> dict[str, Cost]:
    """One caller with work for the whole cluster."""
    cluster = built(SimCluster(2, meter=Meter(load.every)), nodes)
    caller = cluster.add_caller("c0", "n0")
    caller.submit(Work(b"x", LeaseSpec(ONE), seconds), range(load.tasks))
    run_all(cluster)
    return cluster.meter.costs()


def actors(nodes: int, load: Load) -> dict[str, Cost]:
    """Actors come, more of them than fit for a while; some nodes die; those who made the actors end."""
    cluster = built(WholeCluster(3, meter=Meter(load.every)), nodes)
    spec = LeaseSpec(ResourceSet.of_units({"CPU": nodes * CPUS * 10_000 // load.actors}))
    for i in range(load.actors):
        actor = a.ActorSpec(
            i.to_bytes(16, "big"), "A", owner=f"p{i % 1000}", lease=spec if i % 2 else LeaseSpec(), max_restarts=-1
        )
        cluster.world.after(i * 10 / load.actors, cluster.actors, a.RegisterActor(actor))
    for i in range(0, nodes, load.killed):
        cluster.world.after(8.0, cluster.kill_node, f"n{i}")
    alive = {"ALIVE": load.actors}
    assert cluster.world.run(lambda: cluster.states() == alive if cluster.world.now > 15 else False, 300.0), (
        cluster.states()
    )
    for i in range(1000):
        cluster.actors(a.OwnerLost(f"p{i}", "it ended"))
    return cluster.meter.costs()


def waiting(nodes: int, load: Load) -> dict[str, Cost]:
    """Twice as many actors and groups as there is room for wait, and tasks go on."""
    cluster = built(WholeCluster(4, meter=Meter(load.every)), nodes)
    cluster.add_caller("c0", "n0").submit(Work(b"x", LeaseSpec(ONE), 0.2), range(nodes * CPUS * 10))
    for i in range(2 * nodes * CPUS):
        actor = a.ActorSpec(i.to_bytes(16, "big"), "A", owner="p", lease=LeaseSpec(ONE))
        cluster.world.after(i / (nodes * CPUS), cluster.actors, a.RegisterActor(actor))
    for i in range(nodes):
        spec = g.GroupSpec(i.to_bytes(18, "big"), (ONE, ONE), "PACK", "p")
        cluster.world.after(2.0 + i / nodes, cluster.form, g.CreateGroup(spec))
    cluster.world.run(lambda: False, 5.0)
    return cluster.meter.costs()


def groups(nodes: int, load: Load) -> dict[str, Cost]:
    """Groups of four bundles come and go, of every strategy; some nodes die."""
    cluster = built(WholeCluster(5, meter=Meter(load.every)), nodes)
    for i in range(load.groups):
        spec = g.GroupSpec(i.to_bytes(18, "big"), (ONE,) * 4, STRATEGIES[i % 4], "p")
        cluster.world.after(i * 0.02, cluster.form, g.CreateGroup(spec))
        cluster.world.after(i * 0.02 + 0.2, cluster.form, g.RemoveGroup(spec.group_id))
    for i in range(0, nodes, load.killed):
        cluster.world.after(load.groups * 0.01, cluster.kill_node, f"n{i}")
    cluster.world.run(lambda: False, load.groups * 0.02 + 2.0)
    return cluster.meter.costs()


def broadcasts(nodes: int, load: Load) -> dict[str, Cost]:
    """Objects that all nodes want at once, one after the other; some nodes die while they copy."""
    cluster = frozen(CopyCluster(6, nodes, Meter(load.every)))
    owner = cluster.add_owner()
    rounds = load.copies // nodes
    deaths = load.copies // COPIES_A_DEATH
    for i in range(rounds):
        die = deaths * (i + 1) // rounds - deaths * i // rounds
        broadcast(cluster, owner, i, (8 << 20, 64 << 20)[i % 2], die)
    cluster.settle(60.0)
    cluster.check(most_sent=16)
    return cluster.meter.costs()


def copies(nodes: int, load: Load) -> dict[str, Cost]:
    """Nodes read objects of many owners; copies are dropped, nodes die."""
    cluster = frozen(CopyCluster(7, nodes, Meter(load.every)))
    traffic(cluster, load.copies, load.copies // 200, 16 << 20, load.copies // COPIES_A_DEATH)
    cluster.settle(600.0)
    cluster.check(most_sent=16)
    return cluster.meter.costs()


SCENES = {
    "tasks, a caller on every tenth node": tasks_of_many,
    "tasks, one caller": tasks_of_one,
    "tasks of 0.5 ms, one caller": lambda nodes, load: tasks_of_one(nodes, load, 0.0005),
    "actors": actors,
    "actors and groups wait for room": waiting,
    "placement groups": groups,
    "copies, all nodes want the same": broadcasts,
    "copies of many owners' objects": copies,
}


def costs_of(name: str, nodes: int, load: Load) -> dict[str, Cost]:
    """Run a scene with so many nodes."""
    try:
        return SCENES[name](nodes, load)
    finally:
        gc.unfreeze()


def built(cluster, nodes: int):
    """Nodes that the head knows, and that know of each other."""
    for i in range(nodes):
        cluster.add_node(f"n{i}", {"CPU": CPUS, "memory": 64 << 30})
    cluster.world.run(lambda: False, 0.5)
    return frozen(cluster)


def frozen(cluster):
    """The collector does not look at it any more, until the run is over."""
    gc.collect()
    gc.freeze()
    return cluster


def run_all(cluster: SimCluster) -> None:
    """Until all tasks have ended."""
    done = cluster.world.run(lambda: all(caller.done() for caller in cluster.callers.values()), 10_000.0)
    assert done


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--tasks", type=int, default=Load().tasks)
    parser.add_argument("--actors", type=int, default=Load().actors)
    parser.add_argument("--groups", type=int, default=Load().groups)
    parser.add_argument("--copies", type=int, default=Load().copies)
    parser.add_argument("--every", type=int, default=Load().every)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time; each wants a core, and 1 GiB")
    parser.add_argument("--scene", nargs="*", default=list(SCENES), choices=list(SCENES))
    chosen = parser.parse_args()
    load = Load(chosen.tasks, chosen.actors, chosen.groups, chosen.copies, chosen.every)
    say(f"{load.tasks:,} tasks, {load.actors:,} actors, {load.groups:,} groups, {load.copies:,} copies.")
    say("For each decision: steps, CPU time (how many decisions there were); last, how both have grown.")
    with ProcessPoolExecutor(chosen.jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = {name: [pool.submit(measured, name, nodes, load) for nodes in chosen.nodes] for name in chosen.scene}
        for name, sizes in runs.items():
            tell(name, chosen.nodes, sizes)


def tell(name: str, nodes: list[int], runs: "list[Future[Run]]") -> None:
    """Print a scene's table when its runs have ended."""
    sizes = [run.result() for run in runs]
    say(f"\n{name} ({', '.join(f'{size.seconds:.0f}' for size in sizes)} s)")
    say(f"  {'':18}" + "".join(f"{count:>25,} nodes" for count in nodes) + "   steps  time")
    for part in sizes[0].costs:
        costs = [size.costs[part] for size in sizes]
        cells = "".join(f"{c.steps:10.1f} {c.seconds * 1e6:7.1f} us {c.decisions:9,}" for c in costs)
        steps, times = (_growth(costs[0][i], costs[-1][i]) for i in (1, 2))
        say(f"  {part:18}{cells}   {steps} {times}")


class Run(NamedTuple):
    """A scene with so many nodes: what decisions cost, and how long it took."""

    costs: dict[str, Cost]
    seconds: float


def measured(name: str, nodes: int, load: Load) -> Run:
    """One run, with what the garbage collector took of it as another part, a share for each decision of the others."""
    began, collection = time.monotonic(), Collection()
    costs = costs_of(name, nodes, load)
    collection.close()
    decisions = sum(cost.decisions for cost in costs.values())
    costs = {**costs, "(collector, all)": Cost(decisions, 0.0, collection.seconds / decisions)}
    return Run(costs, time.monotonic() - began)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _growth(small: float, large: float) -> str:
    return f"{large / small:4.2f}x" if small else "     "


if __name__ == "__main__":
    main()
