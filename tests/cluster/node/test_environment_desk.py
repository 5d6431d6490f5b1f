"""A node's runtime environments: waited for, told of when they fail, kept while a worker may come, and let go."""

import asyncio
import secrets

import pytest

from limelight.actors.contract import HEAD, EnvironmentDefinition, PrepareEnvironment, ReadPackage, decoder_of, encode
from limelight.actors.package import SCHEME, build_package
from limelight.actors.runtime_env import RuntimeEnv
from limelight.cluster import package_copy
from limelight.cluster.environment.workshop import Found
from limelight.cluster.node import environment_desk
from limelight.cluster.node.environment_desk import EnvironmentDesk
from limelight.cluster.node.package_desk import PackageDesk
from limelight.cluster.package_store import PackageStore
from limelight.cluster.process.interpreter import Interpreter
from limelight.cluster.system_process import Arrived, SystemActor, SystemProcess
from limelight.exceptions import RuntimeEnvSetupError
from limelight.transport.address import ProcessAddress
from limelight.transport.protocol import Call
from tests.cluster.listening import listening
from tests.waiting import until

FOUND = Found(Interpreter(("/made/python",), (), True), "made")
IDLE_S = 0.05


class HeadDouble(SystemActor):
    """What a node reaches as its head: answers once there is one."""

    name = HEAD

    def __init__(self, store: PackageStore) -> None:
        super().__init__(asyncio.get_running_loop())
        self.store = store
        self.definition = b""
        self.there = asyncio.Event()
        self.there.set()
        self.asked: list[str] = []

    def on_receive(self, message) -> None:
        match message:
            case Arrived(channel, call):
                self.asked.append(call.method)
                self.spawn(self._answer(channel, call))

    def spawn(self, coroutine) -> None:
        self._task = asyncio.ensure_future(coroutine)

    async def _answer(self, channel, call) -> None:
        await self.there.wait()
        if call.method == "ReadPackage":
            wanted = decoder_of(ReadPackage).decode(call.body)
            channel.reply(call.call_id, self.store.archive(wanted.uri).read_bytes()[wanted.offset :])
        else:
            channel.reply(call.call_id, self.definition)


class WorkshopDouble:
    """Makes what it is told to make, or fails as it is told to."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.hangs = False
        self.asked = 0
        self.let: list[Found] = []

    async def find(self, env, folder) -> Found:
        del env, folder
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        return FOUND

    def said(self, env, folder) -> str:
        del env, folder
        return " what it has said"

    def let_go(self, found: Found) -> None:
        self.let.append(found)

    async def close(self) -> None:
        pass


class SpawnersDouble:
    def __init__(self) -> None:
        self.retired: list[Interpreter] = []

    async def retire(self, interpreter: Interpreter) -> None:
        self.retired.append(interpreter)


class Node:
    """Its desk, and the doubles around it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.process = SystemProcess()
        self.workshop = WorkshopDouble()
        self.spawners = SpawnersDouble()
        self.packages = PackageDesk(self.process, folder / "packages", 1 << 30, list)

    async def start(self) -> None:
        await listening("node", self.process)
        self.head = self.process.actors[HEAD] = HeadDouble(PackageStore(self.folder / "of-head"))
        here = self.process.address
        self.desk = EnvironmentDesk(self.process, here, self.packages, self.workshop, self.spawners, IDLE_S)

    def define(self, **fields) -> str:
        """An environment that the head knows; returns its key."""
        env = RuntimeEnv(**fields, _validate=False)
        home = ProcessAddress("", "")
        self.head.definition = encode(EnvironmentDefinition(env.serialize(), dict.fromkeys(env.uris(), home)))
        return secrets.token_hex(4)

    def package(self) -> str:
        source = self.folder / "source"
        source.mkdir()
        (source / "text").write_text("content")
        made = build_package(source, self.folder)
        self.head.store.put(made.uri, made.path)
        return made.uri

    async def close(self) -> None:
        await self.desk.close()
        await self.process.close()


@pytest.fixture
async def node(tmp_path):
    made = Node(tmp_path)
    await made.start()
    yield made
    await made.close()


async def test_the_head_may_be_away_for_as_long_as_it_likes(node, monkeypatch):
    """What was submitted waits for a head that is restarted: it is not failed."""
    monkeypatch.setattr(environment_desk, "_ASK_S", 0.05, raising=False)
    monkeypatch.setattr(package_copy.copy_package, "__defaults__", (0.05,))
    key = node.define(working_dir=node.package())
    node.head.there.clear()
    waiting = asyncio.create_task(node.desk.prepare(key))
    await until(lambda: node.head.asked == ["DescribeEnvironment"])
    await asyncio.wait([waiting], timeout=0.2)
    assert not waiting.done()
    node.head.there.set()
    await waiting


