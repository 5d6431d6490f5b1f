"""Heads that share a store: one leads, the others stand by, whatever becomes of heads and store."""

import asyncio
import contextlib
import secrets

import msgspec
import pytest

from limelight.actors.contract import HEAD, encode
from limelight.cluster.cluster_message import EndCluster
from limelight.cluster.head import head_process
from limelight.cluster.head.head import Head
from limelight.cluster.head.head_config import HeadConfig
from limelight.cluster.head.head_process import HeadElsewhereError, HeadProcess
from limelight.cluster.head.head_state import SESSION
from limelight.cluster.head.standby import Standby
from limelight.cluster.process.ending import Ending
from limelight.cluster.session_folder import SessionFolder
from limelight.cluster.state.error import StateStoreError
from limelight.transport.address import ProcessAddress
from limelight.transport.version import VERSION
from tests.cluster.state.memory_store import MemoryServer, MemoryStore
from tests.waiting import until

TOKEN = secrets.token_hex(32)
PATIENCE = 20.0
TTL = 0.6


class Birth:
    """How a head's process was started: by somebody who waits for it, or by itself, anew."""

    def __init__(self, *, is_awaited: bool) -> None:
        self.is_awaited = is_awaited

    def ready(self, _info: bytes) -> None:
        self.is_awaited = False

    def watch_driver(self, _on_death) -> None:
        return None


class Store(MemoryStore):
    """A way to the server that can be cut, or frozen with the process.

    Attributes:
        reached: whether there is a way.
        frozen: cleared while the process is stopped in its tracks: nothing that it asked gets an answer.
    """

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(server)
        self.reached = True
        self.frozen = asyncio.Event()
        self.frozen.set()

    async def claim(self, *arguments):
        return await self._asked(super().claim, *arguments)

    async def extend(self, *arguments):
        return await self._asked(super().extend, *arguments)

    async def write(self, *arguments):
        return await self._asked(super().write, *arguments)

    async def _asked(self, asked, *arguments):
        await self.frozen.wait()
        return await asked(*arguments)

    def _meet(self, verb):
        if not self.reached:
            raise StateStoreError("out of reach")
        super()._meet(verb)


class Member:
    """One head: it begins anew where its process would."""

    def __init__(self, store: Store, port: int, *, fresh: bool) -> None:
        self.store, self.port, self._fresh = store, port, fresh
        self.lives = 0
        self.process: HeadProcess | None = None
        self.running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        birth = Birth(is_awaited=True)
        while True:
            folder = SessionFolder.create(VERSION)
            config = HeadConfig(tcp=f"127.0.0.1:{self.port}", token=TOKEN, state="memory", fresh=self._fresh)
            try:
                self.process = HeadProcess(config, folder, birth)
                self.process._store = self.store
                self.lives += 1
                again = await self.process.run()
            finally:
                folder.remove()
            if not again:
                return
            birth = Birth(is_awaited=False)

    @property
    def head(self) -> Head | None:
        return None if self.process is None else self.process._head

    @property
    def leads(self) -> bool:
        """It answers as the head, as far as it knows."""
        return not self.running.done() and isinstance(self._actor, Head) and not self.process._ended.is_set()

    @property
    def stands_by(self) -> bool:
        """It listens, and somebody else leads."""
        return not self.running.done() and isinstance(self._actor, Standby)

    @property
    def _actor(self) -> object:
        return None if self.process is None else self.process._process.actors.get(HEAD)

    async def end(self) -> None:
        """As a signal does."""
        if not self.running.done():
            self.store.frozen.set()
            if self.process is not None:
                self.process._end()
            await asyncio.wait_for(self.running, PATIENCE)


