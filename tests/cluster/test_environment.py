"""Runtime environments and the driver's own modules, end to end in a local session."""

import functools
import http.server
import os
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path

import pytest

import limelight as ll
from limelight.exceptions import RuntimeEnvSetupError

SECRET = "hunter2-not-for-logs"


@pytest.fixture(scope="module", autouse=True)
def session():
    ll.init(num_cpus=4, runtime_env={"env_vars": {"JOB": "job", "BOTH": "job", "HOMES": "${HOME}:x"}})
    yield
    ll.shutdown()


def variables(*names):
    return [os.environ.get(name) for name in names]


def child_variables(names, options):
    return ll.get(ll.remote(variables).options(**options).remote(*names))


def environment():
    return dict(ll.get_runtime_context().runtime_env)


def pid():
    return os.getpid()


def folder_here():
    return str(Path.cwd())


def in_env(function, *args, **env):
    return ll.get(ll.remote(function).options(runtime_env=env).remote(*args), timeout=30)


def test_the_jobs_variables_are_set_and_expanded():
    assert in_env(variables, "JOB", "HOMES") == ["job", f"{os.environ['HOME']}:x"]


def test_a_tasks_variables_join_its_jobs():
    assert in_env(variables, "JOB", "BOTH", "OWN", env_vars={"BOTH": "task", "OWN": "own"}) == ["job", "task", "own"]


def test_children_inherit_what_their_parent_has():
    names = ["JOB", "BOTH", "CHILD"]
    parent = {"env_vars": {"BOTH": "parent"}}
    assert in_env(child_variables, names, {}, **parent) == ["job", "parent", None]
    child = {"runtime_env": {"env_vars": {"CHILD": "child"}}}
    assert in_env(child_variables, names, child, **parent) == ["job", "parent", "child"]


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_actors_have_environments(isolation):
    @ll.remote(isolation=isolation, runtime_env={"env_vars": {"OWN": isolation}})
    class Reader:
        def read(self):
            return variables("JOB", "OWN")

    assert ll.get(Reader.remote().read.remote(), timeout=30) == ["job", isolation]


def test_processes_are_not_shared_between_environments():
    one, other = {"env_vars": {"X": "1"}}, {"env_vars": {"X": "2"}}
    assert len({in_env(pid), in_env(pid, **one), in_env(pid, **other)}) == 3
    assert in_env(pid, **one) == in_env(pid, **one)


def test_the_context_shows_the_environment():
    assert ll.get_runtime_context().runtime_env["env_vars"]["JOB"] == "job"
    assert in_env(environment, env_vars={"OWN": "own"})["env_vars"]["OWN"] == "own"


def test_a_working_directory_is_where_tasks_work(tmp_path):
    (tmp_path / "data.txt").write_text("content")
    (tmp_path / "shipped_beside.py").write_text("def answer():\n    return 42\n")

    def use():
        import shipped_beside  # pyright: ignore[reportMissingImports]

        return Path("data.txt").read_text(), shipped_beside.answer(), str(Path.cwd())

    content, answer, folder = in_env(use, working_dir=str(tmp_path))
    assert (content, answer) == ("content", 42)
    assert folder != str(tmp_path)
    assert in_env(folder_here) == str(Path.cwd())


def test_a_package_is_stored_once(tmp_path):
    (tmp_path / "data.txt").write_text("the same content")
    archives = Path(in_env(lambda: ll.get_runtime_context().get_temp_dir())) / "packages" / "archives"
    folder = in_env(folder_here, working_dir=str(tmp_path))
    before = sorted(archives.iterdir())
    assert in_env(folder_here, working_dir=str(tmp_path), env_vars={"OTHER": "1"}) == folder
    assert sorted(archives.iterdir()) == before
    (tmp_path / "data.txt").write_text("other content")
    # A new options object, as from a new call of `.options`; the environment has another name for its variables only.
    assert in_env(folder_here, working_dir=str(tmp_path), env_vars={"OTHER": "2"}) != folder


def test_a_folder_is_read_once_for_all_tasks_of_the_same_options(tmp_path):
    """What a thousand calls run in is one thing, whatever happens to the folder meanwhile."""
    (tmp_path / "data.txt").write_text("as it was")
    read = ll.remote(lambda: Path("data.txt").read_text()).options(runtime_env={"working_dir": str(tmp_path)})
    assert ll.get(read.remote(), timeout=30) == "as it was"
    (tmp_path / "data.txt").write_text("as it became")
    assert ll.get([read.remote() for _ in range(3)], timeout=30) == ["as it was"] * 3


