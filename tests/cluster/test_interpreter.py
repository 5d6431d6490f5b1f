"""Tasks and actors in interpreters of their own: with packages from pip or uv, or by a command of the user's."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

import limelight as ll
from limelight.cluster_utils import Cluster
from limelight.exceptions import RuntimeEnvSetupError
from tests.cluster.wheel import make_wheel

DEADLINE = 60
PUBLIC = "humanize==4.9.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("interpreter")


@pytest.fixture(scope="module")
def wheels(folder):
    for name, version in (("tiny", "1.0"), ("tiny", "2.0"), ("other", "1.0")):
        make_wheel(folder / "wheels", name, version)
    return folder / "wheels"


@pytest.fixture(scope="module", autouse=True)
def cluster(folder, wheels):
    """Two nodes. The job's environment has tiny 1.0, by uv, and a hook."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LIMELIGHT_CACHE_DIR", str(folder / "cache"))
    patch.setenv("LIMELIGHT_runtime_env_idle_s", "0.1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    made.add_node(num_cpus=2, resources={"east": 1})

    def hook():
        os.environ["HOOKED"] = "by the job"

    ll.init(
        made.address,
        runtime_env={"uv": {"packages": ["tiny==1.0"], **offline("uv", wheels)}, "worker_process_setup_hook": hook},
    )
    yield made
    ll.shutdown()
    made.shutdown()
    patch.undo()


def offline(kind, wheels):
    return {f"{kind}_install_options" if kind == "pip" else "uv_pip_install_options": ["--no-index", "-f", str(wheels)]}


def installed(name="tiny"):
    module = __import__(name)
    return module.VERSION


def whereabouts():
    context = ll.get_runtime_context()
    return {
        "executable": sys.executable,
        "parent": os.getppid(),
        "pid": os.getpid(),
        "hooked": os.environ.get("HOOKED"),
        "folder": str(Path.cwd()),
        "node": context.get_node_id(),
        "env": dict(context.runtime_env),
    }


def running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_env(function, *args, options=None, **env):
    return ll.get(ll.remote(function).options(runtime_env=env, **(options or {})).remote(*args), timeout=DEADLINE)


def test_a_jobs_environment_is_made_before_a_task_needs_it(folder):
    until(lambda: list((folder / "cache").glob("runtime-env/marks/*")))


@pytest.mark.parametrize("options", [{}, {"resources": {"east": 1}}])
def test_a_jobs_packages_are_there_on_every_node(options):
    assert in_env(installed, options=options) == "1.0"


def test_a_tasks_own_packages_replace_its_jobs(wheels):
    assert in_env(installed, pip={"packages": ["tiny==2.0"], **offline("pip", wheels)}) == "2.0"
    with pytest.raises(ModuleNotFoundError, match="tiny"):
        in_env(installed, pip={"packages": ["other==1.0"], **offline("pip", wheels)})


def test_children_inherit_them(wheels):
    def parent():
        return ll.get(ll.remote(installed).remote("other"))

    assert in_env(parent, pip={"packages": ["other==1.0"], **offline("pip", wheels)}) == "1.0"


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_actors_have_them(isolation):
    @ll.remote(isolation=isolation)
    class Reader:
        def read(self):
            return installed()

    assert ll.get(Reader.remote().read.remote(), timeout=DEADLINE) == "1.0"


def test_workers_of_one_interpreter_are_forked_from_one_zygote():
    @ll.remote(num_cpus=0)
    class Probe:
        def look(self):
            return whereabouts()

    probes = [Probe.options(runtime_env={"env_vars": {"N": str(number)}}).remote() for number in range(3)]
    found = ll.get([probe.look.remote() for probe in probes], timeout=DEADLINE)
    by_node = {}
    for each in found:
        by_node.setdefault(each["node"], set()).add(each["parent"])
    assert len({each["pid"] for each in found}) == 3
    assert all(len(parents) == 1 for parents in by_node.values())
    assert all("runtime-env" in each["executable"] for each in found)


def test_an_interpreter_that_no_worker_uses_any_more_ends(wheels):
    @ll.remote(num_cpus=0, runtime_env={"pip": {"packages": ["other==1.0", "tiny==2.0"], **offline("pip", wheels)}})
    class Probe:
        def look(self):
            return whereabouts()

    first, second = Probe.remote(), Probe.remote()
    zygotes = {ll.get(each.look.remote(), timeout=DEADLINE)["parent"] for each in (first, second)}
    ll.kill(first)
    assert ll.get(second.look.remote(), timeout=DEADLINE)["parent"] in zygotes
    ll.kill(second)
    until(lambda: not any(map(running, zygotes)))
    third = ll.get(Probe.remote().look.remote(), timeout=DEADLINE)
    assert third["parent"] not in zygotes


def test_a_zygote_that_dies_takes_its_workers_with_it_and_no_others():
    @ll.remote(num_cpus=0, max_restarts=1, max_task_retries=1, runtime_env={"env_vars": {"MORTAL": "1"}})
    class Probe:
        def look(self):
            return whereabouts()

    probe = Probe.remote()
    before = ll.get(probe.look.remote(), timeout=DEADLINE)
    os.kill(before["parent"], signal.SIGKILL)
    until(lambda: not running(before["pid"]))
    after = ll.get(probe.look.remote(), timeout=DEADLINE)
    assert after["parent"] != before["parent"]
    assert in_env(installed) == "1.0"


def test_programs_of_the_environment_are_on_the_path():
    def run():
        import shutil

        return Path(shutil.which("python")).parent == Path(sys.executable).parent, sys.prefix == os.environ[
            "VIRTUAL_ENV"
        ]

    assert in_env(run) == (True, True)


def test_a_command_of_the_users_runs_the_workers(folder):
    wrapper = folder / "wrapper"
    wrapper.write_text(f'#!/bin/sh\nWRAPPED="$PWD $OWN" exec_me=no {sys.executable} -X utf8 "$@"\n')
    wrapper.chmod(0o755)
    work = folder / "work"
    work.mkdir()

    def look():
        return os.environ["WRAPPED"], sys.flags.utf8_mode, os.environ["HOOKED"]

    wrapped, utf8, hooked = in_env(look, py_executable=str(wrapper), working_dir=str(work), env_vars={"OWN": "x"})
    assert (Path(wrapped.split()[0]).parent.name, wrapped.split()[1]) == ("unpacked", "x")
    assert (utf8, hooked) == (1, "by the job")


def test_a_worker_that_a_command_runs_dies_with_its_actor(folder):
    wrapper = folder / "short"
    wrapper.write_text(f'#!/bin/sh\n{sys.executable} "$@"\nexit 0\n')
    wrapper.chmod(0o755)

    @ll.remote(runtime_env={"py_executable": str(wrapper)})
    class Reader:
        def pid(self):
            return os.getpid()

    reader = Reader.remote()
    pid = ll.get(reader.pid.remote(), timeout=DEADLINE)
    ll.kill(reader)
    with pytest.raises(ll.exceptions.ActorDiedError):
        ll.get(reader.pid.remote(), timeout=DEADLINE)
    until(lambda: not running(pid))


def test_variables_that_are_read_at_the_start_of_a_process_take_effect(folder):
    (folder / "extra").mkdir()
    (folder / "extra" / "early_module.py").write_text("VERSION = 'early'")
    env_vars = {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{folder / 'extra'}:${{PYTHONPATH}}"}

    def look():
        return installed("early_module"), hash("limelight"), os.environ["PYTHONPATH"].count("extra")

    one = in_env(look, env_vars=env_vars)
    assert one == in_env(look, env_vars={**env_vars, "OTHER": "1"})
    assert (one[0], one[2]) == ("early", 1)


class TestHook:
    def test_the_jobs_runs_in_each_worker(self):
        found = in_env(whereabouts)
        assert found["hooked"] == "by the job"
        assert found["env"]["worker_process_setup_hook"].endswith("hook")
        assert not any(name.startswith("_") for name in found["env"])

    def test_a_tasks_own_replaces_it(self, folder):
        def own():
            os.environ["HOOKED"] = "by the task"

        assert in_env(whereabouts, worker_process_setup_hook=own)["hooked"] == "by the task"
        (folder / "hooks").mkdir()
        (folder / "hooks" / "hooking.py").write_text("import os\ndef hook():\n    os.environ['HOOKED'] = 'by name'\n")
        env = {"py_modules": [str(folder / "hooks" / "hooking.py")], "worker_process_setup_hook": "hooking.hook"}
        assert in_env(whereabouts, **env)["hooked"] == "by name"

    def test_its_failure_reaches_every_caller_with_its_traceback(self):
        def fail():
            raise ValueError("no licence")

        broken = ll.remote(whereabouts).options(runtime_env={"worker_process_setup_hook": fail})
        for ref in [broken.remote() for _ in range(3)]:
            with pytest.raises(RuntimeEnvSetupError, match=r"(?s)hook .*fail failed.*in fail.*ValueError: no licence"):
                ll.get(ref, timeout=DEADLINE)

        @ll.remote(runtime_env={"worker_process_setup_hook": fail})
        class Never:
            def ping(self):
                return "pong"

        with pytest.raises(RuntimeEnvSetupError, match="no licence"):
            ll.get(Never.remote().ping.remote(), timeout=DEADLINE)

    def test_one_that_cannot_be_found_is_named(self):
        with pytest.raises(RuntimeEnvSetupError, match=r"(?s)nothere\.hook failed.*No module named 'nothere'"):
            in_env(whereabouts, worker_process_setup_hook="nothere.hook")

    def test_one_that_ends_the_process_is_a_failure(self):
        with pytest.raises(RuntimeEnvSetupError, match=r"(?s)died while they set their runtime environment up.*code 3"):
            in_env(whereabouts, worker_process_setup_hook=lambda: os._exit(3))

    def test_one_that_hangs_is_given_up(self):
        import threading

        with pytest.raises(RuntimeEnvSetupError, match="was not ready 1 s after its start"):
            in_env(
                whereabouts,
                worker_process_setup_hook=lambda: threading.Event().wait(),
                config={"setup_timeout_seconds": 1},
            )


class TestFailure:
    def test_the_installers_words_reach_every_caller(self, wheels):
        env = {"pip": {"packages": ["nothere==1.0"], **offline("pip", wheels)}}
        broken = ll.remote(installed).options(runtime_env=env)
        for ref in [broken.remote() for _ in range(4)]:
            with pytest.raises(RuntimeEnvSetupError, match="No matching distribution found for nothere"):
                ll.get(ref, timeout=DEADLINE)
        # It failed a moment ago, and is not tried again for a while.
        logs = list(Path(in_env(lambda: ll.get_runtime_context().get_temp_dir()), "logs").glob("runtime-env-*.log"))
        before = {log: log.stat().st_mtime_ns for log in logs}
        with pytest.raises(RuntimeEnvSetupError, match="No matching distribution found for nothere"):
            ll.get(broken.remote(), timeout=DEADLINE)
        assert {log: log.stat().st_mtime_ns for log in logs} == before

    def test_a_build_that_takes_too_long_is_ended(self, folder):
        slow = folder / "slow"
        slow.mkdir()
        (slow / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            '[project]\nname = "slow"\nversion = "1.0"\n'
        )
        (slow / "backend.py").write_text("import signal\nsignal.pause()\n")
        env = {
            "pip": {"packages": [str(slow)], "pip_install_options": ["--no-index"]},
            "config": {"setup_timeout_seconds": 2},
        }
        with pytest.raises(RuntimeEnvSetupError, match=r"(?s)longer than 2 s; see setup_timeout_seconds.*pip install"):
            in_env(installed, **env)

    def test_an_interpreter_in_which_no_worker_runs_is_a_failure(self, folder):
        odd = folder / "odd"
        odd.write_text(
            textwrap.dedent(f"""\
            #!/bin/sh
            case "$2" in describe) exec {sys.executable} "$@";; esac
            echo "licence expired" >&2
            exit 7
            """)
        )
        odd.chmod(0o755)
        with pytest.raises(RuntimeEnvSetupError, match="licence expired"):
            in_env(installed, py_executable=str(odd))

    def test_others_go_on_meanwhile(self):
        assert in_env(installed) == "1.0"


def test_the_configured_index_serves_too(tmp_path):
    """The only test that leaves the machine, where it can."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--timeout", "5", "--retries", "0"]
    probe = subprocess.run([*pip, "-d", str(tmp_path), PUBLIC], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no package index can be reached from here: {probe.stderr.strip().splitlines()[-1:]}")

    def look():
        import humanize  # pyright: ignore[reportMissingImports]

        return humanize.naturalsize(1000), Path(humanize.__file__).is_relative_to(sys.prefix)

    assert in_env(look, pip=[PUBLIC]) == ("1.0 kB", True)
