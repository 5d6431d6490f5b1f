"""When the head gives nodes up, with a simulated clock: soon after a power cut, never for its own absence."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.cluster.head.silence import LOOK_S, SILENCE_S, Silence
from limelight.cluster.scheduling.lease_config import LeaseConfig

REPORTS_S = LeaseConfig().refresh_interval


class Run:
    """A head that looks every `LOOK_S` but while it is stalled, and nodes that report until they die."""

    def __init__(self, seed: int, nodes: int) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.silence = Silence()
        self.next_report = {f"n{i}": self.random.random() * REPORTS_S for i in range(nodes)}
        self.arrived: list[str] = []  # in the head's socket, not read yet
        self.given_up: dict[str, float] = {}
        for node_id in self.next_report:
            self.silence.heard(node_id)

    def go(self, until: float, *, stalled: bool = False) -> None:
        """Live until then; a stalled head reads and looks only at the end of it."""
        while self.now < until:
            self.now = until if stalled else min(until, self.now + LOOK_S)
            for node_id in self.next_report:
                while self.next_report[node_id] <= self.now:
                    self.arrived.append(node_id)
                    self.next_report[node_id] += REPORTS_S * (0.9 + 0.2 * self.random.random())
            self.look()

    def look(self) -> None:
        """As an event loop may have it: what is due comes first, then what has arrived."""
        for node_id, _ in self.silence.look():
            self.given_up.setdefault(node_id, self.now)
            self.silence.forget(node_id)
        for node_id in self.arrived:
            if node_id not in self.given_up:
                self.silence.heard(node_id)
        self.arrived.clear()

    def kill(self, node_id: str) -> None:
        del self.next_report[node_id]


@given(st.integers(0, 999), st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_a_dead_node_is_given_up_within_six_seconds_and_no_other(seed: int, at: float) -> None:
    run = Run(seed, 5)
    run.go(10 + at)
    run.kill("n3")
    killed = run.now
    run.go(killed + 30)
    assert set(run.given_up) == {"n3"}
    assert SILENCE_S - REPORTS_S * 1.1 < run.given_up["n3"] - killed < 6.0


@given(st.integers(0, 999), st.lists(st.tuples(st.floats(0, 3), st.floats(0, 60)), max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_head_that_was_stalled_gives_nobody_up(seed: int, stalls: list[tuple[float, float]]) -> None:
    run = Run(seed, 5)
    for awake, stalled in stalls:
        run.go(run.now + awake)
        run.go(run.now + stalled, stalled=True)
    run.go(run.now + 10)
    assert not run.given_up


@given(st.integers(0, 999), st.floats(0.5, 60))
@settings(max_examples=50, deadline=None)
def test_a_node_that_died_while_the_head_was_stalled_is_given_up_afterwards(seed: int, stall: float) -> None:
    run = Run(seed, 5)
    run.go(5)
    run.kill("n1")
    run.go(5 + stall, stalled=True)
    awake = run.now
    run.go(awake + 6.0)
    assert set(run.given_up) == {"n1"}


def test_a_busy_node_that_reports_late_is_kept() -> None:
    run = Run(7, 3)
    run.go(3)
    run.next_report["n0"] = run.now + SILENCE_S - 2 * LOOK_S
    run.go(30)
    assert not run.given_up
