"""The head's writer: it goes on at once, says when things are safe, and outlasts the store's outages."""

import asyncio
import logging

import pytest

from limelight.cluster.state import state_writer
from limelight.cluster.state.change import Put
from limelight.cluster.state.error import StateStoreError
from limelight.cluster.state.null_store import NullStore
from limelight.cluster.state.state_writer import StateWriter
from tests.cluster.state.durable import durable
from tests.cluster.state.memory_store import MemoryServer, MemoryStore

LONG = 1e6


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(state_writer, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(state_writer, "LONGEST_PAUSE_S", 0.002)


@pytest.fixture
def server():
    return MemoryServer()


@pytest.fixture
def fenced():
    return []


@pytest.fixture
async def leadership(server):
    return await lead(server)


@pytest.fixture
def writer(leadership, fenced):
    return StateWriter(leadership, fenced.append)


async def lead(server, instead_of=None):
    store = MemoryStore(server)
    await store.open()
    return await store.acquire(b"", LONG, instead_of=instead_of)


def out_of_reach(verb):
    raise StateStoreError("out of reach")


async def test_what_is_queued_in_one_step_is_one_batch(server, writer):
    writer.put("actors", "a", b"1")
    writer.put("names", "n", b"a")
    writer.delete("jobs", "j")
    assert server.batches == [], "the head is not kept waiting"
    await durable(writer)
    assert [len(batch) for batch in server.batches] == [3]
    assert server.tables == {"actors": {"a": b"1"}, "names": {"n": b"a"}, "jobs": {}}


async def test_what_comes_while_a_batch_is_under_way_is_the_next_batch(server, writer, monkeypatch):
    gate, write = asyncio.Event(), MemoryStore.write

    async def slow(store, *arguments):
        await gate.wait()
        return await write(store, *arguments)

    monkeypatch.setattr(MemoryStore, "write", slow)
    told = []
    for n in range(100):
        writer.put("t", f"{n % 10}", b"%d" % n)
        writer.when_durable(lambda n=n: told.append(n))
        await asyncio.sleep(0)
    assert told == []
    gate.set()
    await durable(writer)
    assert told == list(range(100))
    assert [len(batch) for batch in server.batches] == [1, 10]


async def test_with_nothing_queued_all_is_durable_at_once(writer):
    told = []
    writer.when_durable(lambda: told.append(1))
    assert told == [1]
    await durable(writer)


async def test_a_callback_that_raises_keeps_nobody_else_waiting(writer, caplog):
    told = []
    writer.put("t", "a", b"")
    writer.when_durable(lambda: 1 / 0)
    writer.when_durable(lambda: told.append(1))
    writer.when_durable(lambda: writer.put("t", "b", b""))
    await durable(writer)
    await durable(writer)
    assert told == [1]
    assert "ZeroDivisionError" in caplog.text


async def test_an_outage_costs_nothing_but_time_and_is_told_once(server, writer, caplog):
    caplog.set_level(logging.INFO)
    server.fault = out_of_reach
    told = []
    for n in range(50):
        writer.put("t", "a", b"%d" % n)
        writer.when_durable(lambda n=n: told.append(n))
        await asyncio.sleep(0.001)
    assert told == []
    assert [record.message for record in caplog.records] == [
        "The state cannot be written, and is kept until it can: out of reach"
    ]
    server.fault = lambda verb: None
    await durable(writer)
    assert told == list(range(50))
    assert server.tables["t"] == {"a": b"49"}
    assert caplog.records[-1].message == "The state is written again to memory."
    assert len(caplog.records) == 2


async def test_a_reply_that_was_lost_is_made_good(server, writer):
    server.lose_reply = True
    writer.put("t", "a", b"1")
    await durable(writer)
    writer.delete("t", "a")
    await durable(writer)
    assert server.tables == {"t": {}}


async def test_an_error_that_nobody_foresaw_loses_nothing(server, writer, caplog):
    faults = iter([ZeroDivisionError("odd")])

    def fault(verb):
        for error in faults:
            raise error

    server.fault = fault
    writer.put("t", "a", b"1")
    await durable(writer)
    assert server.tables == {"t": {"a": b"1"}}
    assert "Traceback" in caplog.text


async def test_who_was_taken_over_from_is_told_once_and_never_writes_again(server, writer, fenced, leadership):
    told = []
    successor = await lead(server, instead_of=leadership.token)
    writer.put("t", "a", b"old")
    writer.when_durable(lambda: told.append(1))
    assert await writer.close() == 0, "what another head has taken over is not left to be written"
    writer.put("t", "b", b"old")
    writer.when_durable(lambda: told.append(2))
    await writer.close()
    assert (told, [error.successor for error in fenced], server.tables) == ([], [successor.token], {})


async def test_the_head_hears_why_nothing_can_be_written_and_when_it_can_again(server, leadership, caplog):
    troubles: list[str] = []
    reasons = iter(["full", "full", "gone", "full"])

    def fault(verb: str) -> None:
        reason = next(reasons, "")
        if reason:
            raise StateStoreError(reason)

    server.fault = fault
    writer = StateWriter(leadership, pytest.fail, troubles.append)
    writer.put("t", "a", b"1")
    await durable(writer)
    assert troubles == ["full", "gone", "full", ""]
    assert caplog.text.count("cannot be written") == 1
    writer.put("t", "b", b"1")
    await durable(writer)
    assert troubles[4:] == []


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (("no table", "a", b""), ValueError, "short identifier"),
        (("t" * 65, "a", b""), ValueError, "short identifier"),
        (("t", "", b""), ValueError, "1 to 1024 bytes"),
        (("t", "ä" * 513, b""), ValueError, "1 to 1024 bytes"),
        (("t", "\ud800", b""), ValueError, "surrogates"),
        (("t", "a", "text"), TypeError, "not str"),
        (("t", "a", bytearray()), TypeError, "not bytearray"),
        (("t", "a", b"x" * (64 * 2**20 + 1)), ValueError, "67108864"),
    ],
)
async def test_what_a_store_could_not_hold_is_refused_before_it_is_queued(server, writer, change, error, words):
    with pytest.raises(error, match=words):
        writer.put(*change)
    await durable(writer)
    assert server.batches == []


