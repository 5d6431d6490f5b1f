"""How an instance on a host begins, is known and ends, whatever happens between the steps."""

import asyncio
import contextlib
import os
import shutil
import sys

import msgspec
import psutil
import pytest

from limelight.cluster.provider.instance import NodeType
from limelight.cluster.provider.node_provider import run_here
from limelight.cluster.scheduling.resources import ResourceSet

from .grounds import PROGRAM, LocalGround

CPU = NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 2}))


@pytest.fixture
async def ground(tmp_path):
    made = LocalGround(tmp_path)
    yield made
    await made.clear()


def folder(ground, name="w-1"):
    return ground.folder / "instances" / "mine" / name


async def state(provider):
    return {one.name: one.state for one in await provider.instances()}


async def test_it_is_starting_until_it_is_set_up(ground):
    provider, gate = ground.provider(), ground.folder / "gate"
    start = msgspec.structs.replace(ground.start(), setup=(f"while [ ! -e {gate} ]; do sleep 0.02; done",))
    await provider.create(CPU, ["w-1"], start)
    await ground.until((folder(ground) / "pid").exists)
    assert await state(provider) == {"w-1": "starting"}
    assert not (ground.reports / "w-1").exists()
    gate.touch()
    await ground.report("w-1")
    assert await state(provider) == {"w-1": "running"}


async def test_a_set_up_that_fails_ends_it_and_nothing_after_it_runs(ground):
    provider = ground.provider()
    start = msgspec.structs.replace(ground.start(), setup=("echo no wheels for this; false", "echo went on"))
    await provider.create(CPU, ["w-1"], start)

    async def failed():
        return await state(provider) == {"w-1": "failed"}

    await ground.until(failed)
    [there] = await provider.instances()
    assert "no wheels for this" in there.text
    assert "went on" not in there.text
    assert not (ground.reports / "w-1").exists()


async def test_the_home_folder_may_stand_in_the_name_of_the_program(ground, monkeypatch):
    (ground.folder / "my venv").mkdir()
    program = ground.folder / "my venv" / "cluster"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(ground.folder))
    start = msgspec.structs.replace(ground.start(), program=("~/my venv/cluster", "~/it's", "$HOME"))
    await ground.provider().create(CPU, ["w-1"], start)
    assert (await ground.report("w-1"))["arguments"][:3] == [f"{ground.folder}/it's", "$HOME", "join"]


async def test_a_stranger_with_its_pid_is_not_taken_for_it_nor_killed(ground):
    """As after a reboot, or where pids have come round."""
    provider = ground.provider()
    [made] = (await provider.create(CPU, ["w-1"], ground.start())).instances
    report = await ground.report("w-1")
    os.kill(report["pid"], 9)
    await ground.until(lambda: ground.is_gone("w-1"))
    stranger = await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    try:
        note = folder(ground) / "pid"
        born = note.read_text().splitlines()[1]
        note.write_text(f"{stranger.pid}\n{born}\n")
        assert await state(provider) == {"w-1": "failed"}
        await provider.terminate([made.instance_id])
        assert await provider.instances() == []
        assert stranger.returncode is None
        os.kill(stranger.pid, 0)
    finally:
        stranger.kill()
        assert await stranger.wait() == -9, "it lived until now"


async def test_what_was_told_to_end_before_it_began_does_not_begin(ground):
    provider = ground.provider()
    await provider.create(CPU, ["w-1"], ground.start())
    await ground.report("w-1")
    late = folder(ground, "w-2")
    shutil.copytree(folder(ground), late)
    (late / "ending").touch()
    (ground.reports / "w-1").unlink()
    assert await run_here(["sh", str(late / "start")], timeout=20) == ""
    assert not (ground.reports / "w-1").exists(), "it would have said that it runs"
    shutil.rmtree(late)


async def test_those_that_make_the_same_one_at_the_same_time_make_one(ground):
    await asyncio.gather(*(ground.provider().create(CPU, ["w-1"], ground.start()) for _ in range(8)))
    await ground.report("w-1")
    assert len(list(nodes(ground))) == 1


def nodes(ground):
    """The node programs of this test."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(PROGRAM) in process.cmdline() and process.environ().get("NODE_REPORTS") == str(ground.reports):
                yield process
