"""The contract of every spawner: what a worker finds, how its end is reported, and that nothing outlives it."""

import asyncio
import contextlib
import errno
import json
import os
import resource
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from limelight.cluster.environment.shelf import make_shelf
from limelight.cluster.process.fresh import FreshSpawner
from limelight.cluster.process.interpreter import Interpreter
from limelight.cluster.process.spawn import ProcessExit, SpawnerLostError, SpawnError, SpawnRequest, WorkerProcess
from limelight.cluster.process.zygote import start_fresh_zygote

from .process_death import wait_for_death

MAIN = "worker_mains:main"
DEADLINE = 20

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")


@pytest.fixture(params=["zygote", "fresh", "foreign zygote", "foreign fresh"])
async def spawner(request, monkeypatch, tmp_path):
    """A started spawner of each kind; closed, and with it every process, after the test."""
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", here, prepend=os.pathsep)
    start = [sys.executable, "-m"]
    if "foreign" in request.param:
        start = Interpreter((sys.executable,)).starting(make_shelf(tmp_path / "shelf"))
    made = start_fresh_zygote(MAIN, start) if "zygote" in request.param else FreshSpawner(MAIN, start)
    yield made
    await asyncio.wait_for(made.close(), DEADLINE)


@dataclass
class Worker:
    """A spawned worker and the read ends of its output."""

    process: WorkerProcess
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    async def ended(self) -> ProcessExit:
        return await asyncio.wait_for(asyncio.shield(self.process.exited), DEADLINE)

    async def line(self) -> str:
        line = await asyncio.wait_for(self.stdout.readline(), DEADLINE)
        assert line, (await self.stderr.read()).decode()
        return line.decode().rstrip("\n")


@pytest.fixture
async def start(spawner):
    """Starts workers that run a command of worker_mains.py."""
    async with contextlib.AsyncExitStack() as stack:

        async def start_(command: str, spawn_id: str = "a", env: dict[str, str] | None = None) -> Worker:
            (out, stdout), (err, stderr) = os.pipe(), os.pipe()
            readers = [await reading(stack, descriptor) for descriptor in (out, err)]
            request = SpawnRequest(spawn_id, "limelight: worker idle", env or {}, command.encode())
            return Worker(await spawner.spawn(request, stdout, stderr), *readers)

        yield start_


