"""Objects and actors live exactly as long as somebody holds them, whatever overtakes what, and whoever dies."""

import gc

import pytest

from limelight.actors.native import entrusted_object, values
from limelight.actors.native.lineage import MOST_BYTES

from .simulation.program import INLINE_LIMIT, Program
from .simulation.world import World

ACTIONS = 120
FAMILIES = {
    "tasks only": {},
    "actors": {"actors": "held"},
    "actors that are killed": {"actors": "killed"},
    "processes that die": {"actors": "held", "processes": 6, "deaths": 4},
    "objects that get lost": {"losses": 20},
    "objects that get lost while little is remembered": {"losses": 20, "remembered": 6000},
}


def run(seed, processes=4, actors=None, deaths=0, losses=0, remembered=MOST_BYTES):
    world = World(seed, processes, deaths, losses)
    for process in world.processes:
        process.hub.lineage.most = remembered
    try:
        program = Program(world, ACTIONS, actors)
        world.work = program.act
        while program.left > 0:
            world.step()
        world.settle()
        world.to_lose = world.to_die = 0
        read_all(world, program)
        check_end(world)
    finally:
        world.close()
    return program


def read_all(world, program):
    """All that is held can still be read; where it has to be made again first, what else that takes as well."""
    pending = None
    for _ in range(10):
        for process in world.alive:
            with process.working():
                program.read(process)
        world.settle()
        pending = [ref.hex() for process in world.alive for ref in program.refs(process) if not ref._entry.state]
        if not pending:
            break
    assert not pending, "they never become ready"


def check_end(world):
    for process in world.alive:
        with process.acting():
            process.held.clear()
    world.settle()
    with world.processes[0].acting():
        gc.collect()
    world.settle()
    unended = [actor_id.hex() for actor_id, actor in world.head.actors.items() if actor.state != "dead"]
    assert not unended, "actors never end that have no handles"
    for process in world.alive:
        check_empty(process)
    alive = {process.id for process in world.alive}
    left = [key for key in world.store.objects if world.store.owners[key[0]].process_id in alive]
    assert not left, "objects were never freed"
    if not world.deaths:
        assert not world.leases, "leases were never given back"


def check_empty(process):
    hub = process.hub
    left = {
        key.hex(): (entry.count, entry.borrowers, entry.owner, entry.registered, entry.state)
        for key, entry in hub.table._entries.items()
    }
    assert not left, f"process {process.id} never forgets {left}"
    assert not hub.lineage.held
    assert hub.borrowing.lent() == 0
    assert not len(hub.borrowing.hand_overs)
    assert not hub.executor.queued
    assert not hub.executor.started
    for lease_class in hub.submission._classes.values():
        assert not lease_class.queue
        assert not lease_class.leases
        assert lease_class.declared == 0


@pytest.fixture(autouse=True)
def small_values_are_stored(monkeypatch):
    monkeypatch.setattr(values, "INLINE_LIMIT", INLINE_LIMIT)
    monkeypatch.setattr(entrusted_object, "INLINE_LIMIT", INLINE_LIMIT)


@pytest.fixture(autouse=True)
def collections_at_known_times():
    """And quick ones: what was there before a test is not looked at."""
    gc.disable()
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_freed_while_held_and_everything_when_dropped(family):
    for seed in range(30):
        run(seed, **FAMILIES[family])
        gc.collect()
