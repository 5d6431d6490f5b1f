"""A node's packages: copied from whoever has them, kept while somebody needs them, and healed where the disk is not."""

import asyncio
import contextlib
import os
import secrets
import threading
from pathlib import Path

import pytest
from aiohttp import web

from limelight.actors.contract import NODE, StorePackage, encode
from limelight.actors.package import SCHEME, build_package
from limelight.cluster.node.package_desk import PackageDesk
from limelight.cluster.package_store import PackageStore
from limelight.cluster.system_process import Arrived, SystemActor, SystemProcess
from limelight.exceptions import RuntimeEnvSetupError
from limelight.transport.address import ProcessAddress
from limelight.transport.protocol import Call
from tests.cluster.listening import listening


class Manager(SystemActor):
    """The part of a node manager that is about packages."""

    name = NODE

    def __init__(self, desk: PackageDesk) -> None:
        super().__init__(asyncio.get_running_loop())
        self._desk = desk
        self.asked: list[str] = []

    def on_receive(self, message) -> None:
        match message:
            case Arrived(channel, call):
                self.asked.append(call.method)
                self._desk.methods[call.method](channel, call)


class Node:
    def __init__(self, site: "Site", quota: int) -> None:
        self.process = SystemProcess()
        self.folder = site.folder / secrets.token_hex(4)
        self.desk = PackageDesk(self.process, self.folder, quota, lambda: [each.address for each in site.nodes])

    async def start(self) -> "Node":
        await listening("node", self.process)
        self.manager = self.process.actors[NODE] = Manager(self.desk)
        return self

    @property
    def address(self) -> ProcessAddress:
        return self.process.address

    @property
    def store(self) -> PackageStore:
        """As another process sees it."""
        return PackageStore(self.folder, 1 << 40)

    def archive(self, uri: str) -> Path:
        return self.folder / "archives" / f"{uri.removeprefix(SCHEME)}.zip"

    async def close(self) -> None:
        self.desk.close()
        await self.process.close()


