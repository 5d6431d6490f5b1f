"""Clock, network, processes and store of the simulated cluster whose head crashes (crash_world.py)."""

import heapq
import itertools
from typing import TYPE_CHECKING

from limelight.actors.contract import encode
from limelight.cluster.head.head_state import TABLES
from limelight.cluster.state.change import Delete, Put
from limelight.cluster.state.write_queue import WriteQueue
from limelight.cluster.system_process import Arrived, Lost
from limelight.transport.address import ProcessAddress
from limelight.transport.error import PeerLostError
from limelight.transport.protocol import Call, Reply

if TYPE_CHECKING:
    from .crash_world import World

LOST = PeerLostError("its process is gone", gone=True)


class Timer:
    """A timer of the simulated loop."""

    def __init__(self, function, args) -> None:
        self.function, self.args, self.over = function, args, False

    def cancel(self) -> None:
        self.over = True


class Clock:
    """Stands for an event loop: its time passes when there is nothing to do."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when, function, *args) -> Timer:
        timer = Timer(function, args)
        heapq.heappush(self._timers, (max(when, self.now), next(self._order), timer))
        return timer

    def call_later(self, delay, function, *args) -> Timer:
        return self.call_at(self.now + delay, function, *args)

    def call_soon_threadsafe(self, function, *args) -> Timer:
        return self.call_at(self.now, function, *args)

    call_soon = call_soon_threadsafe

    def ring(self, until: float) -> bool:
        """Fire the next timer that is due before `until`; whether there was one."""
        while self._timers and self._timers[0][0] <= until:
            when, _, timer = heapq.heappop(self._timers)
            if not timer.over:
                self.now = max(self.now, when)
                timer.function(*timer.args)
                return True
        self.now = max(self.now, until)
        return False


class Channel:
    """One end of a link between two processes."""

    def __init__(self, process: "Process", peer: "Process") -> None:
        self.process, self.far = process, peer
        self.peer, self.peer_info = peer.address, peer.info

    def notify(self, actor, method, body) -> None:
        self.process.send(self.far, Call(0, actor, method, body))

    def call(self, actor, method, body, answer) -> None:
        self.process.send(self.far, Call(self.process.asks(self.far, answer), actor, method, body))

    def reply(self, call_id, body, failed=False) -> None:
        self.process.send(self.far, Reply(call_id, failed, body))


class Process:
    """A process: what the code under test needs of a `SystemProcess`, and of its links and endpoint."""

    def __init__(self, world: "World", name: str, **info) -> None:
        self.world, self.info = world, info
        self.address = ProcessAddress(name, "host")
        self.links = self.endpoint = self
        self.actors = {}
        self.dead = False
        self._pending = {}
        self._calls = itertools.count(1)
        world.processes[name] = self

    def asks(self, far, answer) -> int:
        call_id = next(self._calls)
        self._pending[call_id] = (far, answer)
        return call_id

    def notify(self, address, actor, body) -> None:
        self.send(self.world.processes[address.process_id], Call(0, actor, type(body).__name__, encode(body)))

    def ask(self, address, actor, body, answer) -> None:
        far = self.world.processes[address.process_id]
        self.send(far, Call(self.asks(far, answer), actor, type(body).__name__, encode(body)))

    def channel(self, process_id) -> Channel | None:
        far = self.world.processes.get(process_id)
        return None if far is None or far.dead else Channel(self, far)

    def connected(self, address, then) -> None:
        then(self.channel(address.process_id) or LOST)

    def send(self, far: "Process", message) -> None:
        if self.dead:
            return
        if not far.dead:
            self.world.lanes[self.address.process_id, far.address.process_id].append(message)
        elif isinstance(message, Call) and message.call_id:
            self._pending.pop(message.call_id)[1](LOST)

    def deliver(self, near: "Process", message) -> None:
        if isinstance(message, Reply):
            asked = self._pending.pop(message.call_id, None)
            if asked is not None:
                asked[1](message)
        elif actor := self.actors.get(message.actor):
            actor.on_receive(Arrived(Channel(self, near), message))

    def lost(self, far: "Process") -> None:
        """The link to a process has ended."""
        for call_id, (whom, answer) in list(self._pending.items()):
            if whom is far:
                del self._pending[call_id]
                answer(LOST)
        for actor in list(self.actors.values()):
            actor.on_receive(Lost(Channel(self, far), LOST))


class Store:
    """What is durable."""

    def __init__(self) -> None:
        self.rows = {table: {} for table in TABLES}
        self.term = 0

    def apply(self, batch) -> None:
        for change in batch:
            match change:
                case Put(table, key, value):
                    self.rows[table][key] = value
                case Delete(table, key):
                    self.rows[table].pop(key, None)


class Writer:
    """A head's way to the store: stands for `StateWriter`, with its queue."""

    keeps = True

    def __init__(self, world: "World") -> None:
        self._world, self._queue, self._over = world, WriteQueue(), False

    def put(self, table, key, value) -> None:
        self._queue.add(Put(table, key, value))

    def delete(self, table, key) -> None:
        self._queue.add(Delete(table, key))

    def when_durable(self, then) -> None:
        if not self._over and not self._queue.watch(then):
            then()

    def step(self) -> bool:
        """Write what is under way, or begin to; whether there was anything."""
        if self._over or not (batch := self._queue.take()):
            return False
        self._world.store.apply(batch)
        for then in self._queue.written():
            then()
        return True

    def crash(self) -> None:
        """Be gone; the batch under way may have been written."""
        if self._world.random.random() < 0.5 and (batch := self._queue.take()):
            self._world.store.apply(batch)
        self._over = True