async def reading(stack: contextlib.AsyncExitStack, descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    file = stack.enter_context(os.fdopen(descriptor, "rb", buffering=0))
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    stack.callback(transport.close)
    return reader


async def test_a_worker_finds_its_own_group_environment_streams_and_title(start):
    worker = await start("report", env={"LIMELIGHT_TEST": "seen"})
    found = json.loads(await worker.line())
    assert found["pid"] == found["pgid"] == worker.process.pid
    assert found["stdin"] == ""
    assert found["env"] == "seen"
    assert found["title"].startswith("limelight: worker idle")
    assert found["argv"] == ["limelight: worker idle"]
    assert found["main"] == []
    assert found["sigterm"]
    if sys.platform == "linux":
        assert found["oom"] == "1000"
    assert (await worker.ended()).exit_code == 0


async def test_a_worker_inherits_no_descriptor_of_the_node_process(start):
    secret = os.open(os.devnull, os.O_RDONLY)
    with contextlib.closing(os.fdopen(secret)):
        found = json.loads(await (await start("report")).line())
    # Beside the three standard streams: the open directory itself, and in a fresh interpreter the lifeline.
    assert len(found["descriptors"]) <= 5, found


async def test_two_workers_draw_different_random_numbers(start):
    first, second = [json.loads(await (await start("report", spawn_id)).line())["random"] for spawn_id in "ab"]
    assert all(mine != its for mine, its in zip(first, second, strict=True))


async def test_a_request_larger_than_a_socket_buffer_arrives_whole(start):
    found = json.loads(await (await start("report " + "x" * 3_000_000)).line())
    assert found["config_size"] == 3_000_007


@pytest.mark.parametrize(
    ("command", "code", "stderr"), [("leave 7", 7, ""), ("leave bye", 1, "bye"), ("fail", 1, "ValueError: on purpose")]
)
async def test_an_exit_code_is_reported_and_the_last_words_are_there(start, command, code, stderr):
    worker = await start(command)
    exit_ = await worker.ended()
    assert (exit_.exit_code, exit_.signal, exit_.pid) == (code, None, worker.process.pid)
    assert stderr in (await worker.stderr.read()).decode()
    if command.startswith("leave"):
        assert await worker.line() == "atexit ran"


async def test_a_crash_is_reported_with_its_signal_and_a_dump(start):
    worker = await start("crash")
    exit_ = await worker.ended()
    assert (exit_.exit_code, exit_.signal) == (None, signal.SIGSEGV)
    assert "Fatal Python error: Segmentation fault" in (await worker.stderr.read()).decode()


async def test_peak_memory_is_reported(start):
    parents = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    exit_ = await (await start(f"allocate {parents + (200 << 20)}")).ended()
    assert parents + (200 << 20) < exit_.max_rss_bytes < parents + (400 << 20)


async def test_the_peak_of_the_process_that_starts_a_worker_is_not_the_workers(start):
    small = await (await start("leave 0")).ended()
    large = bytearray(300 << 20)
    large[::4096] = b"x" * len(large[::4096])
    del large
    after = await (await start("leave 0", "b")).ended()
    assert after.max_rss_bytes < 200 << 20
    assert small.max_rss_bytes < 200 << 20


async def test_a_signal_kills_a_live_worker_and_only_it(spawner, start):
    doomed, other = await start("hold", "a"), await start("hold", "b")
    assert await doomed.line() == await other.line() == "ready"
    spawner.signal("a", signal.SIGKILL)
    assert (await doomed.ended()).signal == signal.SIGKILL
    spawner.signal("a", signal.SIGKILL)  # has ended: no effect
    spawner.signal("nobody", signal.SIGKILL)
    assert await (await start("echo alive", "c")).line() == "alive"
    assert not other.process.exited.done()


async def test_an_interrupt_does_not_end_a_worker(spawner, start):
    worker = await start("hold")
    assert await worker.line() == "ready"
    spawner.signal("a", signal.SIGINT)
    spawner.signal("a", signal.SIGTERM)
    assert (await worker.ended()).signal == signal.SIGTERM


@pytest.mark.parametrize("command", ["hold_with_child", "hold_with_child exit"])
async def test_what_a_worker_started_ends_with_it(spawner, start, command):
    worker = await start(command)
    child = int(await worker.line())
    spawner.signal("a", signal.SIGKILL)
    await worker.ended()
    await asyncio.wait_for(wait_for_death(child), DEADLINE)


async def test_a_spawn_id_can_be_used_again_only_after_its_process_has_ended(spawner, start):
    worker = await start("hold")
    with pytest.raises(ValueError, match="'a'"):
        await start("hold")
    spawner.signal("a", signal.SIGKILL)
    await worker.ended()
    assert await (await start("echo again")).line() == "again"


async def test_many_start_and_end_at_once(start):
    workers = await asyncio.gather(*(start(f"echo {index}", str(index)) for index in range(8)))
    assert [await worker.line() for worker in workers] == [str(index) for index in range(8)]
    assert [(await worker.ended()).exit_code for worker in workers] == [0] * 8


async def test_close_kills_all_and_reports_their_ends(spawner, start):
    workers = [await start("hold", spawn_id) for spawn_id in "abc"]
    await asyncio.wait_for(spawner.close(), DEADLINE)
    assert [worker.process.exited.result().signal for worker in workers] == [signal.SIGKILL] * 3
    with pytest.raises(SpawnerLostError, match="closed"):
        await start("hold", "d")
    await spawner.close()


async def test_the_callers_descriptors_are_taken_over_even_when_it_fails(spawner, start):
    await spawner.close()
    before = open_descriptors()
    stdout, stderr = os.open(os.devnull, os.O_WRONLY), os.open(os.devnull, os.O_WRONLY)
    with pytest.raises(SpawnerLostError):
        await spawner.spawn(SpawnRequest("a", "", {}, b""), stdout, stderr)
    assert open_descriptors() == before


def open_descriptors() -> list[str]:
    return sorted(entry.name for entry in Path("/dev/fd").iterdir())


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


async def test_a_spawn_that_fails_for_want_of_disk_leaves_no_descriptor(monkeypatch):
    def full(**_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    spawner = FreshSpawner(MAIN)
    before = descriptors()
    nulls = [os.open(os.devnull, os.O_WRONLY) for _ in range(2)]
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(SpawnError, match="No space left"):
        await spawner.spawn(SpawnRequest("a", "worker", {}, b"hold"), *nulls)
    assert descriptors() == before
