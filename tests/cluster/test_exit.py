"""However a driver ends, nothing of its session stays: no process, no socket, no folder, no memory."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

GONE_WITHIN = 10.0
"""Seconds; the sessions here end in well under one, on a machine that does nothing else."""

MARK = "LIMELIGHT_TEST_DRIVER"

BUSY = """
    import time
    import limelight as ll

    @ll.remote
    def sleep():
        time.sleep(600)

    @ll.remote(num_cpus=0)
    class Counter:
        def count(self):
            return 1

        def sleep(self):
            time.sleep(600)

    ll.init(num_cpus=2)
    counter, light = Counter.remote(), Counter.options(isolation="shared").remote()
    assert ll.get([counter.count.remote(), light.count.remote()]) == [1, 1]
    stored = ll.put(bytearray(5_000_000))
    pending = [sleep.remote() for _ in range(10)] + [counter.sleep.remote()]
    ready, _ = ll.wait(pending, timeout=0.2)
    assert not ready
    print("busy", flush=True)
"""
"""A driver in the middle of its work: tasks and calls that run and wait, objects in the store, actors of both kinds."""


def segment_names() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


HEARS_SIGNALS = "import signal\nsignal.signal(2, signal.default_int_handler)\nsignal.signal(1, signal.SIG_DFL)\n"
"""What runs in the background of a shell, or under nohup, as CI may, starts with these signals ignored."""


class Driver:
    """A script that runs as a process of its own, with a temporary folder of its own."""

    def __init__(self, script: str) -> None:
        self._mark = uuid.uuid4().hex
        self.folder = Path(tempfile.mkdtemp(prefix="x"))
        environment = os.environ | {
            "TMPDIR": str(self.folder),
            MARK: self._mark,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self.shared_memory = segment_names()
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEARS_SIGNALS + textwrap.dedent(script)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, word: str) -> str:
        """Read its output up to a line that starts with the word; returns the rest of that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        pytest.fail(f"the driver ended before it said {word!r}:\n{self.end()[1]}")

    def end(self) -> tuple[str, str]:
        """Wait for its end; returns what it printed."""
        return self.process.communicate(timeout=30)

    def session(self) -> list[psutil.Process]:
        """The living processes of its session, without the driver itself."""
        found = []
        mark = f"{MARK}={self._mark}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, psutil.Error):
                if int(folder.name) != self.process.pid and mark in (folder / "environ").read_bytes():
                    process = psutil.Process(int(folder.name))
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return found

    def left_behind(self) -> list[str]:
        """What is there still, when it had time to go."""
        deadline = time.monotonic() + GONE_WITHIN
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def _left(self) -> list[str]:
        processes = [f"process {process.pid}" for process in self.session()]
        # Not rglob: it stumbles over folders that vanish while it looks.
        files = [f"{folder}/{name}" for folder, folders, files in os.walk(self.folder) for name in (*folders, *files)]
        segments = segment_names() - self.shared_memory
        return processes + files + sorted(name for name in segments if "limelight" in name)

    def logs(self) -> str:
        """What its session's processes have said, for a test that fails."""
        return "\n".join(path.read_text(errors="replace") for path in self.folder.rglob("*.log"))

    def remove(self) -> None:
        """Clean up, whatever happened."""
        for process in self.session():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def drive() -> Iterator:
    drivers: list[Driver] = []

    def start(script: str) -> Driver:
        drivers.append(Driver(script))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.remove()


def after(ending: str) -> str:
    return textwrap.dedent(BUSY) + textwrap.dedent(ending)


@pytest.mark.parametrize(
    ("ending", "code", "words"),
    [
        ("ll.shutdown()\nassert not ll.is_initialized()", 0, ""),
        ("", 0, ""),
        ("raise LookupError('on purpose')", 1, "LookupError: on purpose"),
        ("import sys\nsys.exit(7)", 7, ""),
        ("ll.shutdown()\nll.init(num_cpus=1)\nassert ll.get(ll.put(1)) == 1", 0, ""),
    ],
    ids=["shutdown", "end of the script", "exception", "sys.exit", "second session"],
)
def test_a_driver_that_ends_by_itself_leaves_nothing(drive, ending, code, words):
    driver = drive(after(ending))
    _, errors = driver.end()
    assert driver.process.returncode == code, errors
    assert words in errors
    assert "Exception ignored" not in errors
    assert driver.left_behind() == []


def test_a_script_without_an_explicit_init_leaves_nothing(drive):
    driver = drive("import limelight as ll\nprint('result', ll.get(ll.put(41)) + 1)")
    assert driver.wait_for("result") == "42"
    driver.end()
    assert driver.left_behind() == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGSEGV])
def test_a_driver_that_a_signal_ends_leaves_nothing(drive, signum):
    driver = drive(after("ll.get(pending)"))
    driver.wait_for("busy")
    assert len(driver.session()) > 4
    driver.process.send_signal(signum)
    _, errors = driver.end()
    assert driver.process.returncode == -signum
    if signum == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
    assert driver.left_behind() == []


def test_ctrl_c_at_the_terminal_reaches_the_driver_only(drive):
    """The terminal signals the driver's process group: workers must not print a traceback each."""
    driver = drive(after("ll.get(pending)"))
    driver.wait_for("busy")
    os.killpg(driver.process.pid, signal.SIGINT)
    _, errors = driver.end()
    assert errors.count("KeyboardInterrupt") == 1, errors
    assert driver.left_behind() == []


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.25, 0.35, 0.5])
def test_a_driver_killed_while_it_starts_its_session_leaves_nothing(drive, delay):
    driver = drive("print('importing', flush=True)\nimport limelight as ll\nll.init(num_cpus=2)\nprint('started')")
    driver.wait_for("importing")
    time.sleep(delay)  # not for a condition: the point is to hit different moments
    driver.process.kill()
    driver.end()
    assert driver.left_behind() == []


