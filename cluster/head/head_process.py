"""A head in a process of its own: it can be restarted, or another take its place, while the cluster's nodes go on."""

import asyncio
import contextlib
import logging
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ...actors.contract import HEAD
from ...transport.address import ProcessAddress, host_and_port
from ...transport.endpoint import Endpoint
from ...transport.error import TransportError
from ..cluster_message import HeadLeads, StandBy
from ..host_id import host_id
from ..node.head_check import about_this_process
from ..process.birth import NodeBirth
from ..process.ending import Ending
from ..session_folder import SessionFolder
from ..session_info import read_info
from ..state.change import Delete
from ..state.error import FencedError, StateStoreError
from ..state.leadership_keeper import ASKS_PER_TTL, TTL_S, LeadershipKeeper
from ..state.state_store import Leadership
from ..state.state_writer import StateWriter
from ..state.store_url import make_store
from ..system_process import SystemProcess
from .head import Head
from .head_config import HeadConfig, HeadReady
from .head_state import SESSION, TABLES, HeadState
from .standby import Standby

if TYPE_CHECKING:
    from ..web.web_server import WebServer
    from .scaling_desk import ScalingDesk

_LOOK_S = TTL_S / ASKS_PER_TTL

_ENDING_S = 14.0
"""How long this process takes to end at the most: `cluster stop` waits a little longer."""
_SCALING_S, _WEB_S, _WRITE_S, _LEASE_S, _CONNECTIONS_S, _STORE_S = 1.0, 2.5, 4.0, 1.5, 3.0, 1.0
"""The steps of that. Together they leave it half a second."""
_GRACE_S = 0.5

_Answer = TypeVar("_Answer")

logger = logging.getLogger(__name__)


class HeadElsewhereError(StateStoreError):
    """Another head leads with this state, and this one cannot stand by for it; says who."""


async def run_head(config: HeadConfig, folder: SessionFolder, birth: NodeBirth) -> bool:
    """Serve until a signal comes, the cluster is over, or another head leads instead.

    Returns:
        Whether to begin anew: this head has led, and stands by from now on.
    """
    return await HeadProcess(config, folder, birth).run()