class Site:
    """Nodes that know each other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []

    async def node(self, quota: int = 1 << 30) -> Node:
        made = await Node(self, quota).start()
        self.nodes.append(made)
        return made

    def package(self, name: str, size: int = 100) -> tuple[str, Path]:
        """A package with one file of that name, and with content of its own."""
        source = self.folder / f"of-{name}"
        source.mkdir()
        (source / name).write_text(secrets.token_hex(size // 2))
        made = build_package(source, self.folder)
        return made.uri, made.path

    async def stored(self, node: Node, name: str, size: int = 100, driver: "Node | None" = None) -> str:
        """The same, as a driver has it stored with its node."""
        uri, path = self.package(name, size)
        await (driver or node).process.request(node.address, NODE, StorePackage(uri, str(path)), 30)
        return uri


@pytest.fixture
async def site(tmp_path):
    made = Site(tmp_path)
    yield made
    for node in made.nodes:
        await node.close()


def damage(path: Path) -> None:
    """Half of it is lost, as where a machine loses its power before all is written."""
    os.truncate(path, path.stat().st_size // 2)


async def test_a_package_is_copied_from_its_home_once_however_many_want_it(site):
    home, other = await site.node(), await site.node()
    uri = await site.stored(home, "text", 9 << 20)  # more than two parts
    found = await asyncio.gather(*(other.desk.acquire(uri, home.address) for _ in range(4)))
    assert {(folder / "text").stat().st_size for folder in found} == {9 << 20}
    parts = home.archive(uri).stat().st_size // (4 << 20) + 2  # with the empty one at its end
    assert home.manager.asked.count("ReadPackage") == parts
    for _ in found:
        other.desk.release(uri)
    with pytest.raises(KeyError):
        other.desk.release(uri)


async def test_where_the_home_is_gone_any_other_node_that_has_it_does(site):
    home, second, third = [await site.node() for _ in range(3)]
    uri = await site.stored(home, "text")
    await second.desk.acquire(uri, home.address)
    await home.close()
    site.nodes.remove(home)
    assert (await third.desk.acquire(uri, home.address) / "text").exists()


async def test_what_nobody_has_is_told_with_what_to_do(site):
    home, other = await site.node(), await site.node()
    uri, _ = site.package("text")
    with pytest.raises(RuntimeEnvSetupError, match=r"2 of those that may have it were asked.*start the program, again"):
        await other.desk.acquire(uri, home.address)


async def test_a_copy_that_was_damaged_on_the_disk_is_copied_anew(site):
    home, other = await site.node(), await site.node()
    uri = await site.stored(home, "text", 10_000)
    other.store.put(uri, home.archive(uri))
    damage(other.archive(uri))
    assert (await other.desk.acquire(uri, home.address) / "text").stat().st_size == 10_000
    assert other.store.is_intact(uri)


async def test_a_home_whose_own_is_damaged_is_told_by_whoever_stores_it_again(site):
    home, other = await site.node(), await site.node()
    uri, path = site.package("text", 10_000)
    await home.process.request(home.address, NODE, StorePackage(uri, str(path)), 30)
    damage(home.archive(uri))
    with pytest.raises(RuntimeEnvSetupError, match=r"arrived damaged.*start the program, again: that stores it anew"):
        await other.desk.acquire(uri, home.address)
    await home.process.request(home.address, NODE, StorePackage(uri, str(path)), 30)
    assert (await other.desk.acquire(uri, home.address) / "text").exists()


async def test_what_a_driver_has_stored_stays_while_the_driver_does(site):
    """However full the store is: other nodes ask for it at any time."""
    home, driver = await site.node(quota=1), await site.node()
    first = await site.stored(home, "first", driver=driver)
    await site.stored(home, "second", driver=driver)
    assert home.store.has(first)
    home.desk.process_lost(driver.address.process_id)
    await site.stored(home, "third", driver=driver)
    assert not home.store.has(first)


async def test_what_makes_room_before_it_is_used_is_copied_again(site, monkeypatch):
    home, other = await site.node(), await site.node()
    uri = await site.stored(home, "text")
    evicted = []
    acquire = PackageStore.acquire

    def late(store, uri):
        if len(evicted) < 2:
            evicted.append(uri)
            other.archive(uri).unlink()
        return acquire(store, uri)

    monkeypatch.setattr(PackageStore, "acquire", late)
    assert (await other.desk.acquire(uri, home.address) / "text").exists()
    evicted.clear()
    third = await site.node()
    monkeypatch.setattr(PackageStore, "acquire", lambda store, uri: acquire(store, SCHEME + "0" * 64))
    with pytest.raises(RuntimeEnvSetupError, match=r"does not stay in .*runtime_env_packages_bytes"):
        await third.desk.acquire(uri, home.address)


async def test_who_gives_up_while_it_is_unpacked_holds_nothing(site, monkeypatch):
    node = await site.node()
    uri = await site.stored(node, "text")
    begun, may_go_on = threading.Event(), threading.Event()
    acquire = PackageStore.acquire

    def slow(store, uri):
        begun.set()
        assert may_go_on.wait(30)
        return acquire(store, uri)

    monkeypatch.setattr(PackageStore, "acquire", slow)
    monkeypatch.setattr(PackageStore, "release", release := Recorded(PackageStore.release))
    waiting = asyncio.create_task(node.desk.acquire(uri, None))
    assert await asyncio.to_thread(begun.wait, 30)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert not release.calls
    may_go_on.set()
    async with asyncio.timeout(30):
        while not release.calls:  # noqa: ASYNC110 - a thread makes it true
            await asyncio.sleep(0.01)
    assert release.calls == [uri]


class Recorded:
    """A method, and the arguments it was called with."""

    def __init__(self, method) -> None:
        self._method = method
        self.calls = []

    def __get__(self, store, _):
        def call(uri):
            self._method(store, uri)
            self.calls.append(uri)

        return call


@pytest.fixture
async def address(tmp_path):
    """A server's, which counts in its application what it is asked for."""
    content = tmp_path / "served"
    content.mkdir()
    (content / "text").write_text("from afar")
    archive = build_package(content, tmp_path).path.read_bytes()
    app = web.Application()
    asked = []

    async def serve(_: web.Request) -> web.Response:
        asked.append(1)
        return web.Response(body=archive)

    app.add_routes([web.get("/{name}", serve)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/x.zip", asked
    await runner.cleanup()


async def test_what_lies_on_the_network_is_fetched_once_and_again_where_it_made_room(site, address):
    uri, asked = address
    node = await site.node()
    folder = await node.desk.acquire(uri, None)
    assert (folder / "text").read_text() == "from afar"
    assert await node.desk.acquire(uri, None) == folder
    assert len(asked) == 1
    node.desk.release(uri)
    node.desk.release(uri)
    with pytest.raises(KeyError):
        node.desk.release(uri)
    for archive in (node.folder / "archives").iterdir():
        archive.unlink()
    assert (await node.desk.acquire(uri, None) / "text").exists()
    assert len(asked) == 2


class Sender:
    """The channel of a process that has a package stored."""

    def __init__(self, process_id: str) -> None:
        self.peer = ProcessAddress(process_id, "h")
        self.answered = asyncio.Event()

    def reply(self, *_, failed: bool = False) -> None:
        assert not failed
        self.answered.set()


@pytest.mark.parametrize("dies", ["at once", "while it is copied"])
async def test_a_package_of_a_process_that_dies_while_it_is_stored_is_kept_for_nobody(site, dies):
    node, sender = await site.node(), Sender("driver")
    uri, path = site.package("text")
    call = Call(1, NODE, "StorePackage", encode(StorePackage(uri, str(path))))
    node.desk.methods["StorePackage"](sender, call)
    if dies == "while it is copied":
        await asyncio.sleep(0)
    node.desk.process_lost("driver")
    await asyncio.wait_for(sender.answered.wait(), 30)
    with pytest.raises(KeyError):
        node.desk.release(uri)