async def test_closing_writes_what_is_queued(server, writer):
    writer.put("t", "a", b"1")
    assert await writer.close() == 0
    assert server.tables == {"t": {"a": b"1"}}


async def test_closing_during_an_outage_gives_up_in_time_and_says_so(server, writer, caplog):
    server.fault = out_of_reach
    writer.put("t", "a", b"1")
    told = []
    writer.when_durable(lambda: told.append(1))
    assert await writer.close(grace_s=0.05) == 1
    assert "1 changes of the state were not written" in caplog.text
    server.fault = lambda verb: None
    writer.put("t", "b", b"1")
    writer.when_durable(lambda: told.append(2))
    assert await writer.close() == 0
    assert (told, server.tables) == ([], {})


async def test_without_a_store_nothing_is_queued_and_nobody_waits():
    store = NullStore()
    leadership = await store.acquire(b"here", LONG)
    writer = StateWriter(leadership, pytest.fail)
    told = []
    writer.put("t", "a", b"1")
    writer.when_durable(lambda: told.append(1))
    assert (told, writer.keeps) == ([1], False)
    await leadership.apply([Put("t", "a", b"1")])
    await leadership.renew()
    assert await store.load("t") == {}
    assert (await store.leader()).holder == b"here"
    assert await writer.close() == 0


class Doubtful:
    """A leadership that may be over, or not, as the test says."""

    def __init__(self, leadership):
        self._leadership, self.is_sure = leadership, False

    def __getattr__(self, name):
        return getattr(self._leadership, name)


async def test_nobody_is_told_anything_while_another_may_lead(leadership, fenced):
    writer, told = StateWriter(doubtful := Doubtful(leadership), fenced.append), []
    writer.when_durable(lambda: told.append("nothing to write"))
    writer.put("actors", "a", b"1")
    writer.when_durable(lambda: told.append("written"))
    await writer._task
    assert told == [], "it is written, and may be old by now"
    doubtful.is_sure = True
    writer.when_durable(lambda: told.append("the last"))
    writer.go_on()
    assert told == ["nothing to write", "written", "the last"]


async def test_what_is_held_back_when_another_leads_is_never_told(leadership, server):
    told = []
    fenced = asyncio.get_running_loop().create_future()
    writer = StateWriter(doubtful := Doubtful(leadership), fenced.set_result)
    writer.when_durable(lambda: told.append("old"))
    await lead(server, instead_of=leadership.token)
    writer.put("actors", "a", b"1")
    await asyncio.wait_for(fenced, 10)
    doubtful.is_sure = True
    writer.go_on()
    assert told == []
