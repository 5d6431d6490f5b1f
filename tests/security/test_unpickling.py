"""Heads and node managers open no pickle, whatever a defect would have them do."""

import os
import signal
import subprocess
import sys
import time

_ALONE = """
import os, pickle
from limelight.cluster.process.no_unpickling import refuse_unpickling
for data in (os.getcwd, ValueError("x"), lambda: 1):
    import cloudpickle
    pickled = cloudpickle.dumps(data)
    pickle.loads(pickled)
    if data is os.getcwd:
        first = pickled
refuse_unpickling()
assert pickle.loads(pickle.dumps([1, "two", {3: 4.0}])) == [1, "two", {3: 4.0}]
pickle.loads(first)
"""


def test_a_process_that_refuses_opens_no_pickle_that_names_anything() -> None:
    ended = subprocess.run([sys.executable, "-c", _ALONE], capture_output=True, text=True, check=False)
    assert "UnpicklingRefusedError: A pickle that names posix.getcwd was about to be opened here" in ended.stderr


PROGRAM = """
import limelight as ll
ll.init(address="auto")
print(ll.get(ll.task(lambda x: [x]).remote({1: ValueError})))
"""


def test_heads_and_node_managers_refuse_and_workers_do_not(cluster) -> None:
    assert cluster.python(PROGRAM).strip() == "[{1: <class 'ValueError'>}]"
    asked = dict(cluster.system_processes())
    assert sorted(asked.values()) == ["head", "node"]
    for pid, kind in asked.items():
        assert ask(cluster, pid).startswith("UnpicklingRefusedError"), kind
    assert cluster.python(PROGRAM)


def test_the_spy_sees_what_it_should(cluster) -> None:
    """A process without the guard, asked in the same way, unpickles."""
    wait = "import signal; print('up', flush=True); signal.pause(); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", wait], env=cluster.env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "up\n"
            assert ask(cluster, process.pid) == "getcwd"
        finally:
            process.kill()


def ask(cluster, pid: int) -> str:
    """What a process of the cluster says when it was made to unpickle."""
    os.kill(pid, signal.SIGUSR1)
    answer = cluster.spies / str(pid)
    deadline = time.monotonic() + 10
    while not answer.exists():
        assert time.monotonic() < deadline, "no answer"
        time.sleep(0.01)
    return answer.read_text()
