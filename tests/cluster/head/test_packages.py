"""The files that jobs were submitted with: who has them beside the head that took them in."""

import asyncio
import contextlib
import errno
import hashlib
import os
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from limelight.actors.contract import HEAD, NODE, EnvironmentDefinition, encode
from limelight.actors.native.envelope import Envelope
from limelight.actors.package import SCHEME
from limelight.cluster.cluster_message import StandBy
from limelight.cluster.head.head import Head
from limelight.cluster.head.head_state import SUBMISSIONS
from limelight.cluster.head.standby import Standby
from limelight.cluster.job.creation import supervisor_spec
from limelight.cluster.job.submission import Stop, SubmissionSpec
from limelight.cluster.job.submit_request import SubmitRequest
from limelight.cluster.node.package_desk import PackageDesk as NodePackages
from limelight.cluster.package_store import PackageStore
from limelight.cluster.system_process import Arrived, SystemActor, SystemProcess
from limelight.cluster.web.package_routes import add_package_routes
from limelight.exceptions import RuntimeEnvSetupError
from tests.cluster.listening import listening
from tests.waiting import until

LARGE = os.urandom(9 << 20)  # more than two parts


class Site:
    """A head that leads, and others that stand by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[SystemProcess] = []
        self.standbys: list[Standby] = []

    async def start(self) -> None:
        leads = await listening("head")
        self.processes.append(leads)
        self.head = Head(leads, packages=self.folder / "leader")
        leads.actors[HEAD] = self.head

    async def stand_by(self, name: str) -> PackageStore:
        """A head that stands by has introduced itself; returns what it has."""
        other = await listening("head")
        self.processes.append(other)
        standby = Standby(other, self.folder / name, lambda: "", lambda: None)
        self.standbys.append(standby)
        other.actors[HEAD] = standby
        other.notify(self.processes[0].address, HEAD, StandBy(other.address.tcp))
        await until(lambda: len(self.head.standbys()) == len(self.processes) - 1)
        return PackageStore(self.folder / name)

    def take(self, content: bytes) -> str:
        """A package that a client has uploaded."""
        uri = SCHEME + hashlib.sha256(content).hexdigest()
        self.head.packages.store.put(uri, content)
        return uri

    async def close(self) -> None:
        for standby in self.standbys:
            standby.close()
        self.head.close()
        for one in self.processes:
            await one.close()


@pytest.fixture
async def site(tmp_path):
    made = Site(tmp_path)
    await made.start()
    yield made
    await made.close()


def job(uri: str) -> SubmitRequest:
    return SubmitRequest(entrypoint="cat text", runtime_env={"working_dir": uri})


async def test_those_who_stand_by_have_a_jobs_files_before_it_is_accepted(site):
    stores = [await site.stand_by("b"), await site.stand_by("c")]
    uri = site.take(LARGE)
    await site.head.submissions.shared(job(uri))
    assert [store.archive(uri).read_bytes() == LARGE for store in stores] == [True, True]


async def test_who_stands_by_later_gets_what_jobs_need_and_nothing_else(site):
    needed, other = site.take(LARGE), site.take(b"of no job")
    site.head.submissions.submit(job(needed))
    store = await site.stand_by("b")
    await until(lambda: store.has(needed))
    assert not store.has(other)


async def test_who_stands_by_and_is_gone_is_not_waited_for(site):
    kept = await site.stand_by("b")
    await site.stand_by("c")
    await site.processes[-1].close()
    uri = site.take(b"content")
    async with asyncio.timeout(20):
        await site.head.submissions.shared(job(uri))
    assert kept.has(uri)


async def test_files_that_are_not_here_are_asked_of_nobody(site, caplog):
    store = await site.stand_by("b")
    uri = SCHEME + "0" * 64
    await site.head.submissions.shared(job(uri))
    assert not store.has(uri)
    assert not caplog.records


async def test_a_jobs_files_stay_however_many_others_come_until_it_is_over(site, tmp_path, monkeypatch):
    monkeypatch.setattr(PackageStore.__init__, "__defaults__", (250_000,))
    needed = site.take(os.urandom(100_000))
    name = site.head.submissions.submit(job(needed))
    for _ in range(3):
        site.take(os.urandom(100_000))
    assert site.head.packages.store.has(needed)

    other = Site(tmp_path)  # the head is started again, on the same disk
    rows = {SUBMISSIONS: {name: encode(site.head.submissions.find(name))}}
    await other.start()
    site.head.packages.close()
    other.head.submissions.restore(rows)
    for _ in range(3):
        other.take(os.urandom(100_000))
    assert other.head.packages.store.has(needed)
    other.head.submissions.feed(Stop(name))
    other.take(os.urandom(100_000))
    assert not other.head.packages.store.has(needed)
    await other.close()


class Manager(SystemActor):
    """A node's, as far as it has packages."""

    name = NODE

    def __init__(self, desk: NodePackages) -> None:
        super().__init__(asyncio.get_running_loop())
        self._desk = desk

    def on_receive(self, message) -> None:
        match message:
            case Arrived(channel, call):
                self._desk.methods[call.method](channel, call)


