"""Leading, and stepping down."""

import asyncio
import contextlib
import itertools

import pytest

from limelight.cluster.state import leadership_keeper
from limelight.cluster.state.change import Put
from limelight.cluster.state.error import StateStoreError
from limelight.cluster.state.leadership_keeper import LeadershipKeeper
from tests.cluster.state.memory_store import MemoryServer, MemoryStore

TTL = 0.05
PATIENCE = 10.0


class Clock:
    """The server's: a fifth of a lease passes with each verb named here, and nothing otherwise."""

    def __init__(self):
        self.now = 0.0
        self.verbs = set()

    def __call__(self):
        return self.now

    def tick(self, verb):
        if verb in self.verbs:
            self.now += TTL / 5


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(clock):
    made = MemoryServer(clock)
    made.fault = clock.tick
    return made


async def open_store(server):
    store = MemoryStore(server)
    await store.open()
    return store


@contextlib.asynccontextmanager
async def leading(server, lost=None, store=None):
    """A head that leads, and its keeper."""
    leadership = await (store or await open_store(server)).acquire(b"a", TTL)
    keeper = LeadershipKeeper(leadership, pytest.fail if lost is None else lost.append)
    async with asyncio.timeout(PATIENCE):
        try:
            yield leadership, keeper
        finally:
            await keeper.close()


async def test_who_leads_keeps_leading(server, clock):
    clock.verbs = {"extend"}
    async with leading(server) as (leadership, _):
        standby = await open_store(server)
        while clock.now < 3 * TTL:
            assert await standby.acquire(b"b", TTL) is None
            await asyncio.sleep(TTL / 5)
        await leadership.apply([Put("t", "a", b"1")])


async def test_a_leader_may_miss_two_renewals_in_a_row(server, clock, monkeypatch):
    turn, tries = asyncio.sleep, itertools.count(1)

    async def passes(seconds):
        clock.now += seconds
        await turn(0)

    def fault(verb):
        if verb == "extend" and next(tries) % 3:
            raise StateStoreError("out of reach")

    monkeypatch.setattr(leadership_keeper.asyncio, "sleep", passes)
    async with leading(server):
        standby = await open_store(server)
        server.fault = fault
        while clock.now < 10 * TTL:
            assert await standby.acquire(b"b", TTL) is None, "a lease ran out while its leader was there"
            await turn(0)


async def test_a_head_that_closes_leads_no_more(server):
    async with leading(server):
        assert server.claim != ""
    assert server.claim == ""


async def test_a_head_that_closes_gives_its_lease_back_when_no_renewal_is_under_way_and_none_comes(server):
    renewing, said = asyncio.Event(), []

    class Slow(MemoryStore):
        async def extend(self, claim, ttl_s):
            renewing.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)  # the way back
                said.append("renewed or not")

        async def give_up(self, claim):
            said.append("given back")
            await super().give_up(claim)

    store = Slow(server)
    await store.open()
    async with leading(server, store=store) as (_, keeper):
        await renewing.wait()
    assert said == ["renewed or not", "given back"]
    assert keeper._renewing.done()


async def test_a_head_that_was_taken_over_from_is_told_once_and_releases_nothing_of_the_new_ones(server):
    lost = []
    async with leading(server, lost) as (old, keeper):
        new = await (await open_store(server)).acquire(b"b", TTL, instead_of=old.token)
        await asyncio.wait({keeper._renewing})
        assert [error.successor for error in lost] == [new.token]
    assert server.holder == b"b"
    assert server.claim != ""


async def renewals(server, count, error=None):
    """From now on each try to renew ends so; returns after so many."""
    tries = asyncio.Semaphore(0)

    def tried(verb):
        if verb == "extend":
            tries.release()
        if error is not None:
            raise error

    server.fault = tried
    for _ in range(count):
        await tries.acquire()


async def test_an_outage_makes_nobody_step_down(server, caplog):
    async with leading(server) as (leadership, _):
        for _ in range(2):
            await renewals(server, 4, StateStoreError("out of reach"))
            await renewals(server, 2)
            await leadership.apply([Put("t", "a", b"1")])
    told = [record for record in caplog.records if "out of reach" in record.message]
    assert len(told) == 2, "it said so once each time"


async def test_an_error_that_nobody_foresaw_makes_nobody_stop_to_renew(server, clock, caplog):
    faults = iter([ZeroDivisionError("odd")])
    renewals = asyncio.Semaphore(0)

    def fault(verb):
        for error in faults:
            raise error
        renewals.release()

    async with leading(server):
        server.fault = fault
        async with asyncio.timeout(10.0):
            for _ in range(3):
                await renewals.acquire()
    assert "Traceback" in caplog.text


async def test_closing_during_an_outage_leaves_the_lease_to_run_out(server, caplog):
    async with leading(server):

        def out_of_reach(verb):
            raise StateStoreError("out of reach")

        server.fault = out_of_reach
    assert "runs out by itself" in caplog.text
