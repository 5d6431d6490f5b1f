"""Environments are made once, by a process that can be killed at any moment, and found again."""

import asyncio
import fcntl
import os
import signal
import site
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from limelight.actors.runtime_env import RuntimeEnv
from limelight.cluster.environment import recipe, workshop
from limelight.cluster.environment.environment_store import EnvironmentStore
from limelight.cluster.environment.recipe import Recipe
from limelight.cluster.environment.shelf import make_shelf
from limelight.cluster.environment.workshop import Workshop, preset
from limelight.cluster.held_folder import open_lock
from limelight.exceptions import RuntimeEnvSetupError
from tests.cluster.wheel import make_wheel
from tests.waiting import until

DEADLINE = 60


class Bench:
    """Makes workshops over one store."""

    def __init__(self, folder):
        self.folder = folder
        self.wheels = folder / "wheels"
        self.root = folder / "store"
        self.opened = []

    def open(self, quota=1 << 30):
        logs = self.folder / f"logs{len(self.opened)}"
        logs.mkdir()
        made = Workshop("session", logs, lambda: make_shelf(self.folder / "shelf"), self.root, quota)
        self.opened.append(made)
        return made

    def env(self, *packages, **others):
        options = ["--no-index", "--find-links", str(self.wheels)]
        return RuntimeEnv(pip={"packages": list(packages), "pip_install_options": options, **others})

    def logs(self):
        return [path.read_text() for path in self.folder.glob("logs*/runtime-env-*.log")]

    def made(self):
        return sum("] made in " in log for log in self.logs())

    def holds(self, env):
        """Whether anybody keeps the environment from being removed."""
        lock = os.open(self.root / "locks" / Recipe.of(env).digest("session"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def environments(self):
        return sorted(path.name for path in (self.root / "environments").iterdir())

    def marks(self):
        return sorted(path.name for path in (self.root / "marks").iterdir())


@pytest.fixture
async def bench(tmp_path):
    made = Bench(tmp_path)
    make_wheel(made.wheels, "tiny")
    yield made
    for shop in made.opened:
        await shop.close()


def version(found, module="tiny"):
    python = found.interpreter.command[0]  # before its flags
    done = subprocess.run(
        [python, "-c", f"import {module}; print({module}.VERSION)"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def slow_wheel(bench):
    """A source distribution whose build waits until it is killed, and says that it runs."""
    folder = bench.folder / "slow"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "slow"\nversion = "1.0"\n'
    )
    (folder / "backend.py").write_text(
        "import os, pathlib, signal\n"
        "def build_wheel(*a, **k):\n"
        f"    place = pathlib.Path({str(bench.folder / 'building')!r})\n"
        "    place.with_suffix('.new').write_text(str(os.getpid()))\n"
        "    place.with_suffix('.new').rename(place)\n"
        "    signal.pause()\n"
        "def prepare_metadata_for_build_wheel(*a, **k): build_wheel()\n"
    )
    return RuntimeEnv(pip={"packages": [str(folder)], "pip_install_options": ["--no-index"]})


async def building(bench):
    """The process id of the slow build, once it runs."""
    place = bench.folder / "building"
    pid = int(await until(lambda: place.exists() and place.read_text()))
    place.unlink()
    return pid


def ended(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_many_who_ask_at_once_have_it_made_once(bench):
    one, other = bench.open(), bench.open()
    found = await asyncio.gather(*(shop.find(bench.env("tiny==1.0"), "") for shop in (one, other) * 4))
    assert len({each.digest for each in found}) == 1
    assert bench.made() == 1
    assert version(found[0]) == "1.0"


async def test_it_is_found_by_the_next_session(bench):
    first = await bench.open().find(bench.env("tiny==1.0"), "")
    mark = bench.root / "marks" / first.digest
    os.utime(mark, (1, 1))
    second = await bench.open().find(bench.env("tiny==1.0"), "")
    assert first == second
    assert bench.made() == 1
    assert mark.stat().st_mtime > 1  # it is used now, and others go before it
    # It sees what the node's interpreter has, beside what is its own.
    assert (
        "include-system-site-packages = true" in (bench.root / "environments" / first.digest / "pyvenv.cfg").read_text()
    )
    seen = f"import site, sys; sys.exit(not set({site.getsitepackages()}) <= set(sys.path))"
    assert await asyncio.to_thread(subprocess.call, [first.interpreter.command[0], "-c", seen]) == 0


async def test_it_is_the_same_for_as_long_as_the_node_runs_also_past_midnight(bench, monkeypatch):
    shop = bench.open()
    today = await shop.find(bench.env("tiny"), "")
    monkeypatch.setattr(recipe, "_today", lambda: "another day")
    assert await shop.find(bench.env("tiny"), "") == today
    assert Recipe.of(bench.env("tiny")).digest("session") != today.digest


async def test_what_the_installer_says_reaches_whoever_asked(bench):
    with pytest.raises(RuntimeEnvSetupError, match=r"No matching distribution found for nothere==1\.0"):
        await bench.open().find(bench.env("nothere==1.0"), "")
    assert bench.environments() == bench.marks() == []
    assert not bench.holds(bench.env("nothere==1.0"))
    [log] = bench.folder.glob("logs*/runtime-env-*.log")
    assert log.stat().st_mode & 0o777 == 0o600  # what installers say may be secret


async def test_who_comes_before_a_build_fails_has_none_of_their_own(bench, monkeypatch):
    """Although they come to it only afterwards: holding an environment may take a while."""
    shop = bench.open()
    held, go_on = EnvironmentStore.hold, threading.Event()
    slow = threading.Event()

    def hold(store, digest):
        if slow.is_set():
            slow.clear()
            assert go_on.wait(DEADLINE)
        held(store, digest)

    monkeypatch.setattr(EnvironmentStore, "hold", hold)
    first = asyncio.ensure_future(shop.find(bench.env("nothere"), ""))
    await until(bench.logs)
    slow.set()
    second = asyncio.ensure_future(shop.find(bench.env("nothere"), ""))
    await until(lambda: not slow.is_set())
    with pytest.raises(RuntimeEnvSetupError, match="nothere"):
        await first
    [log] = bench.folder.glob("logs*/runtime-env-*.log")
    log.write_text("it is not written to any more")
    go_on.set()
    with pytest.raises(RuntimeEnvSetupError, match="nothere"):
        await second
    assert log.read_text() == "it is not written to any more"
    with pytest.raises(RuntimeEnvSetupError, match="nothere"):
        await shop.find(bench.env("nothere"), "")
    assert log.read_text() != "it is not written to any more", "who comes later has it tried again"


async def test_of_what_an_installer_says_the_end_is_told_where_it_is_much(bench):
    shop, env = bench.open(), bench.env("tiny==1.0")
    digest = Recipe.of(env).digest("session")
    (bench.folder / "logs0" / f"runtime-env-{digest[:12]}.log").write_bytes(b"beginning" + b"\xff" * 1_000_000 + b"end")
    assert shop.said(env, "").endswith("end")
    assert len(shop.said(env, "")) < 7000


async def test_passwords_stay_out_of_the_log(bench):
    env = bench.env("nothere==1.0")
    env["pip"]["pip_install_options"] += ["--extra-index-url", "https://user:hunter2@127.0.0.1:9/"]
    with pytest.raises(RuntimeEnvSetupError) as raised:
        await bench.open().find(env, "")
    assert "hunter2" not in str(raised.value)
    assert not any("hunter2" in log for log in bench.logs())


async def test_conflicts_that_a_check_finds_are_a_failure(bench):
    make_wheel(bench.wheels, "needy", requires=["tiny>=2"])
    env = bench.env("needy==1.0", pip_check=True)
    env["pip"]["pip_install_options"].append("--no-deps")
    with pytest.raises(RuntimeEnvSetupError, match=r"needy 1\.0 requires tiny"):
        await bench.open().find(env, "")


async def test_an_environment_in_which_no_worker_runs_is_a_failure(bench):
    make_wheel(bench.wheels, "msgspec", "99", code="raise RuntimeError('too new')\n")
    with pytest.raises(RuntimeEnvSetupError, match=r"(?s)RuntimeError: too new.*run a worker in it failed"):
        await bench.open().find(bench.env("msgspec==99"), "")
    assert bench.marks() == []


async def test_requirements_may_lie_in_the_working_directory(bench):
    work = bench.folder / "work"
    work.mkdir()
    (work / "requirements.txt").write_text("tiny==1.0\n")
    found = await bench.open().find(bench.env("-r ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/requirements.txt"), str(work))
    assert version(found) == "1.0"


async def test_a_build_that_nobody_waits_for_is_killed(bench):
    shop = bench.open()
    env = slow_wheel(bench)
    waiting = [asyncio.create_task(shop.find(env, "")) for _ in range(2)]
    pid = await building(bench)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert not ended(pid)
    waiting[1].cancel()
    await until(lambda: ended(pid))
    assert "pip install" in shop.said(env, "")


async def test_a_node_that_ends_ends_its_builds_and_holds_nothing(bench):
    shop = bench.open()
    made, env = bench.env("tiny==1.0"), slow_wheel(bench)
    await shop.find(made, "")
    assert bench.holds(made)
    waiting = asyncio.create_task(shop.find(env, ""))
    pid = await building(bench)
    await shop.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: ended(pid))
    assert not bench.holds(made)
    assert not bench.holds(env)


async def test_who_gives_up_while_room_is_made_holds_nothing(bench):
    shop, env = bench.open(), bench.env("tiny==1.0")
    store = EnvironmentStore(bench.root)
    lock = open_lock(bench.root / "locks" / Recipe.of(env).digest("session"), fcntl.LOCK_EX)  # as an eviction does
    waiting = asyncio.create_task(shop.find(env, ""))
    await until(lambda: waits_for_lock(os.getpid()))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    os.close(lock)
    await until(lambda: not waits_for_lock(os.getpid()))
    await until(lambda: not bench.holds(env))
    store.close()


async def test_only_so_many_are_made_at_once(bench, monkeypatch):
    shop = bench.open()
    limit = max(2, os.cpu_count() or 1)
    now, most = 0, 0

    async def build(*_):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return 1

    monkeypatch.setattr(workshop, "_run_builder", build)
    wanted = [shop.find(bench.env(f"tiny=={number}"), "") for number in range(3 * limit)]
    found = await asyncio.gather(*wanted, return_exceptions=True)
    assert {type(each) for each in found} == {RuntimeEnvSetupError}
    assert most == limit


async def test_whoever_comes_while_a_build_is_ended_gets_one_of_their_own(bench):
    shop = bench.open()
    env = slow_wheel(bench)
    first = asyncio.create_task(shop.find(env, ""))
    await building(bench)
    first.cancel()
    await asyncio.sleep(0)  # the first is being ended, and has not ended
    second = asyncio.create_task(shop.find(env, ""))
    pid = await building(bench)
    assert first.cancelled()
    assert not second.done()
    second.cancel()
    await until(lambda: ended(pid))


NODE = """
import asyncio, sys
from pathlib import Path
from limelight.actors.runtime_env import RuntimeEnv
from limelight.cluster.environment.shelf import make_shelf
from limelight.cluster.environment.workshop import Workshop

async def main():
    folder = Path(sys.argv[1])
    shop = Workshop("session", folder, lambda: make_shelf(folder / "shelf"), Path(sys.argv[2]), 1 << 30)
    await shop.find(RuntimeEnv.deserialize(sys.argv[3]), "")

asyncio.run(main())
"""


async def test_a_node_that_is_killed_leaves_no_half_environment(bench):
    env = slow_wheel(bench)
    logs = bench.folder / "logs-of-node"
    logs.mkdir()
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", NODE, str(logs), str(bench.root), env.serialize())
    pid = await building(bench)
    node.send_signal(signal.SIGKILL)
    await node.wait()
    await until(lambda: ended(pid))
    assert len(bench.environments()) == 1
    assert bench.marks() == []
    # What is asked for next is the very same environment, whose build ends this time.
    slow = bench.folder / "slow"
    backend = slow / "backend.py"
    backend.write_text(
        "import pathlib, shutil\n"
        "def build_wheel(folder, *a, **k):\n"
        f"    return shutil.copy({str(make_wheel(bench.folder, 'slow'))!r}, folder).rsplit('/', 1)[1]\n"
    )
    left = bench.root / "environments" / bench.environments()[0] / "left-over"
    left.write_text("x")
    found = await bench.open().find(env, "")
    assert [found.digest] == bench.environments() == bench.marks()
    assert version(found, "slow") == "1.0"
    assert not left.exists()


async def test_a_killed_builder_is_a_failure_and_not_an_environment(bench):
    shop = bench.open()
    waiting = asyncio.create_task(shop.find(slow_wheel(bench), ""))
    pid = await building(bench)
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    with pytest.raises(RuntimeEnvSetupError, match="pip could not make"):
        await waiting
    assert bench.marks() == []


async def test_what_a_killed_builder_has_started_is_waited_for(bench):
    """Both would write to the same folder."""
    shop, env = bench.open(), slow_wheel(bench)
    first = asyncio.create_task(shop.find(env, ""))
    pid = await building(bench)
    os.kill(os.getpgid(pid), signal.SIGKILL)  # the builder alone, as the kernel does where memory runs out
    with pytest.raises(RuntimeEnvSetupError, match="pip could not make"):
        await first
    assert not ended(pid)
    second = asyncio.create_task(bench.open().find(env, ""))
    begun = bench.folder / "building"
    await until(lambda: begun.exists() or any(waits_for_lock(child.pid) for child in psutil.Process().children()))
    assert not begun.exists()
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    await building(bench)
    second.cancel()


def waits_for_lock(pid):
    return any(f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines() if "->" in line)


async def test_room_is_made_but_never_of_what_is_used(bench):
    shop = bench.open(quota=1)
    make_wheel(bench.wheels, "tiny", "2.0")
    make_wheel(bench.wheels, "tiny", "3.0")
    one = await shop.find(bench.env("tiny==1.0"), "")
    two = await shop.find(bench.env("tiny==2.0"), "")
    assert bench.marks() == sorted([one.digest, two.digest])
    shop.let_go(one)
    three = await shop.find(bench.env("tiny==3.0"), "")
    assert bench.marks() == sorted([two.digest, three.digest])
    assert version(two) == "2.0"


class TestCommands:
    async def test_an_interpreter_serves_as_a_zygote_and_a_wrapper_does_not(self, bench):
        shop = bench.open()
        wrapper = bench.folder / "wrapper"
        wrapper.write_text(f'#!/bin/sh\n{sys.executable} "$@"\n')
        wrapper.chmod(0o755)
        for command, forks in ((sys.executable, True), (f"{sys.executable} -X utf8", True), (str(wrapper), False)):
            found = await shop.find(RuntimeEnv(py_executable=command), "")
            assert (found.interpreter.forks, found.digest) == (forks, "")

    async def test_a_program_of_the_working_directory(self, bench):
        work = bench.folder / "work"
        work.mkdir()
        (work / "python").symlink_to(sys.executable)
        found = await bench.open().find(RuntimeEnv(py_executable="./python"), str(work))
        assert str(work / "python") in found.interpreter.command

    async def test_a_command_may_have_variables_of_the_node(self, bench, monkeypatch):
        monkeypatch.setenv("PLACE_OF_PYTHON", str(Path(sys.executable).parent))
        name = Path(sys.executable).name
        found = await bench.open().find(RuntimeEnv(py_executable="${PLACE_OF_PYTHON}/" + name), "")
        assert sys.executable in found.interpreter.command

    async def test_another_version_is_refused_with_both_named(self, bench):
        other = bench.folder / "python2.7"
        other.write_text("""#!/bin/sh\necho '{"tag": "cpython-2.7", "pid": 1, "executable": "/python2.7"}'\n""")
        other.chmod(0o755)
        with pytest.raises(RuntimeEnvSetupError, match=rf"cpython-2\.7.*{sys.version_info[0]}\.{sys.version_info[1]}"):
            await bench.open().find(RuntimeEnv(py_executable=str(other)), "")

    @pytest.mark.parametrize(
        ("command", "match"),
        [
            ("/no/such/python", "No such file"),
            ("echo hello", "hello"),
            ("sh -c 'echo oops >&2; exit 3'", r"code 3\).*\n?oops"),
        ],
    )
    async def test_what_is_no_python_is_refused_in_its_own_words(self, bench, command, match):
        with pytest.raises(RuntimeEnvSetupError, match=match):
            await bench.open().find(RuntimeEnv(py_executable=command), "")

    async def test_variables_that_come_too_late_for_a_fork_need_a_start(self, bench):
        shop = bench.open()
        env = RuntimeEnv(env_vars={"LD_LIBRARY_PATH": "/x:${NONE}", "OTHER": "1"})
        found = await shop.find(env, "")
        assert found.interpreter.variables == (("LD_LIBRARY_PATH", "/x:"),)
        assert preset(env, found) == ["LD_LIBRARY_PATH"]
        assert await shop.find(RuntimeEnv(env_vars={"OTHER": "1"}), "") == (None, "")


CONDA = """#!{python}
import json, pathlib, sys, venv
place = pathlib.Path(__file__).parent
if sys.argv[1:] == ["env", "list", "--json"]:
    print("WARNING: a new version is there", file=sys.stderr)
    print(json.dumps({{"envs": [str(path) for path in sorted(place.glob("envs/*"))]}}))
elif sys.argv[1:4] == ["env", "create", "--prefix"] and sys.argv[5] == "--file":
    wanted = json.loads(pathlib.Path(sys.argv[6]).read_text())["dependencies"]
    if "nothere" in wanted:
        sys.exit("PackagesNotFoundError: nothere")
    venv.EnvBuilder(symlinks=True).create(sys.argv[4])
    site = next(pathlib.Path(sys.argv[4]).glob("lib/python*/site-packages"))
    for name in wanted:
        (site / (name.replace("=", "_").replace(".", "_") + ".py")).write_text("VERSION = 'conda'")
else:
    sys.exit(f"no such command: {{sys.argv[1:]}}")
"""


class TestConda:
    @pytest.fixture
    def conda(self, bench, monkeypatch):
        """A program that takes conda's commands, and makes environments with Python and nothing else."""
        place = bench.folder / "bin"
        (place / "envs" / "broken").mkdir(parents=True)
        (place / "conda").write_text(CONDA.format(python=sys.executable))
        (place / "conda").chmod(0o755)
        for name in ("CONDA_EXE", "MAMBA_EXE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "envs" / "named")], check=True)
        return place

    async def test_a_document_becomes_an_environment(self, bench, conda):
        found = await bench.open().find(RuntimeEnv(conda={"dependencies": ["something"]}), "")
        assert version(found, "something") == "conda"
        variables = dict(found.interpreter.variables)
        assert variables["CONDA_PREFIX"] == str(Path(found.interpreter.command[0]).parent.parent)
        assert variables["PATH"].startswith(f"{variables['CONDA_PREFIX']}/bin:")

    async def test_its_failure_is_told(self, bench, conda):
        with pytest.raises(RuntimeEnvSetupError, match="PackagesNotFoundError: nothere"):
            await bench.open().find(RuntimeEnv(conda={"dependencies": ["nothere"]}), "")

    async def test_a_name_or_folder_is_found(self, bench, conda):
        for given in ("named", str(conda / "envs" / "named")):
            found = await bench.open().find(RuntimeEnv(conda=given), "")
            assert found.interpreter.command[0] == str(conda / "envs" / "named" / "bin" / "python")

    async def test_scripts_of_activation_run_first(self, bench, conda):
        scripts = conda / "envs" / "named" / "etc" / "conda" / "activate.d"
        scripts.mkdir(parents=True)
        (scripts / "x.sh").write_text("export ACTIVATED=yes")
        found = await bench.open().find(RuntimeEnv(conda="named"), "")
        done = await asyncio.to_thread(
            subprocess.run,
            [*found.interpreter.command, "-c", "import os; print(os.environ['ACTIVATED'])"],
            env={**os.environ, **dict(found.interpreter.variables)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "yes\n"

    async def test_an_unknown_name_names_those_there_are(self, bench, conda):
        with pytest.raises(RuntimeEnvSetupError, match="no conda environment 'other'; it has broken, named"):
            await bench.open().find(RuntimeEnv(conda="other"), "")

    async def test_without_conda_it_says_so(self, bench, monkeypatch):
        monkeypatch.setenv("PATH", str(bench.folder))
        for env in (RuntimeEnv(conda="named"), RuntimeEnv(conda={"dependencies": []})):
            with pytest.raises(RuntimeEnvSetupError, match="none of conda, mamba and micromamba"):
                await bench.open().find(env, "")