async def test_what_a_detached_actor_needs_outlives_the_node_that_it_came_from(site):
    """Its program is over, its node may be given back: it is made again on another one, which asks the head."""
    node = await listening("head")
    site.processes.append(node)
    desk = NodePackages(node, site.folder / "node", 1 << 30, list)
    node.actors[NODE] = Manager(desk)
    content = LARGE + b"of a program"
    uri = SCHEME + hashlib.sha256(content).hexdigest()
    desk._store.put(uri, content)
    site.head.environments.define("key", encode(EnvironmentDefinition("{}", {uri: node.address})))
    spec = supervisor_spec(SubmissionSpec("x", "true", bytes(16), environment="key"), site.processes[0].address, "")
    site.head.actors.register(spec)
    await until(lambda: site.head.packages.store.has(uri))
    desk.close()
    await site.processes.pop().close()

    other = await listening("head")
    site.processes.append(other)
    other.actors[HEAD] = Passing(site.processes[0])
    fresh = NodePackages(other, site.folder / "other", 1 << 30, list)
    with pytest.raises(RuntimeEnvSetupError, match="cannot be unpacked"):  # it came, and is no archive
        await fresh.acquire(uri, node.address)
    fresh.close()


class Passing(SystemActor):
    """What a node's processes reach as their head."""

    name = HEAD

    def __init__(self, leads: SystemProcess) -> None:
        super().__init__(asyncio.get_running_loop())
        self._leads = leads

    def on_receive(self, message) -> None:
        match message:
            case Arrived(channel, call):
                self._leads.actors[HEAD].actor_inbox.put(Envelope(Arrived(channel, call)))


async def test_a_name_that_is_no_packages_does_no_harm(site):
    name = site.head.submissions.submit(job("pkg://short"))
    site.head.submissions.feed(Stop(name))
    assert str(site.head.submissions.find(name).status) == "STOPPED"


async def test_a_disk_that_takes_no_more_is_told(tmp_path):
    """The client hears why, rather than of an internal error."""
    (tmp_path / "file").touch()
    site = Site(tmp_path / "file")  # nothing can be made under it
    await site.start()
    app = web.Application()
    add_package_routes(app, site.head)
    runner = web.AppRunner(app)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    try:
        port = runner.addresses[0][1]
        url = f"http://127.0.0.1:{port}/api/packages/pkg/{hashlib.sha256(b'content').hexdigest()}.zip"
        async with ClientSession() as session, session.put(url, data=b"content") as answer:
            assert answer.status == 507
            assert "cannot keep the package" in await answer.text()
            assert os.strerror(errno.ENOTDIR) in await answer.text()
    finally:
        await runner.cleanup()
        with contextlib.suppress(OSError):
            await site.close()
