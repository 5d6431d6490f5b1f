"""What programs print and what is printed about them: lines of workers, warnings, nothing else."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import limelight as ll

DEADLINE = 60.0

PREAMBLE = """
import logging, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without it
import limelight as ll

@ll.remote
def echo(x=1):
    return x

@ll.remote
class Actor:
    def answer(self):
        return 42

    def sleep(self):
        time.sleep(60)
"""


def run(program, tmp_path, preamble=PREAMBLE, **options):
    """The outcome of a program with a session of its own; it leaves nothing in its temporary folder."""
    path = tmp_path / "program.py"
    path.write_text(preamble + textwrap.dedent(program))
    folder = Path(os.environ["TMPDIR"])  # short enough for the path of a socket
    done = subprocess.run(
        [sys.executable, path],
        cwd=tmp_path,
        timeout=DEADLINE,
        check=False,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )
    assert not list(folder.glob("limelight*"))
    return done


def assert_quiet(done, printed, code=0):
    assert done.stderr == ""
    assert done.stdout == printed
    assert done.returncode == code


class TestNothingElseIsPrinted:
    """Every way for a program to end, in one that has done something."""

    @pytest.mark.parametrize(
        "ending",
        [
            "ll.shutdown(); ll.shutdown()",
            "",
            "pending = [Actor.remote().sleep.remote(), *(echo.remote() for _ in range(100))]",
            "threading.Thread(target=lambda: [ll.get(echo.remote()) for _ in iter(int, 1)], daemon=True).start()",
            "threading.Thread(target=lambda: (time.sleep(0.2), ll.get(echo.remote()))).start()",
            "import atexit; atexit.register(lambda: ll.get(echo.remote()))",
            "kept = [ll.put(bytes(1_000_000)) for _ in range(3)]",
            "ll.kill(Actor.remote()); failed = ll.remote(lambda: 1 / 0).remote(); ll.wait([failed])",
            "ll.shutdown(); ll.init(num_cpus=1); ll.get(echo.remote())",
        ],
    )
    def test_at_the_end(self, ending, tmp_path):
        program = "ll.init(num_cpus=2)\nactor = Actor.remote()\nprint(ll.get(actor.answer.remote()))\n"
        assert_quiet(run(program + ending, tmp_path), "42\n")

    def test_by_the_loggers(self, tmp_path):
        program = "logging.basicConfig(level=logging.INFO)\nll.init()\nprint(ll.get(echo.remote()))\nll.shutdown()"
        assert_quiet(run(program, tmp_path), "1\n")

    def test_with_warnings_as_errors(self, tmp_path):
        program = "import warnings\nwarnings.simplefilter('error')\nll.init()\nprint(ll.get(echo.remote()))"
        assert_quiet(run(program, tmp_path), "1\n")

    def test_when_a_script_exits_with_a_code(self, tmp_path):
        assert_quiet(run("ll.init()\nll.get(echo.remote())\nsys.exit(3)", tmp_path), "", code=3)

    def test_but_the_error_that_ends_it(self, tmp_path):
        done = run("ll.init()\nll.get(ll.remote(lambda: 1 / 0).remote())", tmp_path)
        assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
        assert done.returncode == 1


def test_a_call_after_the_end_starts_no_session(tmp_path):
    """A handler that was registered before the session's runs after it."""
    done = run(
        "import atexit\natexit.register(lambda: ll.get(echo.remote()))\nll.init()\nll.get(echo.remote())", tmp_path
    )
    assert "The session has ended, because the interpreter does" in done.stderr


def test_closed_standard_streams(tmp_path):
    """A daemon may have none: its sockets must not become descriptors 0 to 2."""
    script = f'exec "{sys.executable}" program.py <&- >&- 2>&-'
    (tmp_path / "program.py").write_text(
        f"{PREAMBLE}\nll.init()\nopen('result', 'w').write(str(ll.get(echo.remote())))"
    )
    assert subprocess.run(["bash", "-c", script], cwd=tmp_path, timeout=DEADLINE, check=False).returncode == 0
    assert (tmp_path / "result").read_text() == "1"


