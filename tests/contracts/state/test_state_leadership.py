"""Who may write to a state store: one head at a time, whatever happens to heads, servers and clocks."""

import asyncio
import contextlib
from random import Random
from typing import NamedTuple

import pytest

from limelight.cluster.state.change import Delete, Put
from limelight.cluster.state.error import FencedError
from tests.cluster.state.memory_store import MemoryServer
from tests.contracts.state.backend import SHORT, TTL, Backend, lead, leased, move_lease, served, take_over

# The servers' packages may have to be installed first.
pytestmark = pytest.mark.timeout(400)

HEADS = range(3)
KEYS = ["a", "b"]


class Step(NamedTuple):
    """What happens to a head, or to the server's clock."""

    what: str
    head: int = 0
    key: str = "a"
    number: int = 0


WEIGHTS = {
    "acquire": 6,
    "acquire instead": 1,
    "renew": 2,
    "release": 3,
    "restart": 1,
    "put": 4,
    "delete": 2,
    "replay": 3,
    "runs out": 3,
    "set back": 1,
}


def any_step(random: Random) -> Step:
    [what] = random.choices(list(WEIGHTS), list(WEIGHTS.values()))
    return Step(what, random.choice(HEADS), random.choice(KEYS), random.randrange(3))


class Play:
    """Several heads on one store."""

    def __init__(self, shared: Backend) -> None:
        self._backend = shared
        self._stack = contextlib.AsyncExitStack()
        self.stores = {}
        self.leaderships = {}
        self.sent = {}
        self.writes = 0

    async def __aenter__(self):
        for head in HEADS:
            self.stores[head] = await self._stack.enter_async_context(self._backend.store())
        return self

    async def __aexit__(self, *error):
        await self._stack.aclose()

    async def do(self, step: Step):
        """What the store says to it."""
        try:
            return await self._do(step)
        except FencedError as error:
            return "fenced", error.successor

    async def _do(self, step: Step):
        head = step.head
        store, leadership = self.stores[head], self.leaderships.get(head)
        match step.what:
            case "runs out":
                move_lease(self._backend, -1.0)
            case "set back":
                move_lease(self._backend, 3600.0)
            case "restart":
                store._claim = f"{self._backend.cluster}-{head}-{self.writes}"
                self.leaderships.pop(head, None)
            case "acquire" | "acquire instead":
                leader = await store.leader() if step.what == "acquire instead" else None
                won = await store.acquire(b"%d" % head, TTL, instead_of=leader and leader.token)
                if won is not None:
                    self.leaderships[head] = won
                return won and won.token
            case "renew" | "release" if leadership is not None:
                return await getattr(leadership, step.what)()
            case "put" | "delete" if leadership is not None:
                self.writes += 1
                change = Put("t", step.key, b"%d" % self.writes) if step.what == "put" else Delete("t", step.key)
                await leadership.apply([change])
                self.sent.setdefault(head, []).append((leadership._claim, leadership._number, [change]))
            case "replay" if self.sent.get(head):  # a batch that was sent before arrives once more, as late as may be
                earlier = self.sent[head]
                return await store.write(*earlier[-1 - step.number % len(earlier)])
            case _:
                return None
        return None

    async def outcome(self):
        """What is kept, and who leads."""
        leader = await self.stores[0].leader()
        return await self.stores[0].load("t"), leader and (leader.token, leader.holder)


@served
@pytest.mark.parametrize("seed", range(4))
async def test_a_store_answers_as_its_twin(backend, tmp_path, seed):
    random = Random(seed)
    twin = Backend("memory", None, tmp_path)
    twin.memory = MemoryServer(clock=lambda: 0.0)
    done: list[Step] = []
    async with Play(backend) as real, Play(twin) as model:
        for _ in range(80):
            done.append(any_step(random))
            said, expected = await real.do(done[-1]), await model.do(done[-1])
            assert said == expected, done
            assert await real.outcome() == await model.outcome(), done


