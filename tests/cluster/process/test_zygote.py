"""What only a zygote does: it forks from the process that made it, and it, its workers and its maker die together."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from limelight.cluster.process.spawn import SpawnerLostError, SpawnRequest
from limelight.cluster.process.spawner_set import SpawnerSet
from limelight.cluster.process.zygote import start_fresh_zygote, start_zygote

from .process_death import wait_for_death

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the zygote serves on Linux")
DEADLINE = 20

NODE = textwrap.dedent(
    """
    import asyncio, os, sys, threading
    from limelight.cluster.process.spawn import SpawnRequest
    from limelight.cluster.process.zygote import start_zygote

    warm = {"imported": "before the fork"}

    def main(request):
        sys.stdout.write(f"{warm['imported']} {request.config.decode()} {threading.active_count()}\\n")
        threading.Event().wait()

    client = start_zygote(main)

    async def node():
        for index in range(2):
            null = os.open(os.devnull, os.O_WRONLY)
            worker = await client.spawn(SpawnRequest(str(index), "worker", {}, b"hello"), os.dup(1), null)
            os.write(1, f"{worker.pid}\\n".encode())  # a line at once: others write to the pipe, too
        os.write(1, f"{client.pid}\\n".encode())
        await asyncio.Event().wait()

    asyncio.run(node())
    """
)


async def spawn_holding(zygote, spawn_id="a"):
    """A worker that has begun to run and stays."""
    out, stdout = os.pipe()
    stderr = os.open(os.devnull, os.O_WRONLY)
    worker = await zygote.spawn(SpawnRequest(spawn_id, "worker", {}, b"hold"), stdout, stderr)
    with os.fdopen(out, "rb") as reader:
        assert await asyncio.to_thread(reader.readline) == b"ready\n"
    return worker


@pytest.fixture
async def zygote(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    client = start_fresh_zygote("worker_mains:main")
    yield client
    await asyncio.wait_for(client.close(), DEADLINE)


async def test_workers_share_what_the_node_process_imported_and_die_with_it_when_it_is_killed():
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", NODE, stdout=subprocess.PIPE)
    try:
        lines = [(await asyncio.wait_for(node.stdout.readline(), DEADLINE)).decode().strip() for _ in range(5)]
        pids = [int(line) for line in lines if line.isdigit()]
        assert lines.count("before the fork hello 1") == 2, lines
        assert len(pids) == 3
        node.kill()
        await asyncio.wait_for(asyncio.gather(*map(wait_for_death, pids)), DEADLINE)
    finally:
        if node.returncode is None:
            node.kill()
        await node.wait()


async def test_workers_die_with_a_killed_zygote_and_everyone_waiting_is_told(zygote):
    worker = await spawn_holding(zygote)
    os.kill(zygote.pid, signal.SIGSTOP)  # so that the next request is under way when it dies
    starting = asyncio.ensure_future(spawn_holding(zygote, "b"))
    await asyncio.sleep(0)
    os.kill(zygote.pid, signal.SIGKILL)
    exit_ = await asyncio.wait_for(worker.exited, DEADLINE)
    assert (exit_.exit_code, exit_.signal) == (None, None)
    await asyncio.wait_for(wait_for_death(worker.pid), DEADLINE)
    for attempt in (starting, spawn_holding(zygote, "c")):
        with pytest.raises(SpawnerLostError, match=f"pid {zygote.pid}"):
            await asyncio.wait_for(attempt, DEADLINE)


async def test_a_cancelled_spawn_leaves_no_worker(zygote):
    os.kill(zygote.pid, signal.SIGSTOP)
    out, stdout = os.pipe()
    spawning = asyncio.ensure_future(zygote.spawn(SpawnRequest("a", "worker", {}, b"hold"), stdout, os.dup(stdout)))
    await asyncio.sleep(0)
    spawning.cancel()
    os.kill(zygote.pid, signal.SIGCONT)
    with pytest.raises(asyncio.CancelledError):
        await spawning
    with os.fdopen(out, "rb") as reader:
        # The pipe ends when its last writer, the worker, does.
        assert await asyncio.wait_for(asyncio.to_thread(reader.read), DEADLINE) in {b"", b"ready\n"}


async def test_close_does_not_wait_for_ever_for_a_zygote_that_hangs(zygote, monkeypatch):
    monkeypatch.setattr("limelight.cluster.process.zygote_client._CLOSE_SECONDS", 0.05)
    worker = await spawn_holding(zygote)
    os.kill(zygote.pid, signal.SIGSTOP)
    await asyncio.wait_for(zygote.close(), DEADLINE)
    await asyncio.wait_for(wait_for_death(worker.pid), DEADLINE)


def test_a_process_with_threads_is_not_forked():
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="somebody")
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="somebody"):
            start_zygote(lambda _request: None)
    finally:
        release.set()
        thread.join()


DYING = textwrap.dedent(
    """
    import asyncio, os, signal, sys
    from pathlib import Path
    from limelight.cluster.process.spawn import SpawnRequest
    from limelight.cluster.process.zygote import start_zygote

    client = start_zygote(lambda _: None, orphaned=Path(sys.argv[1]).touch)

    async def node():
        os.kill(client.pid, signal.SIGSTOP)
        null = os.open(os.devnull, os.O_WRONLY)
        asyncio.ensure_future(client.spawn(SpawnRequest("a", "worker", {}, b""), os.dup(null), null))
        await asyncio.sleep(0)
        os.write(1, f"{client.pid}\\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(node())
    """
)


async def test_a_zygote_sees_to_what_is_left_although_nobody_hears_its_last_answer(tmp_path):
    """The node process was killed after it had asked for a worker and before it got one."""
    seen = tmp_path / "seen"
    with subprocess.Popen([sys.executable, "-c", DYING, str(seen)], stdout=subprocess.PIPE) as node:  # noqa: ASYNC220
        zygote = int(await asyncio.to_thread(node.stdout.readline))
        assert await asyncio.to_thread(node.wait) == -signal.SIGKILL
        os.kill(zygote, signal.SIGCONT)
        await asyncio.wait_for(wait_for_death(zygote), DEADLINE)
    assert seen.exists()


async def test_a_worker_can_be_signalled_before_it_is_known_to_run(zygote, tmp_path):
    """It may have reported, and be of no use, before its zygote has."""
    spawners = SpawnerSet(zygote, "worker_mains:main", tmp_path, lambda: tmp_path)
    nulls = [os.open(os.devnull, os.O_WRONLY) for _ in range(2)]
    spawning = asyncio.ensure_future(spawners.spawn(SpawnRequest("a", "worker", {}, b"hold"), *nulls))
    await asyncio.sleep(0)
    spawners.signal("a", signal.SIGKILL)
    worker = await asyncio.wait_for(spawning, DEADLINE)
    assert (await asyncio.wait_for(worker.exited, DEADLINE)).signal == signal.SIGKILL
