"""A watch tells of a process's death once, at once, and never mistakes one process for another."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from limelight.cluster.process import watch
from limelight.cluster.process.identity import process_identity
from limelight.cluster.process.watch import ProcessWatch

from .process_death import wait_for_death

DEADLINE = 10


@pytest.fixture(params=["native", "polling"])
def mechanism(request, monkeypatch):
    """The system's own way of telling, and the fallback where there is none."""
    if request.param == "polling":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


async def test_a_death_is_told_once(mechanism, sleeper):
    told = []
    dead = asyncio.Event()
    ProcessWatch(sleeper.pid, lambda: (told.append(1), dead.set()))
    await asyncio.sleep(0)
    assert not told
    sleeper.kill()
    await asyncio.wait_for(dead.wait(), DEADLINE)
    sleeper.wait()
    await wait_for_death(sleeper.pid)
    assert told == [1]


async def test_it_does_not_reap(mechanism, sleeper):
    waiting = asyncio.ensure_future(wait_for_death(sleeper.pid))
    await asyncio.sleep(0)
    sleeper.send_signal(signal.SIGTERM)
    await asyncio.wait_for(waiting, DEADLINE)
    assert sleeper.wait() == -signal.SIGTERM


async def test_a_process_that_is_dead_already_is_told_at_once(mechanism, sleeper):
    sleeper.kill()
    sleeper.wait()
    await asyncio.wait_for(wait_for_death(sleeper.pid), DEADLINE)


async def test_a_stranger_with_the_same_pid_is_not_taken_for_the_process(mechanism, sleeper):
    await asyncio.wait_for(wait_for_death(sleeper.pid, identity="the start time of one long gone"), DEADLINE)
    assert sleeper.poll() is None


async def test_the_right_process_is_watched(mechanism, sleeper):
    waiting = asyncio.ensure_future(wait_for_death(sleeper.pid, process_identity(sleeper.pid)))
    await asyncio.sleep(0)
    assert not waiting.done()
    sleeper.kill()
    await asyncio.wait_for(waiting, DEADLINE)


async def test_a_closed_watch_tells_nothing(mechanism, sleeper):
    told = []
    closed = ProcessWatch(sleeper.pid, lambda: told.append(1))
    closed.close()
    closed.close()
    sleeper.kill()
    await asyncio.wait_for(wait_for_death(sleeper.pid), DEADLINE)
    assert not told


def test_a_zombie_is_dead(sleeper):
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not process_identity(sleeper.pid)
    assert process_identity(os.getpid()) == process_identity(os.getpid()) != ""