class HeadProcess:
    """Builds the head, or one that stands by. On the running loop."""

    def __init__(self, config: HeadConfig, folder: SessionFolder, birth: NodeBirth) -> None:
        self._config = config
        self._folder = folder
        self._birth = birth
        self._ended = asyncio.Event()
        self._was_told = self._was_fenced = False
        self._ending = Ending(_ENDING_S, cut=True)
        self._process = SystemProcess()
        self._store = make_store(config.state)
        self._about = about_this_process("head", folder.name, is_head=False)
        self._packages = Path(config.packages) if config.packages else folder.path / "packages"
        self._head: Head | None = None

    async def run(self) -> bool:
        """See `run_head`.

        Raises:
            StateStoreError: the state cannot be had. TransportError: it cannot listen.
        """
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._end)
        watch = self._birth.watch_driver(self._end)  # the command that runs it in the foreground
        self._folder.write_token(self._config.token)
        await self._patiently(self._store.open)
        try:
            # One that has begun anew has led: it stands by.
            leadership = await self._claim() if self._birth.is_awaited else None
            if leadership is None:
                leadership = await self._stand_by()
            if leadership is not None:
                await self._lead(leadership)
            if self._goes_on:
                self._ending.done()
                await self._await_successor()
            return self._goes_on
        finally:
            await self._ending.step("the state is closed", self._store.close(), _STORE_S)
            logger.info("ended in %.3f s", self._ending.seconds)
            if watch is not None:
                watch.close()

    @property
    def _goes_on(self) -> bool:
        """Whether another head leads, or can, and this one is to stand by for it."""
        replaced = self._was_fenced or (self._head is not None and self._head.has_stepped_down)
        return replaced and not self._store.one_host and not self._was_told

    async def _patiently(self, asked: Callable[[], Awaitable[_Answer]]) -> _Answer | None:
        """Ask the store: who starts this head hears of an error, one that has begun anew tries again, to its end."""
        while True:
            try:
                return await asked()
            except StateStoreError as error:
                if self._birth.is_awaited:
                    raise
                logger.warning("the state is out of reach: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _LOOK_S)
                return None

    def _end(self) -> None:
        """This process is to end for good, whatever it is at."""
        self._was_told = True
        self._leave()

    def _leave(self) -> None:
        """Whatever it is at ends."""
        self._ending.begin()
        self._ended.set()

    async def _claim(self) -> Leadership | None:
        return await self._store.acquire(self._config.tcp.encode(), TTL_S)

    async def _listen(self, head: Head | Standby) -> None:
        """Take calls from now on."""
        self._process.actors[HEAD] = head
        endpoint = Endpoint(
            process_id=secrets.token_hex(16),
            host_id=host_id(),
            token=bytes.fromhex(self._config.token),
            unix_path=self._folder.socket_path("head"),
            tcp=self._config.tcp,
            tls=self._config.tls,
            info=self._about,
            handler=self._process,
        )
        await self._process.start(endpoint)
        info = read_info(self._folder.path)
        if info is not None:
            address = self._process.address
            told = msgspec.structs.replace(info, address=address.tcp, node=address, tls=self._config.tls, kind="head")
            self._folder.write_info(told)
        logger.info("listening at %s", self._process.address.tcp)

    def _ready(self, session: str, leader: str, dashboard: str = "") -> None:
        ready = HeadReady(self._process.address, session, leader, dashboard)
        self._birth.ready(msgspec.msgpack.encode(ready))

    # --- standing by ---

    async def _stand_by(self) -> Leadership | None:
        """Wait until the head that leads does not any more; None where this process is to end before."""
        leader = await self._patiently(self._leader) or ""
        if self._store.one_host:
            raise HeadElsewhereError(
                f"Another head, which listens at {leader}, leads with the state in {self._store.place}. `cluster stop` "
                "ends it; --state names another place."
            )
        standby = Standby(self._process, self._packages, lambda: leader, self._end)
        await self._listen(standby)
        self._ready("", leader)
        logger.info("standing by for the head at %s", leader)
        told = ""
        leadership: Leadership | None = None
        while leadership is None and not self._ended.is_set():
            if leader and told != leader:
                told = leader if await self._introduce(leader) else ""
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _LOOK_S)
                continue
            try:
                leadership = await self._claim()
                leader = await self._leader() or leader
            except StateStoreError as error:
                logger.warning("the state is out of reach: %s", error)
            if told and not any(peer.peer.tcp == told for peer in self._process.endpoint.channels.values()):
                told = ""  # it was restarted, or the link was cut
        standby.close()
        if leadership is None:
            await self._ending.step("its connections are closed", self._process.close(), _CONNECTIONS_S)
        return leadership

    async def _await_successor(self) -> None:
        """Leave it to another to lead, which asks now and then: who steps down would be the first to ask again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TTL_S):
                while not self._was_told:
                    with contextlib.suppress(StateStoreError):
                        if await self._store.leader() is not None:
                            return
                    await asyncio.sleep(_LOOK_S / 4)

    async def _leader(self) -> str:
        leader = await self._store.leader()
        return leader.holder.decode() if leader is not None else ""

    async def _introduce(self, leader: str) -> bool:
        """Tell the head that leads that this one is here, so that it tells the nodes."""
        try:
            channel = await self._process.endpoint.connect(ProcessAddress("", "", "", leader))
            channel.notify(HEAD, StandBy.__name__, msgspec.msgpack.encode(StandBy(self._process.address.tcp)))
        except TransportError as error:
            logger.info("the head at %s cannot be reached: %s", leader, error)
            return False
        return True

    # --- leading ---

    async def _lead(self, leadership: Leadership) -> None:
        started = time.monotonic()
        rows: dict[str, dict[str, bytes]] = {table: await self._store.load(table) for table in TABLES}
        if self._config.fresh and self._birth.is_awaited:
            await leadership.apply([Delete(table, key) for table, found in rows.items() for key in found])
            rows = {table: {} for table in TABLES}
        writer = StateWriter(leadership, self._on_fenced, self._on_trouble)
        state = HeadState(writer, rows)
        keeper = LeadershipKeeper(leadership, self._on_fenced)
        head = self._head = Head(self._process, state, self._over, self._packages)
        web: WebServer | None = None
        scaling: ScalingDesk | None = None
        try:
            known = rows[SESSION].get("name")
            session = msgspec.msgpack.decode(known, type=str) if known else self._folder.name
            state.put(SESSION, "name", session)
            self._about |= {"head": "yes", "session": session, "term": str(leadership.token)}
            leads = HeadLeads(leadership.token, session)
            head.session = session
            if self._birth.is_awaited:
                await self._listen(head)
                head.restore(rows, leads)
                web = await self._start_web(head)
                self._ready(session, "", head.dashboard)
            else:  # it has stood by
                head.restore(rows, leads)
                self._process.actors[HEAD] = head
                try:
                    web = await self._start_web(head)
                except (OSError, TransportError):
                    logger.exception("the dashboard cannot listen here; the cluster goes on without it")
            spent = time.monotonic() - started
            logger.info("leading session %s, %d nodes known, after %.3f s", session, len(head.nodes), spent)
            scaling = self._scaling(head)
            await self._ended.wait()
        finally:
            if scaling is not None:
                await self._ending.step("no machine is added any more", scaling.close(), _SCALING_S)
            if web is not None:
                await self._ending.step("the dashboard is closed", web.close(), _WEB_S)
            head.close()
            await self._ending.step("what is left of the state is written", writer.close(_WRITE_S), _WRITE_S + _GRACE_S)
            await self._ending.step("it leads no more", keeper.close(), _LEASE_S)
            await self._ending.step("its connections are closed", self._process.close(), _CONNECTIONS_S)

    def _scaling(self, head: Head) -> "ScalingDesk | None":
        """What adds and removes machines, where that was asked for."""
        if not self._config.cluster_file:
            return None
        from .scaling_desk import ScalingDesk  # what it needs is imported only where it is needed

        return ScalingDesk(head, self._config.cluster_file, self._config.token, self._process.address.tcp)

    async def _start_web(self, head: Head) -> "WebServer | None":
        """The web server, if one is wanted.

        Raises:
            OSError: it cannot listen; AddressInUseError where another program does.
        """
        config = self._config
        if not config.dashboard_host:
            return None
        from ..web.web_server import WebServer  # heads that have none start sooner

        server = WebServer(head, config.token, config.tls)
        await server.start(config.dashboard_host, config.dashboard_port, host_and_port(config.tcp)[0])
        head.dashboard = server.url
        return server

    def _over(self) -> None:
        """The cluster is over, or this head has stepped down: everything is told."""
        self._leave()

    def _on_fenced(self, error: FencedError) -> None:
        logger.error("another head has taken over: %s", error)
        self._was_fenced = True
        self._leave()

    def _on_trouble(self, reason: str) -> None:
        if self._head is not None:
            self._head.troubled(reason)