def test_ctrl_c_ends_a_get_and_leaves_the_session_usable(tmp_path):
    program = """
    ll.init(num_cpus=2)
    actor = Actor.remote()
    for wait in (lambda: ll.get(actor.sleep.remote()), lambda: ll.wait([actor.sleep.remote()])):
        threading.Timer(0.3, os.kill, (os.getpid(), 2)).start()
        try:
            wait()
        except KeyboardInterrupt:
            print(ll.get(echo.remote()))
    """
    assert_quiet(run(program, tmp_path), "1\n1\n")


def test_ctrl_c_at_the_terminal_ends_a_program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        f"{PREAMBLE}\nll.init(num_cpus=2)\nprint('ready', flush=True)\nll.get(Actor.remote().sleep.remote())"
    )
    program = subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert program.stdout.readline() == "ready\n"
    os.killpg(program.pid, signal.SIGINT)
    _, stderr = program.communicate(timeout=DEADLINE)
    assert stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert stderr.count("Traceback") == 1


TALKATIVE = """
import subprocess
ll.init(num_cpus=1)

@ll.remote
def out():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return os.getpid()

@ll.remote
class Talker:
    def talk(self):
        print("from an actor")
        logging.warning("a warning")
        logging.info("an info")
        return os.getpid()

@ll.remote
def bar():
    for step in range(5):
        sys.stderr.write(f"\\rprogress {step}")
    sys.stderr.write("\\n")

@ll.remote
def child():
    print("before", flush=True)
    subprocess.run(["echo", "from a subprocess"])

@ll.remote
def unfinished():
    print("no end of line", end="")

@ll.remote(max_retries=0)
def die():
    print("last words", file=sys.stderr)
    os._exit(1)

pids = [ll.get(out.remote())]
talker = Talker.options(num_cpus=0).remote()
pids.append(ll.get(talker.talk.remote()))
ll.get([bar.remote(), child.remote()])
ll.get(unfinished.remote())
ll.wait([die.remote()])
ll.shutdown()
print("end", *pids, sep="\\n")  # not before: the lines of two threads may land in each other
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(TALKATIVE, tmp_path_factory.mktemp("output"))


@pytest.fixture(scope="module")
def pids(done):
    return [int(line) for line in done.stdout.splitlines() if line.isdigit()]


class TestWorkersOutput:
    """Of one program that prints in every way there is."""

    def test_lines_say_whose_they_are_and_keep_their_stream(self, done, pids):
        assert f"(out pid={pids[0]}) to stdout" in done.stdout.splitlines()
        assert f"(out pid={pids[0]}) to stderr" in done.stderr.splitlines()
        assert f"(Talker pid={pids[1]}) from an actor" in done.stdout.splitlines()

    def test_logging_is_as_python_has_it(self, done, pids):
        assert f"(Talker pid={pids[1]}) WARNING:root:a warning" in done.stderr.splitlines()
        assert "an info" not in done.stderr

    def test_of_a_progress_bar_only_what_stays(self, done):
        assert "progress 4" in done.stderr
        assert "progress 3" not in done.stderr

    def test_subprocesses_and_unfinished_lines(self, done, pids):
        assert f"(child pid={pids[0]}) from a subprocess" in done.stdout.splitlines()
        assert f"(unfinished pid={pids[0]}) no end of line" in done.stdout.splitlines()

    def test_the_last_words_of_a_dead_worker(self, done, pids):
        assert f"(die pid={pids[0]}) last words" in done.stderr.splitlines()

    def test_all_is_there_when_shutdown_returns(self, done):
        assert done.stdout.splitlines()[-3] == "end"

    def test_nothing_else_is_printed(self, done):
        lines = done.stderr.splitlines()
        assert len(lines) == 4, done.stderr
        assert len(done.stdout.splitlines()) == 8, done.stdout


def test_every_worker_can_print():
    """The standard streams of workers forked one after the other, whose zygote had a libuv in it once."""
    ll.init(num_cpus=2, log_to_driver=False)
    try:

        @ll.remote(num_cpus=0)
        class Printer:
            def files(self):
                sys.stdout.write("out\n")
                sys.stderr.write("err\n")
                return [os.fstat(descriptor).st_ino for descriptor in (1, 2)]

        inodes = [inode for printer in [Printer.remote() for _ in range(6)] for inode in ll.get(printer.files.remote())]
        assert len(set(inodes)) == 12, "each stream of each worker is a pipe of its own"
    finally:
        ll.shutdown()


def test_repeated_lines_collapse_in_view_and_stay_in_the_logs(tmp_path):
    program = """
    from pathlib import Path
    logs = Path(ll.init(num_cpus=4)["session_dir"]) / "logs"

    @ll.remote(num_cpus=0)
    class Talker:
        def talk(self):
            print("the same words", flush=True)

    talkers = [Talker.remote() for _ in range(4)]
    ll.get([talker.talk.remote() for talker in talkers])
    deadline = time.monotonic() + 30
    while sum(path.read_text().count("the same words") for path in logs.glob("*.out")) < 4:
        assert time.monotonic() < deadline, "the logs do not have every line"
    """
    done = run(program, tmp_path)
    shown = [line for line in done.stdout.splitlines() if "the same words" in line]
    assert len(shown) == 2
    assert "[repeated 3x across cluster]" in shown[1]
    assert done.stderr == ""


def test_log_to_driver_can_be_turned_off(tmp_path):
    done = run(
        "ll.init(log_to_driver=False)\nll.get(ll.remote(lambda: print('hidden')).remote())\nprint('end')", tmp_path
    )
    assert_quiet(done, "end\n")


def test_init_sets_the_level_and_the_format_of_its_own_logger(tmp_path):
    program = """
    ll.init(num_cpus=1, logging_level="error")
    assert logging.getLogger("limelight").level == logging.ERROR
    ll.shutdown()
    ll.init(num_cpus=1, logging_format="<%(levelname)s> %(message)s")
    warned = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: warned.set()
    logging.getLogger("limelight").addHandler(handler)
    ref = echo.options(num_cpus=7).remote()
    assert warned.wait(30)
    """
    done = run(program, tmp_path)
    assert done.stderr.startswith("<WARNING> echo waits until the cluster has room: {CPU: 7} is asked for"), done.stderr


def test_threads_of_the_driver_do_not_keep_it(tmp_path):
    assert threading.active_count() < 20
    assert_quiet(
        run("ll.init()\nprint(ll.get(echo.remote()))\nll.shutdown()\nassert threading.active_count() == 1", tmp_path),
        "1\n",
    )


class TestOriginOfLines:
    """The prefix of a line names what printed it."""

    @pytest.mark.parametrize("method", ["def", "async def"])
    def test_an_actor_may_say_how_it_is_called(self, tmp_path, method):
        program = f"""
            @ll.remote
            class Named:
                def __init__(self, index):
                    self.index = index

                {method} hello(self):
                    print("hello")

                def __repr__(self):
                    return f"Named({{self.index}})"

            ll.init(num_cpus=2)
            ll.get([actor.hello.remote() for actor in [Named.remote(1), Named.remote(2)]])
        """
        done = run(program, tmp_path)
        assert sorted(line.split(" pid=")[0] for line in done.stdout.splitlines()) == ["(Named(1)", "(Named(2)"]

    def test_an_actor_that_cannot_say_it_is_called_like_its_class(self, tmp_path):
        program = """
            @ll.remote
            class Mute:
                def hello(self):
                    print("hello")

                def __repr__(self):
                    raise ValueError("no name")

            ll.init(num_cpus=2)
            mute = Mute.remote()
            ll.get(mute.hello.remote())
        """
        done = run(program, tmp_path)
        assert done.stdout.startswith("(Mute pid=")
        assert "no name" in done.stderr