def test_a_working_directory_may_lie_on_the_network(tmp_path):
    with zipfile.ZipFile(tmp_path / "repository.zip", "w") as archive:
        archive.writestr("repository-main/data.txt", "from afar")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        where = f"http://127.0.0.1:{server.server_port}"
        found = in_env(lambda: Path("data.txt").read_text(), working_dir=f"{where}/repository.zip")
        with pytest.raises(RuntimeEnvSetupError, match="answered 404"):
            in_env(pid, working_dir=f"{where}/nothing.zip")
        server.shutdown()
    assert found == "from afar"


def test_modules_are_shipped(tmp_path):
    package = tmp_path / "shipped_package"
    package.mkdir()
    (package / "__init__.py").write_text("NAME = 'package'\n")
    (tmp_path / "shipped_file.py").write_text("NAME = 'file'\n")

    def use():
        import shipped_file  # pyright: ignore[reportMissingImports]
        import shipped_package  # pyright: ignore[reportMissingImports]

        return shipped_package.NAME, shipped_file.NAME

    assert in_env(use, py_modules=[str(package), str(tmp_path / "shipped_file.py")]) == ("package", "file")
    with pytest.raises(ModuleNotFoundError):
        in_env(use)


@pytest.mark.parametrize(
    ("env", "error"),
    [
        ({"working_dir": "/no/such/folder"}, ValueError),
        ({"env_var": {}}, ValueError),
        ({"env_vars": {"A": 1}}, TypeError),
        ({"container": {}}, NotImplementedError),
        ({"pip": ["a"], "uv": ["a"]}, ValueError),
    ],
)
def test_nonsense_is_refused_when_it_is_given(env, error):
    with pytest.raises(error, match=r"\w"):
        ll.remote(variables).options(runtime_env=env)


def test_an_environment_that_cannot_be_made_fails_its_tasks(tmp_path):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"this is no archive")
    with pytest.raises(RuntimeEnvSetupError, match="cannot be unpacked"):
        in_env(pid, working_dir=str(broken))

    @ll.remote(runtime_env={"working_dir": str(broken)})
    class Never:
        def ping(self):
            return "pong"

    with pytest.raises(RuntimeEnvSetupError, match="cannot be unpacked"):
        ll.get(Never.remote().ping.remote(), timeout=30)
    assert in_env(lambda: 1) == 1


def test_an_environment_that_a_worker_cannot_enter_fails_its_tasks(tmp_path):
    odd = tmp_path / "odd.zip"
    with zipfile.ZipFile(odd, "w") as archive:
        archive.writestr("data.txt", "content")
    env = ll.runtime_env.RuntimeEnv(working_dir=str(odd))
    folder = Path(in_env(folder_here, **env))
    saved = folder.with_name("saved")
    folder.rename(saved)
    folder.write_text("no folder")
    try:
        with pytest.raises(RuntimeEnvSetupError, match="NotADirectoryError"):
            in_env(folder_here, **env, env_vars={"NEW": "worker"})
    finally:
        folder.unlink()
        saved.rename(folder)


def test_variables_stay_out_of_the_logs():
    assert in_env(variables, "PASSWORD", env_vars={"PASSWORD": SECRET}) == [SECRET]
    logs = Path(in_env(lambda: ll.get_runtime_context().get_temp_dir())) / "logs"
    texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert texts
    assert not any(SECRET.encode() in text for text in texts)


def test_modules_beside_the_drivers_script_need_no_environment(tmp_path):
    (tmp_path / "beside.py").write_text(
        "def double(x):\n    return 2 * x\n\nclass Box:\n    def __init__(self, x): self.x = x\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import limelight as ll, beside
        from pathlib import Path
        ll.init(num_cpus=1)
        print(ll.get(ll.remote(beside.double).remote(21)), ll.get(ll.put(beside.Box(1))).x)
        print(ll.get(ll.remote(lambda: str(Path.cwd())).remote()) == str(Path.cwd()))
        """)
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = subprocess.run(
        [sys.executable, str(script)], cwd=elsewhere, capture_output=True, text=True, timeout=50, check=False
    )
    assert run.stdout.split() == ["42", "1", "True"], run.stderr
