"""Standing by, leading, and stepping down."""

import asyncio
import contextlib

import pytest

from limelight.cluster.state.change import Put
from limelight.cluster.state.error import StateStoreError
from limelight.cluster.state.leadership_keeper import LeadershipKeeper
from tests.cluster.state.memory_store import MemoryServer, MemoryStore

TTL = 0.05


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


@contextlib.asynccontextmanager
async def keeper_of(server, name=b"", lost=None):
    store = MemoryStore(server)
    await store.open()
    keeper = LeadershipKeeper(store, name, pytest.fail if lost is None else lost.append, ttl_s=TTL)
    try:
        yield keeper
    finally:
        await keeper.close()


async def test_who_leads_keeps_leading(server, clock):
    clock.verbs = {"extend"}
    async with keeper_of(server, b"a") as leader, keeper_of(server, b"b") as standby:
        leadership = await leader.lead()
        waiting = asyncio.ensure_future(standby.lead())
        while clock.now < 3 * TTL:  # noqa: ASYNC110 - the keeper tells nobody
            await asyncio.sleep(TTL / 5)
        assert not waiting.done()
        await leadership.apply([Put("t", "a", b"1")])
        waiting.cancel()


async def test_a_standby_follows_a_head_that_is_silent(server, clock):
    clock.verbs = {"claim"}
    async with keeper_of(server, b"a") as leader, keeper_of(server, b"b") as standby:
        old = await leader.lead()
        leader._renewing.cancel()  # as when its host is gone
        new = await standby.lead()
        assert new.token > old.token
        assert server.holder == b"b"


async def test_a_standby_follows_at_once_a_head_that_closes(server):
    async with keeper_of(server, b"b") as standby:
        async with keeper_of(server, b"a") as leader:
            await leader.lead()
        assert server.claim == ""
        await standby.lead()


async def test_a_head_that_was_taken_over_from_is_told_once(server):
    lost = []
    async with keeper_of(server, b"a", lost) as leader, keeper_of(server, b"b") as standby:
        old = await leader.lead()
        new = await standby.lead(instead_of=old.token)
        await asyncio.wait({leader._renewing})
        assert [error.successor for error in lost] == [new.token]
    assert server.claim == "", "the old one released nothing of the new one's; that did so itself"


async def test_an_outage_makes_nobody_step_down(server, clock, caplog):
    async with keeper_of(server, b"a") as leader, keeper_of(server, b"b") as standby:
        leadership = await leader.lead()
        tries = asyncio.Semaphore(0)

        def out_of_reach(verb):
            clock.now += TTL / 5
            tries.release()
            raise StateStoreError("out of reach")

        server.fault = out_of_reach
        waiting = asyncio.ensure_future(standby.lead())
        for _ in range(12):
            await tries.acquire()
        server.fault = lambda verb: None
        await leadership.renew()
        assert len([record for record in caplog.records if "out of reach" in record.message]) == 2, "each said so once"
        waiting.cancel()
        await leadership.apply([Put("t", "a", b"1")])


async def test_a_head_starts_before_its_store(server):
    faults = iter(range(3))

    def out_of_reach(verb):
        for _ in faults:
            raise StateStoreError("out of reach")

    async with keeper_of(server, b"a") as leader:
        server.fault = out_of_reach
        await leader.lead()


async def test_closing_during_an_outage_leaves_the_lease_to_run_out(server, caplog):
    async with keeper_of(server, b"a") as leader:
        await leader.lead()

        def out_of_reach(verb):
            raise StateStoreError("out of reach")

        server.fault = out_of_reach
    assert "runs out by itself" in caplog.text