async def test_a_head_that_goes_before_it_has_given_a_package_is_waited_for(node, monkeypatch):
    monkeypatch.setattr(package_copy.copy_package, "__defaults__", (0.05,))
    uri = node.package()
    node.head.there.clear()
    waiting = asyncio.create_task(node.packages.acquire(uri, ProcessAddress("", "")))
    await until(lambda: node.head.asked == ["ReadPackage"] * 2)  # once more when nobody else has it
    assert not waiting.done()
    node.head.there.set()
    assert ((await waiting) / "text").read_text() == "content"


async def test_a_failure_is_told_to_all_who_come_soon_and_tried_again_after_that(node, monkeypatch):
    assert environment_desk._FAILED_S == 10
    node.workshop.failure = RuntimeEnvSetupError("no such thing")
    for remembered, tries in ((1e6, 1), (0.0, 3)):
        monkeypatch.setattr(environment_desk, "_FAILED_S", remembered)
        key, node.workshop.asked = node.define(env_vars={"A": "1"}), 0
        for _ in range(3):
            with pytest.raises(RuntimeEnvSetupError, match="no such thing"):
                await node.desk.prepare(key)
        assert node.workshop.asked == tries
    node.workshop.failure = None
    assert (await node.desk.prepare(key)).found == FOUND


async def test_an_unforeseen_failure_is_one_of_setting_up(node):
    node.workshop.failure = ZeroDivisionError("oops")
    with pytest.raises(RuntimeEnvSetupError, match="ZeroDivisionError: oops"):
        await node.desk.prepare(node.define(env_vars={"A": "1"}))


async def test_what_takes_too_long_fails_with_what_the_installer_has_said(node):
    node.workshop.hangs = True
    uri = node.package()
    key = node.define(working_dir=uri, config={"setup_timeout_seconds": 0.1})
    with pytest.raises(RuntimeEnvSetupError, match=r"longer than 0\.1 s; see setup_timeout_seconds\. what it has said"):
        await node.desk.prepare(key)
    with pytest.raises(KeyError):  # nothing is kept of it
        node.packages.release(uri)


async def test_packages_and_interpreters_are_kept_for_workers_and_a_while_longer(node):
    uri = node.package()
    key = node.define(working_dir=uri)
    first, second = await node.desk.prepare(key), await node.desk.prepare(key)
    assert first.packages == second.packages == {uri: first.packages[uri]}
    node.desk.release(first)
    await until(lambda: node.workshop.let == [FOUND])
    assert node.spawners.retired == []  # the other worker runs in it
    node.desk.release(second)
    assert node.workshop.let == [FOUND]  # another worker may come soon
    await until(lambda: node.workshop.let == [FOUND, FOUND])
    assert node.spawners.retired == [FOUND.interpreter]
    with pytest.raises(KeyError):
        node.packages.release(uri)


async def test_an_interpreter_stays_warm_for_a_while(node):
    node.desk._idle_s = 1e6
    node.desk.release(await node.desk.prepare(node.define(env_vars={"A": "1"})))
    for _ in range(10):
        await asyncio.sleep(0)
    assert (node.workshop.let, node.spawners.retired) == ([], [])


async def test_what_is_prepared_early_is_there_and_held_by_nobody(node):
    uri = node.package()
    key = node.define(working_dir=uri)
    node.desk.methods["PrepareEnvironment"](
        None, Call(0, "node", "PrepareEnvironment", encode(PrepareEnvironment(key)))
    )
    await until(lambda: node.workshop.let == [FOUND])
    assert (node.folder / "packages" / "unpacked" / uri.removeprefix(SCHEME)).is_dir()
    with pytest.raises(KeyError):
        node.packages.release(uri)


async def test_a_failure_of_what_is_prepared_early_is_no_failure_of_the_node(node, caplog):
    node.workshop.failure = RuntimeEnvSetupError("no such thing")
    key = node.define(env_vars={"A": "1"})
    node.desk.methods["PrepareEnvironment"](
        None, Call(0, "node", "PrepareEnvironment", encode(PrepareEnvironment(key)))
    )
    await until(lambda: "no such thing" in caplog.text)
    assert "A task of a system process failed" not in caplog.text


async def test_a_key_that_the_head_does_not_know_is_told(node):
    node.define(env_vars={"A": "1"})
    node.head.definition = b""
    with pytest.raises(RuntimeEnvSetupError, match="does not know the runtime environment abc"):
        await node.desk.prepare("abc")
