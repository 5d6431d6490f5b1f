"""A worker's output: all of it in its file, in order to whoever watches, and never much of it in memory."""

import asyncio
import os
import resource
import sys

import pytest

from limelight.cluster.process import output_follower
from limelight.cluster.process.log_batch import LogOrigin
from limelight.cluster.process.output import WorkerOutput

DEADLINE = 20
ORIGIN = LogOrigin(b"job1", "idle", 7, "10.0.0.1")


class Watcher:
    """A sink that remembers what it got, and can be made slow."""

    def __init__(self):
        self.batches = []
        self.news = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, batch):
        await self.open.wait()
        self.batches.append(batch)
        self.news.set()

    @property
    def lines(self):
        return [line for batch in self.batches for line in batch.lines]

    async def wait_for_line(self, line):
        async with asyncio.timeout(DEADLINE):
            while line not in self.lines:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def watcher():
    return Watcher()


@pytest.fixture
async def output(tmp_path, watcher):
    made = WorkerOutput(tmp_path, "worker-1", ORIGIN, watcher)
    yield made
    watcher.open.set()
    await asyncio.wait_for(made.finish(), DEADLINE)


async def run(output, code):
    """Run Python code that prints to the pipes; returns when it has ended."""
    stdout, stderr = output.child_ends
    with os.fdopen(stdout, "wb"), os.fdopen(stderr, "wb"):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=stdout, stderr=stderr)
    assert await asyncio.wait_for(process.wait(), DEADLINE) == 0


async def test_lines_reach_the_file_and_the_watcher(output, watcher, tmp_path):
    await run(output, "import sys; print('hello'); print('oh', file=sys.stderr)")
    await output.finish()
    assert (tmp_path / "worker-1.out").read_text() == "hello\n"
    assert (tmp_path / "worker-1.err").read_text() == "oh\n"
    assert sorted((batch.stream, batch.lines) for batch in watcher.batches) == [
        ("stderr", ["oh"]),
        ("stdout", ["hello"]),
    ]
    assert {(batch.job_id, batch.name, batch.pid, batch.node) for batch in watcher.batches} == {
        (b"job1", "idle", 7, "10.0.0.1")
    }


async def test_a_silent_worker_makes_no_files(output, tmp_path):
    await run(output, "pass")
    await output.finish()
    assert list(tmp_path.iterdir()) == []


async def test_log_files_are_private(output, tmp_path):
    await run(output, "print('secret')")
    await output.finish()
    assert (tmp_path / "worker-1.out").stat().st_mode & 0o777 == 0o600


async def test_lines_are_shown_while_the_worker_runs(output, watcher):
    os.write(output.child_ends[0], b"first\n")
    await watcher.wait_for_line("first")
    os.write(output.child_ends[0], b"second\n")
    await watcher.wait_for_line("second")
    close_child_ends(output)


async def test_text_without_a_line_end_is_shown_after_a_while(output, watcher, monkeypatch):
    monkeypatch.setattr(output_follower, "PARTIAL_LINE_SECONDS", 0.01)
    os.write(output.child_ends[1], b"\r 10%\r 20%")
    await watcher.wait_for_line(" 20%")
    close_child_ends(output)


async def test_the_origin_may_change_between_jobs(output, watcher):
    os.write(output.child_ends[0], b"for one\n")
    await watcher.wait_for_line("for one")
    output.set_origin(LogOrigin(b"job2", "idle", 7, "10.0.0.1"))
    os.write(output.child_ends[0], b"for two\n")
    await watcher.wait_for_line("for two")
    assert [(batch.job_id, batch.lines) for batch in watcher.batches] == [
        (b"job1", ["for one"]),
        (b"job2", ["for two"]),
    ]
    close_child_ends(output)


async def test_a_flood_that_nobody_takes_fills_the_file_and_not_the_memory(output, watcher, tmp_path):
    watcher.open.clear()
    await run(output, "print('warm up')")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = WorkerOutput(tmp_path, "worker-2", ORIGIN, watcher)
    await run(flood, "import sys\nfor i in range(400_000): sys.stdout.write(f'{i:0100d}\\n')")
    flood.drain()
    assert (tmp_path / "worker-2.out").stat().st_size == 400_000 * 101
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 8 << 10, f"{grown} KiB for 40 MB of output"
    watcher.open.set()
    await asyncio.wait_for(flood.finish(), DEADLINE)
    assert watcher.lines[-1] == f"{399_999:0100d}"
    assert len(watcher.lines) == 400_001  # with "warm up"


async def test_the_tail_is_the_end_of_stderr_also_after_finish(output):
    await run(output, "import sys\nfor i in range(100_000): print(i, file=sys.stderr)")
    output.drain()
    assert output.tail().endswith("99998\n99999\n")
    assert len(output.tail()) == 16 << 10
    before = output.tail()
    await output.finish()
    assert output.tail() == before


async def test_a_descendant_that_holds_the_pipe_does_not_hold_up_the_end(output, watcher):
    stdout, stderr = output.child_ends
    holder = await asyncio.create_subprocess_exec("sleep", "1000", stdout=stdout, stderr=stderr)
    try:
        os.write(stdout, b"last words\n")
        close_child_ends(output)
        await asyncio.wait_for(output.finish(), DEADLINE)
        assert watcher.lines == ["last words"]
    finally:
        holder.kill()
        await holder.wait()


async def test_a_watcher_that_fails_costs_its_batch_only(tmp_path, caplog):
    seen = []

    async def sink(batch):
        seen.extend(batch.lines)
        raise ConnectionError("the driver is gone")

    output = WorkerOutput(tmp_path, "worker-3", ORIGIN, sink)
    await run(output, "print('a')")
    await output.finish()
    assert seen == ["a"]
    assert (tmp_path / "worker-3.out").read_text() == "a\n"
    assert "1 lines of idle (pid 7) were not shown" in caplog.text


async def test_a_disk_that_is_full_is_reported_once_and_the_tail_is_kept(tmp_path, watcher, caplog):
    output = WorkerOutput(tmp_path, "full", ORIGIN, watcher)
    (tmp_path / "full.err").symlink_to("/dev/full")
    await run(output, "import sys\nfor i in range(1000): print('lost', i, file=sys.stderr, flush=True)")
    await output.finish()
    assert caplog.text.count("can not be written") == 1
    assert output.tail().endswith("lost 999\n")


def close_child_ends(output):
    for descriptor in output.child_ends:
        os.close(descriptor)