class TestLeadership:
    async def test_one_leads_and_says_where(self, backend, store):
        assert await store.leader() is None
        leadership = await lead(store, b"10.0.0.1:6379")
        async with backend.store() as standby:
            leader = await standby.leader()
            assert (leader.token, leader.holder) == (leadership.token, b"10.0.0.1:6379")
            assert await standby.acquire(b"10.0.0.2:6379", TTL) is None
        assert await store.acquire(b"10.0.0.1:6379", TTL) is None, "it leads already, by another name"

    async def test_who_releases_it_leaves_it_to_the_next_at_once(self, backend, store):
        first = await lead(store)
        await first.apply([Put("t", "a", b"1")])
        await first.release()
        assert await store.leader() is None
        with pytest.raises(FencedError, match="given up"):
            await first.apply([Put("t", "a", b"2")])
        async with backend.store() as standby:
            second = await lead(standby)
            assert second.token > first.token
            assert await standby.load("t") == {"a": b"1"}

    @leased
    async def test_a_lease_that_is_renewed_does_not_run_out(self, backend, store):
        leadership = await lead(store, ttl_s=SHORT)
        await leadership.renew()
        leadership.ttl_s = TTL
        await leadership.renew()
        async with backend.store() as standby:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(take_over(standby), 3 * SHORT)
        await leadership.apply([Put("t", "a", b"1")])

    @leased
    async def test_a_lease_that_ran_out_goes_on_if_nobody_took_it(self, backend, store):
        leadership = await lead(store, ttl_s=SHORT)
        async with asyncio.timeout(TTL / 3):
            while await store.leader() is not None:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(SHORT / 4)
        await leadership.apply([Put("t", "a", b"1")])
        await leadership.renew()
        assert (await store.leader()).token == leadership.token

    @leased
    async def test_a_lease_does_not_last_because_the_servers_clock_was_set_back(self, backend, store):
        dead = await lead(store, ttl_s=SHORT)
        move_lease(backend, 3600.0)
        async with backend.store() as standby:
            assert (await standby.acquire(b"", SHORT)).token > dead.token

    @leased
    async def test_a_clock_that_was_set_a_little_back_deposes_nobody(self, backend, store):
        leadership = await lead(store, ttl_s=TTL)
        move_lease(backend, 1.5 * TTL)
        async with backend.store() as standby:
            assert await standby.acquire(b"", TTL) is None
        await leadership.renew()

    @leased
    async def test_after_a_takeover_the_old_leader_cannot_write_renew_or_release(self, backend, store):
        old = await lead(store, b"old", SHORT)
        await old.apply([Put("t", "a", b"old"), Put("t", "b", b"old")])
        async with backend.store() as standby:
            new = await take_over(standby)
            assert new.token > old.token
            await new.apply([Put("t", "a", b"new")])
            with pytest.raises(FencedError, match="another head has taken over") as caught:
                await old.apply([Put("t", "a", b"late"), Delete("t", "b")])
            assert caught.value.successor == new.token
            with pytest.raises(FencedError):
                await old.renew()
            await old.release()
            assert (await store.leader()).token == new.token
            assert await standby.load("t") == {"a": b"new", "b": b"old"}
            await new.apply([Put("t", "a", b"newer")])

    @leased
    async def test_a_leader_is_in_doubt_before_another_can_lead(self, backend, store):
        old = await lead(store, ttl_s=SHORT)
        assert old.is_sure
        async with backend.store() as standby:
            await take_over(standby)
            assert not old.is_sure

    async def test_a_leader_that_renews_is_sure(self, store):
        leadership = await lead(store)
        before = leadership.sure_s
        await leadership.renew()
        assert leadership.is_sure
        assert leadership.sure_s >= before - TTL / 2

    @served
    async def test_a_leader_whose_renewal_hangs_is_in_doubt_before_another_leads(self, backend, store):
        old = await lead(store, ttl_s=SHORT)
        async with backend.store() as standby:
            backend.server.pause()
            renewing = asyncio.ensure_future(renewed(old))
            await asyncio.sleep(SHORT)  # that long a lease lasts
            in_doubt = not old.is_sure
            backend.server.resume()
            new, kept = await asyncio.gather(standby.acquire(b"standby", TTL), renewing)
            assert in_doubt, "whichever of the two the server hears first"
            assert kept != (new is not None)
            assert kept or not old.is_sure

    @leased
    async def test_renewing_tells_of_a_takeover_too(self, backend, store):
        old = await lead(store, ttl_s=SHORT)
        async with backend.store() as standby:
            await take_over(standby)
            with pytest.raises(FencedError):
                await old.renew()

    async def test_of_many_that_want_it_one_gets_it(self, backend):
        async with contextlib.AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(backend.store()) for _ in range(8)]
            won = await asyncio.gather(*(store.acquire(b"%d" % n, TTL) for n, store in enumerate(stores)))
            assert len([leadership for leadership in won if leadership]) == 1

    @leased
    async def test_the_successor_of_a_head_that_was_seen_to_die_need_not_wait(self, backend, store):
        dead = await lead(store)
        async with backend.store() as after:
            assert await after.acquire(b"", TTL, instead_of=dead.token - 1) is None
            new = await after.acquire(b"", TTL, instead_of=dead.token)
            assert new.token > dead.token

    @leased
    async def test_asking_again_after_a_lost_reply_is_no_second_claim(self, backend, store):
        """What `acquire` does when the server made us leader and the answer got lost."""
        token = await store.claim("the same name", b"", TTL, None)
        assert await store.claim("the same name", b"", TTL, None) == token
        assert await store.claim("another name", b"", TTL, None) is None

    @served
    async def test_a_server_that_is_away_for_longer_than_a_lease_leaves_one_leader(self, backend, store):
        old = await lead(store, ttl_s=SHORT)
        async with backend.store() as standby:
            backend.server.kill()
            await asyncio.sleep(SHORT)
            backend.server.start()
            kept, new = await asyncio.gather(renewed(old), standby.acquire(b"", TTL))
            assert kept != (new is not None)
            assert (await store.leader()).token == (old if kept else new).token


async def renewed(leadership):
    """Whether it could be."""
    try:
        await leadership.renew()
    except FencedError:
        return False
    return True
