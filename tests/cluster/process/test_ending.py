"""How a process ends: whatever waits for good is left, and the log says where it was."""

import asyncio
import subprocess
import sys

import pytest

from limelight.cluster.process.ending import Ending
from limelight.cluster.process.last_step import last_step

_PREPARE = """
import asyncio, threading, time
from limelight.cluster.process.ending import Ending

async def main():
    ending = Ending(0.5, cut=True)
"""
_HANGS = {
    "the loop stands still": (
        """
    async def stuck(): time.sleep(60)
    await ending.step("it is stuck", stuck())
""",
        "in stuck",
    ),
    "a thread keeps the interpreter": (
        """
    threading.Thread(target=time.sleep, args=(60,)).start()
    ending.begin()
""",
        "in _shutdown",
    ),
    "it never comes to its first step": (
        """
    asyncio.get_running_loop().call_soon(ending.begin)
    await asyncio.Event().wait()
""",
        "main:",
    ),
}


@pytest.fixture
def ending():
    made = Ending(60, cut=False)
    yield made
    made.done()


async def never_finishes() -> None:
    await asyncio.Event().wait()


async def test_a_step_that_takes_too_long_is_left_and_the_log_says_what_it_waits_for(ending, caplog):
    done = []

    async def next_step() -> None:
        done.append("next")

    with caplog.at_level("INFO"):
        await ending.step("it waits for good", never_finishes(), 0.05)
        await ending.step("the rest", next_step())
    assert done == ["next"]
    assert "ending: it waits for good: not done within 0.05 s" in caplog.text
    assert "never_finishes:" in caplog.text
    assert "> Event.wait:" in caplog.text
    assert caplog.messages[-1] == "ending: the rest"


async def test_a_step_that_fails_is_logged_and_the_next_is_done(ending, caplog):
    async def fails() -> None:
        raise OSError("the disk is gone")

    await ending.step("it writes", fails())
    await ending.step("the rest", asyncio.sleep(0))
    assert "ending: it writes: it failed" in caplog.text
    assert "OSError: the disk is gone" in caplog.text


@pytest.mark.parametrize(("hang", "where"), _HANGS.values(), ids=_HANGS)
def test_a_process_whose_time_is_up_is_cut_and_says_where_it_was(hang, where):
    program = f"{_PREPARE}{hang}\nasyncio.run(main())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=40)
    assert ended.returncode == 1
    assert "Timeout (0:00:00.500000)!" in ended.stderr
    assert where in ended.stderr


def test_what_a_process_is_at_is_in_its_log(tmp_path):
    log = tmp_path / "head.log"
    assert last_step(log) == ""
    log.write_text("12:00 INFO listening\n")
    assert last_step(log) == ""
    log.write_text("x" * 200_000 + "\n12:01 INFO ending: the dashboard is closed\n12:02 INFO something else\n")
    assert last_step(log) == "the dashboard is closed"
