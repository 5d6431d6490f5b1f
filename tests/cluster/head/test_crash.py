"""Whatever a head was doing when it crashed, and whoever else dies meanwhile: nothing that was promised is lost."""

from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.actors import contract as c
from limelight.actors.contract import decoder_of, encode

from .crash_world import User, World

NAMES = ["", "", "x", "y"]
SETTLING_S = 60.0


class Program:
    """What the users' processes do, and what they may expect of it."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.random = self.world.random
        self.registered: dict[bytes, c.ActorSpec] = {}
        self.acknowledged: set[bytes] = set()
        self.unready: list[tuple[User, bytes]] = []
        self.groups: dict[bytes, User] = {}
        self.reserved: set[bytes] = set()
        self.unwanted: set[bytes] = set()
        self.kills: dict[bytes, int] = {}
        self.deaths: dict[bytes, int] = {}
        self._next = 0

    # --- what may happen ---

    def act(self) -> None:
        """One thing, or a few steps of the world."""
        for _ in range(self.random.randrange(12)):
            self.world.step()
        if self.random.random() < 0.3:
            self.world.run(self.random.choice([0.01, 0.1, 1.0]))
        users = [user for user in self.world.users.values() if not user.process.dead]
        if not users:
            return
        user = self.random.choice(users)
        what = self.random.choices(
            [self.register, self.ready, self.kill, self.unreference, self.group, self.remove_group, self.watch,
             self.worker_dies, self.user_dies, self.head_crashes, self.node_dies],
            [6, 3, 3, 2, 2, 1, 2, 2, 0.15, 2, 0.1],
        )[0]  # fmt: skip
        with self.world.running():
            what(user)

    def register(self, user: User) -> None:
        self._next += 1
        actor_id = self._next.to_bytes(16, "big")
        ready, light = self.random.random() < 0.7, self.random.random() < 0.3
        lease = c.LeaseSpec({} if light else {"CPU": 10_000}, {}, {}, "", b"job")
        spec = c.ActorSpec(
            actor_id, "A", self.random.choice(NAMES), "", self.random.random() < 0.2, self.random.choice([0, 1, -1]),
            user.process.address, lease, lease, light, b"", ready, self._creation(actor_id) if ready else b"",
        )  # fmt: skip
        self.registered[actor_id] = spec
        exists = self.random.random() < 0.3

        def found(reply) -> None:
            if decoder_of(c.ActorFound).decode(reply.body).actor_id == actor_id:
                self.acknowledged.add(actor_id)

        user.ask(c.RegisterActor(spec, exists), found)
        user.watch(actor_id)
        if not ready:
            self.unready.append((user, actor_id))

    def _creation(self, actor_id: bytes) -> bytes:
        invocation = b"make " + actor_id
        self.world.creations[invocation] = actor_id
        return encode(c.Creation(b"template", invocation))

    def ready(self, _: User) -> None:
        if self.unready:
            user, actor_id = self.unready.pop(self.random.randrange(len(self.unready)))
            user.tell(c.SetCreation(actor_id, self._creation(actor_id)))

    def kill(self, user: User) -> None:
        if self.registered:
            actor_id = self.random.choice(sorted(self.registered))
            self.kills[actor_id] = self.kills.get(actor_id, 0) + 1
            user.ask(c.KillActor(actor_id, self.random.random() < 0.3, self.random.randbytes(8)))

    def unreference(self, _: User) -> None:
        if self.registered:
            actor_id = self.random.choice(sorted(self.registered))
            owner = self.world.users[self.registered[actor_id].owner.process_id]
            owner.tell(c.ActorUnreferenced(actor_id, calls_pending=self.random.random() < 0.5))

    def watch(self, user: User) -> None:
        if self.acknowledged:
            user.watch(self.random.choice(sorted(self.acknowledged)))

    def group(self, user: User) -> None:
        self._next += 1
        group_id = self._next.to_bytes(18, "big")
        bundles = [{"CPU": 10_000}] * self.random.choice([1, 2])
        strategy = self.random.choice(["PACK", "SPREAD"])
        self.groups[group_id] = user
        user.ask(c.CreateGroup(group_id, bundles, strategy, "", "", False, b"job", user.name))
        user.ask(c.AwaitGroup(group_id), lambda reply: self.reserved.add(group_id) if not reply.failed else None)

    def remove_group(self, user: User) -> None:
        if self.groups:
            group_id = self.random.choice(sorted(self.groups))
            self.unwanted.add(group_id)
            user.ask(c.RemoveGroup(group_id))

    def worker_dies(self, _: User) -> None:
        node = self.random.choice(self.world.nodes)
        if node.workers:
            self._worker_dies(node, self.random.choice(sorted(node.workers)))

    def _worker_dies(self, node, name: str) -> None:
        self._count(node.workers[name])
        node.kill_worker(name)

    def _count(self, worker) -> None:
        for actor_id in worker.granted_to:
            self.deaths[actor_id] = self.deaths.get(actor_id, 0) + 1

    def user_dies(self, user: User) -> None:
        self.world.end(user.process)

    def node_dies(self, _: User) -> None:
        if len([node for node in self.world.nodes if not node.process.dead]) > 1:
            node = self.random.choice(self.world.nodes)
            if not node.process.dead:
                for worker in node.workers.values():
                    self._count(worker)
                self.world.end(node.process)

    def head_crashes(self, _: User) -> None:
        self.world.crash_head()
        if self.random.random() < 0.5:
            self.world.run(self.random.choice([0.0, 0.05, 0.5, 3.0]))
        self.world.start_head()

    # --- the end ---

    def finish(self) -> None:
        """Nothing fails any more; all comes to rest."""
        with self.world.running():
            while self.unready:
                self.ready(None)
        self.world.run(SETTLING_S)

    def check(self) -> None:
        directory = self.world.head.actors.directory
        records = directory.table.actors
        live = [node for node in self.world.nodes if not node.process.dead]
        assert not any(node.ended for node in self.world.nodes), "no node is given up"
        assert self.acknowledged <= set(records), "every actor that was acknowledged is known"
        lost = {name for name, user in self.world.users.items() if user.process.dead}
        for actor_id, record in records.items():
            assert record.state in {"ALIVE", "DEAD"}, record
            where = [
                (node.node_id.hex(), name)
                for node in live
                for name, worker in node.workers.items()
                if actor_id in worker.instances
            ]
            if record.state == "ALIVE":
                assert where == [(record.node_id, record.worker_id)], "an actor lives once, where the head thinks"
                assert record.spec.detached or record.spec.owner not in lost, "what a dead process owns is dead"
            else:
                assert where == [], f"a dead actor lives nowhere: {record}"
            causes = self.kills.get(actor_id, 0) + self.deaths.get(actor_id, 0)
            assert record.incarnation <= causes, "it was restarted for a reason each time"
        names = [record.spec.name for record in records.values() if record.spec.name and record.state != "DEAD"]
        assert len(names) == len(set(names))
        self._check_nodes(live, records)
        self._check_users(records)

    def _check_nodes(self, live, records) -> None:
        groups = self.world.head.groups._groups.table.groups
        for record in groups.values():
            assert record.state in {"CREATED", "REMOVED"}, record
            owner = self.world.users[record.spec.owner]
            assert record.state == "REMOVED" or not owner.process.dead
        for group_id in self.reserved - self.unwanted:
            assert self.groups[group_id].process.dead or groups[group_id].state == "CREATED", "it was told of that"
        for node in live:
            held = set(node.desk.held(node.machine.book.requests()))
            wanted = {r.request_id for r in records.values() if r.state == "ALIVE" and r.node_id == node.node_id.hex()}
            assert held == wanted, "a node has a worker for each actor that lives there, and no other"
            bundles = {gid for gid, record in groups.items() if node.node_id.hex() in record.nodes.values()}
            assert set(node.machine.bundles.groups()) == bundles
            left = [kept.said for kept in node.relay._unanswered.values()]
            assert left == [], "all was answered"

    def _check_users(self, records) -> None:
        for user in self.world.users.values():
            if user.process.dead:
                continue
            assert user.open == 0, "every question was answered"
            for actor_id, heard in user.heard.items():
                record = records.get(actor_id)
                if record is None:
                    assert heard.state == "dead" or actor_id not in self.acknowledged
                elif record.state == "DEAD":
                    assert heard.state == "dead"
                else:
                    assert (heard.state, heard.incarnation) == ("alive", record.incarnation)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_nothing_that_was_promised_is_lost(seed, length):
    program = Program(seed)
    program.world.run(1.0)
    for _ in range(length):
        program.act()
    program.finish()
    program.check()
