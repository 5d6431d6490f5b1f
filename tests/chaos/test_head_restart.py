"""The head of a cluster is killed and started again: a program that uses all of it notices a pause, and no more."""

import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.chaos.head_restart import PATIENCE, LoneMachine, restart_under_load

PROGRAM = """
import sys, limelight as ll
ll.init(address="auto", namespace="here", log_to_driver=False)
@ll.remote(num_cpus=0)
class Counter:
    def __init__(self): self.n = 0
    def add(self): self.n += 1; return self.n
"""


@pytest.fixture
def machine():
    made = LoneMachine()
    yield made
    made.close()


def run(machine, lines: str) -> str:
    """Run a program of the user's to its end; what it prints."""
    with machine.popen([sys.executable, "-c", PROGRAM + lines], stdout=-1, stderr=-1, text=True) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out.strip()


def until(condition, what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.05)


def state_file(machine) -> Path:
    return machine.folder / "home" / ".limelight" / f"head-{machine.port}.sqlite"


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_two_restarts_under_load_fail_nothing(machine):
    machine.start()
    load, kills = restart_under_load(machine, 2)
    assert len(kills) == 2
    load.check()


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_detached_actors_outlive_their_program_and_the_head(machine):
    machine.start()
    run(machine, "ll.get(Counter.options(name='kept', lifetime='detached').remote().add.remote())")
    machine.kill_head()
    status = machine.cluster("status")
    assert status.returncode == 1
    assert "`cluster start --head` with the same options starts it again" in status.stderr
    machine.start()
    assert run(machine, "print(ll.get(ll.get_actor('kept').add.remote()))") == "2"
    assert machine.cluster("stop").returncode == 0
    machine.start()
    assert run(machine, "print(ll.util.list_named_actors(all_namespaces=True))") == "[]", "a stopped cluster is over"


@pytest.mark.timeout(180)
@pytest.mark.slow
@pytest.mark.parametrize("how", ["--fresh", "the file is deleted"])
def test_a_head_without_state_has_the_nodes_that_wait_begin_anew(machine, how):
    machine.start()
    run(machine, "ll.get(Counter.options(name='kept', lifetime='detached').remote().add.remote())")
    machine.kill_head()
    if how == "--fresh":
        machine.start("--fresh")
    else:
        for path in state_file(machine).parent.glob(f"{state_file(machine).name}*"):
            path.unlink()
        machine.start()
    until(lambda: "1 node." in machine.cluster("status").stdout, "the node has joined again")
    assert run(machine, "print(ll.util.list_named_actors(all_namespaces=True))") == "[]"
    assert run(machine, "print(ll.get(Counter.remote().add.remote()))") == "1"


@pytest.mark.timeout(120)
def test_a_state_that_cannot_be_read_is_refused_with_what_to_do(machine):
    state_file(machine).parent.mkdir()
    state_file(machine).write_bytes(b"this is no database" * 1000)
    result = machine.cluster("start", "--head", "--port", str(machine.port))
    assert result.returncode == 1
    assert str(state_file(machine)) in result.stderr
    assert "Traceback" not in result.stderr
    assert not machine.sessions()


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_head_whose_node_died_too_begins_with_a_new_one(machine):
    machine.start()
    run(machine, "ll.get(Counter.options(name='kept', lifetime='detached', max_restarts=-1).remote().add.remote())")
    node = machine.node()
    machine.kill_head()
    workers = node.children(recursive=True)
    node.send_signal(signal.SIGKILL)
    node.wait(PATIENCE)
    machine.start()
    assert run(machine, "print(ll.get(ll.get_actor('kept').add.remote(), timeout=60))") == "1", "it was started again"
    psutil.wait_procs(workers, PATIENCE)
