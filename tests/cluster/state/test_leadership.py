"""The right to write: its batches go one after the other, and its end is final."""

import asyncio

import pytest

from limelight.cluster.state.change import Put
from limelight.cluster.state.error import FencedError, StateStoreError
from tests.cluster.state.memory_store import MemoryServer, MemoryStore

LONG = 1e6


class SlowStore(MemoryStore):
    """The first batch takes longest, as on a connection that has to be made again."""

    def __init__(self, server):
        super().__init__(server)
        self.turns = [3, 2, 1]

    async def write(self, claim, number, changes):
        for _ in range(self.turns.pop(0) if self.turns else 0):
            await asyncio.sleep(0)
        return await super().write(claim, number, changes)


@pytest.fixture
def server():
    return MemoryServer()


@pytest.fixture
async def store(server):
    made = SlowStore(server)
    await made.open()
    return made


async def test_batches_of_several_callers_overtake_each_other_nowhere(server, store):
    leadership = await store.acquire(b"", LONG)
    await asyncio.gather(*(leadership.apply([Put("t", f"{n}", b"")]) for n in range(3)))
    assert [[change.key for change in batch] for batch in server.batches] == [["0"], ["1"], ["2"]]


async def test_an_empty_batch_costs_nothing(server, store):
    leadership = await store.acquire(b"", LONG)
    server.fault = pytest.fail
    await leadership.apply([])


async def test_who_was_fenced_asks_the_store_no_more(server, store):
    old = await store.acquire(b"", LONG)
    assert await store.acquire(b"", LONG, instead_of=old.token)
    with pytest.raises(FencedError, match=f"token {old.token + 1}"):
        await old.renew()
    server.fault = pytest.fail
    for attempt in (old.renew(), old.apply([Put("t", "a", b"")])):
        with pytest.raises(FencedError):
            await attempt
    await old.release()


async def test_a_fenced_leader_is_told_so_even_if_the_successor_cannot_be_asked_for(server, store):
    old = await store.acquire(b"", LONG)
    assert await store.acquire(b"", LONG, instead_of=old.token)

    def fault(verb):
        if verb == "leader":
            raise StateStoreError("out of reach")

    server.fault = fault
    with pytest.raises(FencedError) as caught:
        await old.apply([Put("t", "a", b"")])
    assert caught.value.successor is None


async def test_an_answer_to_acquire_that_got_lost_is_had_by_asking_again(server, store):
    calls = iter([StateStoreError("the reply was lost")])
    claim = store.claim

    async def losing(*arguments):
        token = await claim(*arguments)
        for error in calls:
            raise error
        return token

    store.claim = losing
    with pytest.raises(StateStoreError):
        await store.acquire(b"", LONG)
    leadership = await store.acquire(b"", LONG)
    assert leadership.token == server.token == 1
    assert await store.acquire(b"", LONG) is None
