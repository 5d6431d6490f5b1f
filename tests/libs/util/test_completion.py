"""Results as they come."""

import asyncio
import itertools

import pytest

from limelight.util import as_completed, list_named_actors, map_unordered


def test_all_results_come_once(ll):
    refs = [ll.put(i) for i in range(25)]
    assert sorted(as_completed(refs, chunk_size=4)) == list(range(25))
    assert set(as_completed(refs, yield_obj_refs=True)) == set(refs)
    assert list(as_completed([])) == []


def test_a_quick_one_comes_before_a_slow_one(ll, parallel):
    @ll.remote
    class Gate:
        def __init__(self):
            self.open = asyncio.Event()

        async def wait(self):
            await self.open.wait()
            return "slow"

        async def release(self):
            self.open.set()

    gate = Gate.remote()
    slow, quick = gate.wait.remote(), ll.put("quick")
    results = as_completed([slow, quick])
    assert next(results) == "quick"
    ll.get(gate.release.remote())
    assert list(results) == ["slow"]


def test_an_endless_supply_is_taken_as_needed(ll):
    double = ll.remote(lambda x: 2 * x)
    results = map_unordered(double, itertools.count(), backpressure_size=8, chunk_size=2)
    some = list(itertools.islice(results, 50))
    assert len(set(some)) == 50
    assert all(value % 2 == 0 for value in some)


def test_sizes_that_make_no_sense_are_refused(ll):
    with pytest.raises(ValueError, match="chunk_size"):
        map_unordered(None, [], chunk_size=0)
    with pytest.raises(ValueError, match="chunk_size"):
        map_unordered(None, [], backpressure_size=1, chunk_size=2)
    with pytest.raises(ValueError, match="chunk_size"):
        list(as_completed([], chunk_size=0))


def test_named_actors_are_listed(ll):
    @ll.remote
    class Named:
        def ping(self):
            return "pong"

    actor = Named.options(name="listed").remote()
    assert ll.get(actor.ping.remote()) == "pong"
    assert "listed" in list_named_actors()
    assert "listed" in [each["name"] for each in list_named_actors(all_namespaces=True)]
