"""Fixtures for every test, and the check that a test module leaves nothing behind."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.leaks import RUN_MARK, TaskWatch, Watch, end

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("busy machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

task_watch = TaskWatch()
run_id = uuid.uuid4().hex
GRACE = 5.0
"""Seconds that what is on its way out is given before it counts as left behind."""

private_folder = pytest.StashKey[str]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Mark our processes, give the run a temporary folder of its own, and watch the event loops."""
    # pytest keeps `tmp_path` of failed tests, so these stay where a person looks for them.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # A short name: a Unix socket's path has room for 107 bytes.
    folder = tempfile.mkdtemp(prefix="ll")
    config.stash[private_folder] = folder
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    os.environ[RUN_MARK] = run_id
    task_watch.install()


def pytest_unconfigure(config: pytest.Config) -> None:
    task_watch.uninstall()
    shutil.rmtree(config.stash[private_folder], ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a module whose tests leave processes, threads, tasks, shared memory, sockets or session folders behind.

    It is set up before all other fixtures of the module and checked after them, so whatever a fixture of the module
    or of a function started must be gone by then. A fixture of session scope cannot hold a running session.
    """
    task_watch.take()
    watch = Watch(run_id, GRACE)
    yield
    leaks = watch.left_behind()
    end(leaks)
    left = [*leaks.values(), *task_watch.take()]
    if left:
        pytest.fail(f"{request.node.nodeid} left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def ll_local() -> Iterator[None]:
    """A local session of four CPUs, for one test."""
    yield from local_session()


@pytest.fixture(scope="module")
def ll_shared() -> Iterator[None]:
    """A local session of four CPUs, for all tests of the module that ask for it: for tests that leave it as it was."""
    yield from local_session()


def local_session() -> Iterator[None]:
    import limelight as ll

    ll.init(num_cpus=4)
    try:
        yield
    finally:
        ll.shutdown()