def test_ctrl_c_while_a_session_starts_leaves_nothing(drive):
    driver = drive(
        "import limelight as ll\nprint('starting', flush=True)\nll.init(num_cpus=2)\nimport time\ntime.sleep(60)"
    )
    driver.wait_for("starting")
    time.sleep(0.2)  # as above
    driver.process.send_signal(signal.SIGINT)
    _, errors = driver.end()
    assert "KeyboardInterrupt" in errors
    assert driver.left_behind() == [], driver.logs()


@pytest.mark.parametrize("module", ["limelight.cluster.session", "limelight.cluster.driver"])
def test_ctrl_c_that_python_loses_in_an_import_still_ends_the_driver(drive, module):
    """Python ignores what a callback of a weak reference raises, and each import has one."""
    driver = drive(
        f"""
        import signal, sys, weakref
        import limelight as ll

        class Lock:
            pass

        class Finder:
            def find_spec(self, name, path, target=None):
                if name == {module!r}:
                    lock = Lock()
                    ended = weakref.ref(lock, lambda _: signal.raise_signal(signal.SIGINT))
                    del lock

        sys.meta_path.insert(0, Finder())
        try:
            ll.init(num_cpus=2)
        except KeyboardInterrupt:
            print("interrupted", ll.is_initialized(), flush=True)
        """
    )
    assert driver.wait_for("interrupted") == "False"
    driver.end()
    assert driver.left_behind() == []


def test_a_driver_that_forks_does_not_end_its_session_with_the_child(drive):
    """multiprocessing's fork, os.fork(): the child inherits the runtime, but the session is the parent's."""
    driver = drive(
        """
        import os, sys
        import warnings
        warnings.simplefilter("ignore")
        import limelight as ll

        ll.init(num_cpus=1)

        @ll.remote
        def square(x):
            return x * x

        assert ll.get(square.remote(2)) == 4
        child = os.fork()
        if not child:
            sys.exit(0)  # with its atexit handlers
        os.waitpid(child, 0)
        print("result", ll.get(square.remote(3)))
        """
    )
    assert driver.wait_for("result") == "9"
    driver.end()
    assert driver.left_behind() == []


KILL_NODE = """
    import json, os, psutil, signal

    def outcome(what):
        try:
            return repr(what())
        except Exception as error:
            return type(error).__name__

    (node,) = psutil.Process().children()
    os.kill(node.pid, signal.SIGKILL)
    told = {
        "running task": outcome(lambda: ll.get(pending[0])),
        "waiting task": outcome(lambda: ll.get(pending[9])),
        "actor's call": outcome(lambda: ll.get(pending[10])),
        "new task": outcome(lambda: ll.get(sleep.remote())),
        "new call": outcome(lambda: ll.get(counter.count.remote())),
        "light actor": outcome(lambda: ll.get(light.count.remote())),
        "new actor": outcome(lambda: ll.get(Counter.remote().count.remote())),
        "named actor": outcome(lambda: Counter.options(name="it").remote()),
        "look-up": outcome(lambda: ll.get_actor("it")),
        "state": outcome(ll.nodes),
        "kill": outcome(lambda: ll.kill(counter)),
        "large put": outcome(lambda: ll.put(bytearray(200_000_000))),
        "small put": outcome(lambda: ll.get(ll.put(5))),
        "stored": outcome(lambda: len(ll.get(stored))),
        "future": outcome(lambda: pending[1].future().result(5)),
    }
    try:
        ll.get(pending)
    except ll.exceptions.LocalRayletDiedError as error:
        print(error)
    print("told", json.dumps(told), flush=True)
    if KEEP:
        ll.shutdown()
        ll.init(num_cpus=1)
        print("again", ll.get(ll.remote(lambda: 2).remote()), flush=True)
"""


@pytest.mark.parametrize("again", [False, True])
def test_a_driver_whose_node_process_is_killed_is_told_at_once(drive, again):
    driver = drive(textwrap.dedent(BUSY) + f"KEEP = {again}\n" + textwrap.dedent(KILL_NODE))
    told = json.loads(driver.wait_for("told"))
    expected = dict.fromkeys(told, "LocalRayletDiedError")
    expected["small put"] = "5"
    expected["stored"] = "5000000"
    assert told == expected
    if again:
        assert driver.wait_for("again") == "2"
    _, errors = driver.end()
    assert driver.process.returncode == 0, errors
    assert driver.left_behind() == []


@pytest.mark.parametrize("victims", ["driver", "node", "node, then driver", "driver, then node"])
def test_what_is_killed_with_signal_9_leaves_nothing(drive, victims):
    """The zygote outlives both by a moment, and removes what they could not."""
    driver = drive(
        after(
            """
            import psutil, sys
            (node,) = psutil.Process().children()
            print("node", node.pid, flush=True)
            sys.stdin.read()
            """
        )
    )
    node = int(driver.wait_for("node"))
    for victim in victims.split(", then "):
        if victim == "node":
            os.kill(node, signal.SIGKILL)
        else:
            driver.process.kill()
    if "driver" in victims:
        driver.process.wait(timeout=GONE_WITHIN)
    else:
        deadline = time.monotonic() + GONE_WITHIN
        while len(left := driver.session()) > 1:
            assert time.monotonic() < deadline, left
            time.sleep(0.02)
        assert list(driver.folder.glob("limelight-*/*/logs/node.log")), "a driver that lives on may want to read it"
        driver.end()
    assert driver.left_behind() == []
