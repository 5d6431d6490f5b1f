"""The head of a cluster is away: what a program is told, what it may ask, and what waits."""

import signal
import sys
import time

import pytest

from tests.chaos.head_restart import PATIENCE, LoneMachine

ASKING = """
import sys, limelight as ll
ll.init(address="auto", namespace="here", log_to_driver=False)
@ll.remote(num_cpus=0)
class Counter:
    def __init__(self): self.n = 0
    def add(self): self.n += 1; return self.n
@ll.remote
def square(x): return x * x
kept = Counter.options(name="kept").remote()
print(ll.get(kept.add.remote()), flush=True)
sys.stdin.readline()
questions = [ll.nodes, ll.cluster_resources, ll.available_resources, lambda: ll.get_actor("kept"),
             ll.util.list_named_actors, lambda: ll.util.get_placement_group("g")]
for question in questions[:int(sys.argv[1])]:
    try:
        print("answered", question())
    except ll.exceptions.RpcError as error:
        print("refused", error)
print(ll.get(kept.add.remote()), flush=True)
late = Counter.remote()
waiting = late.add.remote()
print("submitted", flush=True)
print(ll.get(waiting), len(ll.nodes()), ll.get(square.remote(7)), flush=True)
sys.stdin.readline()
"""


class Program:
    """A program of the user's that is told when to go on."""

    def __init__(self, machine: LoneMachine, questions: int) -> None:
        self.errors = machine.folder / "errors"
        with self.errors.open("w") as errors:
            self.process = machine.popen(
                [sys.executable, "-c", ASKING, str(questions)], stdin=-1, stdout=-1, stderr=errors, text=True
            )

    def says(self) -> str:
        """The next line."""
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        """Let it."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def notices(self) -> list[str]:
        """What it was told of the head so far."""
        return [line for line in self.errors.read_text().splitlines() if "The head at" in line]

    def until_told(self, count: int) -> list[str]:
        """Wait until it was told so much."""
        deadline = time.monotonic() + PATIENCE
        while len(self.notices()) < count:
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.05)
        return self.notices()

    def end(self) -> None:
        """It ends by itself, and well."""
        assert self.process.wait(PATIENCE) == 0, self.errors.read_text()

    def close(self) -> None:
        """Nothing is left of it."""
        self.process.kill()
        with self.process:
            """Its pipes are closed."""


@pytest.fixture
def machine():
    made = LoneMachine()
    made.environment["LIMELIGHT_gcs_server_request_timeout_seconds"] = "1"
    yield made
    made.close()


@pytest.fixture
def begin(machine):
    """Starts a program, which has begun when this returns."""
    begun: list[Program] = []

    def start(questions: int) -> Program:
        program = Program(machine, questions)
        begun.append(program)
        assert program.says() == "1", program.errors.read_text()
        return program

    yield start
    for program in begun:
        program.close()


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_questions_are_refused_in_the_end_and_submissions_wait_and_both_are_told(machine, begin):
    machine.start()
    program = begin(6)
    machine.kill_head()
    program.go_on()
    for _ in range(6):
        said = program.says()
        assert said.startswith(f"refused The head at 127.0.0.1:{machine.port} was asked"), said
        assert "has not answered for 1 s" in said
        assert "`cluster start --head` with the same options" in said
    assert program.says() == "2", "an actor needs no head"
    assert program.says() == "submitted"
    [told] = program.until_told(1)
    assert f"The head at 127.0.0.1:{machine.port} is out of reach. What runs goes on; new actors" in told
    machine.start()
    assert program.says() == "1 1 49"
    assert program.until_told(2)[1].endswith(f"The head at 127.0.0.1:{machine.port} answers again.")
    program.go_on()
    program.end()
    assert len(program.notices()) == 2


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_head_that_is_there_and_does_not_answer_refuses_questions_too(machine, begin):
    machine.start()
    program = begin(1)
    head = machine.head()
    head.send_signal(signal.SIGSTOP)
    try:
        program.go_on()
        assert "was asked about the cluster's nodes" in program.says()
        assert program.says() == "2"
        assert program.says() == "submitted"
        program.until_told(1)
    finally:
        head.send_signal(signal.SIGCONT)
    assert program.says() == "1 1 49"
    program.go_on()
    program.end()
