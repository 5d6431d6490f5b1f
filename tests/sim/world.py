"""A simulated clock and network. The network is late, repeats itself and loses things, all from one seed."""

import hashlib
import heapq
from collections.abc import Callable
from itertools import count
from random import Random

import msgspec


class Faults(msgspec.Struct, frozen=True):
    """What the network does. Rates are probabilities per message."""

    latency: float = 0.0005
    late: float = 0.0
    doubled: float = 0.0
    lost: float = 0.0


class World:
    """Runs callbacks in the order of their time; ties in the order they were asked for."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.faults = faults
        self.events = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = count()
        self._channels: dict[tuple[str, str], float] = {}
        self._trace = hashlib.blake2b(digest_size=16)

    def after(self, seconds: float, callback: Callable[..., None], *args: object) -> None:
        self.at(self.now + seconds, callback, *args)

    def at(self, time: float, callback: Callable[..., None], *args: object) -> None:
        heapq.heappush(self._heap, (max(time, self.now), next(self._order), callback, args))

    def send(
        self,
        source: str,
        target: str,
        callback: Callable[..., None],
        *args: object,
        may_lose: bool = False,
        once: bool = False,
    ) -> None:
        """Deliver over the channel between two processes, which keeps order.

        Args:
            source: who sends.
            target: who receives.
            callback: called when it arrives.
            args: its arguments.
            may_lose: a loss must heal by itself.
            once: who receives it relies on the channel that it comes once.
        """
        faults, random = self.faults, self.random
        if may_lose and faults.lost and random.random() < faults.lost:
            return
        at = self.now + faults.latency * (0.5 + random.random())
        if faults.late and random.random() < faults.late:
            at += 0.2 * random.random()
        at = max(at, self._channels.get((source, target), 0.0))
        self._channels[source, target] = at
        heapq.heappush(self._heap, (at, next(self._order), callback, args))
        if not once and faults.doubled and random.random() < faults.doubled:
            heapq.heappush(self._heap, (at + 0.3 * random.random(), next(self._order), callback, args))

    def note(self, text: str) -> None:
        """Put something into the trace, which is equal for equal runs."""
        self._trace.update(f"{self.now:.9f} {text}\n".encode())

    def run(self, done: Callable[[], bool], until: float) -> bool:
        """Go on until `done` (looked at every now and then), or the time `until`; whether it was done."""
        while self._heap and self.now < until:
            self.now, _, callback, args = heapq.heappop(self._heap)
            callback(*args)
            self.events += 1
            if self.events % 64 == 0 and done():
                return True
        return done()

    def trace(self) -> str:
        return self._trace.hexdigest()
