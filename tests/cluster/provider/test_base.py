"""What all providers have of their base: several at a time, errors that are complete, programs that do not hang."""

import asyncio
import os

import pytest

from limelight.cluster.provider import node_provider
from limelight.cluster.provider.instance import Instance, NodeType
from limelight.cluster.provider.node_provider import NodeProvider, ProviderError, run_here
from limelight.cluster.provider.node_start import NodeStart, node_script

CPU = NodeType(name="cpu")


class Counting(NodeProvider):
    """Counts how many are being made or ended at a time; refuses what is named "no"."""

    def __init__(self):
        super().__init__("mine")
        self.now = self.most = 0
        self.ended = []

    async def instances(self):
        return []

    def shell_command(self, instance, command=(), *, terminal=False):
        return list(command)

    async def _busy(self):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.now -= 1

    async def _make(self, node_type, name, start, role):
        await self._busy()
        if name.startswith("no"):
            raise ProviderError(f"{name}: quota")
        return Instance(name, name, node_type.name, "starting")

    async def _end(self, instance_id):
        await self._busy()
        if instance_id.startswith("no"):
            raise ProviderError(f"{instance_id}: locked")
        self.ended.append(instance_id)


async def test_only_so_many_are_made_or_ended_at_a_time(monkeypatch):
    provider = Counting()
    names = [f"w-{i}" for i in range(100)]
    made = await provider.create(CPU, names, NodeStart())
    assert len(made.instances) == 100
    await provider.terminate(names)
    assert provider.most == node_provider.AT_A_TIME


async def test_what_could_not_be_ended_is_told_and_the_others_are():
    provider = Counting()
    with pytest.raises(ProviderError, match="no-1: locked; no-2: locked"):
        await provider.terminate(["no-1", "w-1", "no-2", "w-2"])
    assert provider.ended == ["w-1", "w-2"]


async def test_each_reason_is_told_once():
    made = await Counting().create(CPU, ["no-1", "w-1", "no-2"], NodeStart())
    assert made.error == "no-1: quota; no-2: quota"
    assert [one.name for one in made.instances] == ["w-1"]


async def test_who_does_not_wait_any_more_does_not_end_it_for_others():
    provider = Counting()
    first = asyncio.create_task(provider.create(CPU, ["w"], NodeStart()))
    second = asyncio.create_task(provider.create(CPU, ["w"], NodeStart()))
    await asyncio.sleep(0)
    first.cancel()
    assert [one.name for one in (await second).instances] == ["w"]


async def test_a_program_that_hangs_is_killed_and_told(tmp_path):
    pid = tmp_path / "pid"
    with pytest.raises(ProviderError, match=r"has not ended within 0\.5 s, and was killed"):
        await run_here(["sh", "-c", f"echo $$ >{pid}; exec sleep 1000"], timeout=0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_secret_is_in_no_error():
    with pytest.raises(ProviderError, match="exit code 3: bad token <token>") as raised:
        await run_here(["sh"], stdin="echo bad token abcdef >&2; exit 3", secret="abcdef")
    assert "abcdef" not in str(raised.value)


async def test_a_program_that_is_not_there_is_named():
    with pytest.raises(ProviderError, match="`no-such-program` cannot be run here: No such file"):
        await run_here(["no-such-program"])


async def test_where_a_set_up_command_fails_no_node_is_started(tmp_path):
    """On every kind of machine: their scripts share these lines."""
    start = NodeStart(
        head="h:1", setup=("true", "false", f"touch {tmp_path}/after"), program=("touch", f"{tmp_path}/node")
    )
    with pytest.raises(ProviderError, match="exit code 1"):
        await run_here(["sh"], stdin=node_script(CPU, "w", start, "worker", f"{tmp_path}/token"))
    assert list(tmp_path.iterdir()) == []