class World:
    """Several heads, and what they share."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.members: list[Member] = []

    def start(self, port: int, *, fresh: bool = False) -> Member:
        member = Member(Store(self.server), port, fresh=fresh)
        self.members.append(member)
        return member

    async def pair(self, ports, *, fresh: bool = False) -> tuple[Member, Member]:
        """One that leads, and one that stands by and is known to it."""
        first = self.start(ports())
        await until(lambda: first.leads and SESSION in self.server.tables)
        second = self.start(ports(), fresh=fresh)
        await until(lambda: second.stands_by and first.head.has_standby)
        return first, second


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(head_process, "TTL_S", TTL)
    monkeypatch.setattr(head_process, "_LOOK_S", TTL / 3)
    monkeypatch.setattr(Ending, "begin", lambda _: None)  # in the end it would end this process


@pytest.fixture
async def world():
    made = World()
    yield made
    for member in made.members:
        member.store.reached = True
        with contextlib.suppress(StateStoreError):
            await member.end()


def decide(member, key: str = "told") -> None:
    """The head decides something."""
    member.head.state.put(SESSION, key, str(member.port))


async def test_who_comes_second_stands_by_and_leads_at_once_when_the_first_ends(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory, fresh=True)  # which is about what it finds first
    name, claim = world.server.tables[SESSION]["name"], world.server.claim
    await first.end()
    assert world.server.claim != claim, "its lease need not run out"
    await until(lambda: second.leads)
    assert first.lives == second.lives == 1
    assert world.server.tables[SESSION]["name"] == name, "it is the same session"
    assert world.server.token == 2


async def test_a_head_that_was_paused_writes_nothing_when_it_goes_on_and_stands_by(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    first.store.frozen.clear()
    await until(lambda: second.leads)
    decide(first)
    decide(second)
    first.store.frozen.set()
    await until(lambda: first.stands_by and first.lives == 2)
    await until(lambda: second.head.has_standby)
    assert msgspec.msgpack.decode(world.server.tables[SESSION]["told"]) == str(second.port)
    await second.end()
    await until(lambda: first.leads)
    assert world.server.token == 3


async def test_a_store_that_is_away_for_longer_than_the_lease_leaves_one_leader(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    first.store.reached = second.store.reached = False
    await asyncio.sleep(2 * TTL)
    assert first.leads, "nobody can take over from it"
    assert second.stands_by
    first.store.reached = second.store.reached = True
    await until(lambda: world.server.until > world.server.clock())
    await until(lambda: first.leads != second.leads and (first.stands_by or second.stands_by))


async def test_one_that_is_cut_off_from_the_store_is_replaced_and_then_stands_by(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    first.store.reached = False
    await until(lambda: second.leads)
    assert first.leads, "as far as it knows"
    first.store.reached = True
    await until(lambda: first.stands_by)
    assert second.leads


async def test_one_that_stands_by_says_so_again_to_a_head_that_has_lost_it(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    for channel in list(second.process._process.endpoint.channels.values()):
        await channel.close()
    await until(lambda: not first.head.has_standby)
    await until(lambda: first.head.has_standby)


async def test_of_two_that_stand_by_one_takes_over(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    third = world.start(unused_tcp_port_factory())
    await until(lambda: third.stands_by and len(first.head.standbys()) == 2)
    await first.end()
    await until(lambda: second.leads or third.leads)
    leader, other = (second, third) if second.leads else (third, second)
    await until(lambda: leader.head.has_standby)
    assert other.stands_by
    assert world.server.token == 2


async def test_one_that_steps_down_leaves_it_to_the_other_to_lead(world, unused_tcp_port_factory, monkeypatch):
    first, second = await world.pair(unused_tcp_port_factory)
    monkeypatch.setattr(head_process, "TTL_S", PATIENCE)  # the other is slow
    second.store.frozen.clear()
    first.head.step_down("it hears no node")
    await until(lambda: world.server.claim == "")
    await asyncio.sleep(TTL)  # in which the first could ask more than once
    assert first.lives == 1
    second.store.frozen.set()
    await until(lambda: second.leads)
    await until(lambda: first.stands_by and first.lives == 2)
    assert world.server.token == 2


async def test_one_that_steps_down_leads_again_where_nobody_else_does(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    await second.end()
    first.head.step_down("it hears no node")
    await until(lambda: first.leads and first.lives == 2)
    _, writer = await asyncio.open_connection("127.0.0.1", first.port)
    writer.close()
    await writer.wait_closed()


async def test_one_that_begins_anew_waits_for_a_store_that_is_out_of_reach(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    await second.end()
    first.head.step_down("it hears no node")
    first.store.reached = False
    await until(lambda: first.lives == 2)
    await asyncio.sleep(TTL)
    assert not first.running.done()
    first.store.reached = True
    await until(lambda: first.leads)


async def test_one_that_is_told_to_end_does_not_begin_anew(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    first.head.step_down("it hears no node")
    first.process._end()
    await asyncio.wait_for(first.running, PATIENCE)
    assert first.lives == 1
    await until(lambda: second.leads)


async def test_one_that_is_told_to_end_writes_what_it_has_decided_before_another_leads(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    first.store.frozen.clear()
    decide(first, "under way")
    await asyncio.sleep(0)
    decide(first, "queued")
    first.process._end()
    await asyncio.sleep(TTL / 6)  # it begins to end
    first.store.frozen.set()
    await until(lambda: second.leads)
    assert {"under way", "queued"} <= world.server.tables[SESSION].keys()


async def test_the_end_of_the_cluster_is_the_end_of_all(world, unused_tcp_port_factory):
    first, second = await world.pair(unused_tcp_port_factory)
    asked = ProcessAddress("", "", "", f"127.0.0.1:{first.port}")
    channel = await second.process._process.endpoint.connect(asked)
    await channel.request(HEAD, EndCluster.__name__, encode(EndCluster()), PATIENCE)
    await asyncio.wait_for(asyncio.gather(first.running, second.running), PATIENCE)
    assert not any(world.server.tables.values()), "nothing is left of it"


async def test_a_store_of_one_host_has_no_others_stand_by(world, unused_tcp_port_factory, monkeypatch):
    first = world.start(unused_tcp_port_factory())
    await until(lambda: first.leads)
    monkeypatch.setattr(Store, "one_host", True)
    second = world.start(unused_tcp_port_factory())
    with pytest.raises(HeadElsewhereError, match=f"listens at 127.0.0.1:{first.port}"):
        await asyncio.wait_for(second.running, PATIENCE)
