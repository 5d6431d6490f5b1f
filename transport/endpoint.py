"""A process's end of all its channels: listens, dials, and keeps exactly one channel to each peer."""

import asyncio
import contextlib
import itertools
import logging
import ssl
import sys
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from .address import ProcessAddress
from .admission import Admission, Existing, admit
from .auth import Challenge
from .bulk import BulkServer, BulkSource
from .channel import Channel, ChannelHandler
from .dialler import Dial
from .error import ConnectError, PeerLostError, ProtocolError, StaleChallengeError
from .gate import InletOf
from .limits import DEFAULT_LIMITS, TransportLimits
from .link import Link
from .listener import Listener, is_listening
from .protocol import PROTOCOL_VERSION, REFUSED_CLOSING, REFUSED_CROSSED, Hello, Welcome, encode
from .tls import TlsConfig
from .wire import Wire

_log = logging.getLogger(__name__)

SOFTWARE = f"limelight, Python {sys.version_info.major}.{sys.version_info.minor}"
_LAST_PORT = 65535
_MOST_GIVEN_UP = 4096
_CROSSED_WAIT = 0.2  # seconds for the peer's dial to arrive before ours is tried again


class _Entry(msgspec.Struct, frozen=True):
    channel: Channel
    wire: Wire
    number: int
    dialled_by_peer: bool


class Endpoint:
    """One per process, on one event loop; every method belongs to that loop's thread.

    Attributes:
        address: where others reach this process; complete after `start`.
        channels: the live channels by process id.
        limits: bounds and time-outs.
        client_tls: for dialling peers by TCP; None without TLS.
    """

    def __init__(
        self,
        *,
        process_id: str,
        host_id: str,
        token: bytes,
        unix_path: str = "",
        tcp: str = "",
        tls: TlsConfig | None = None,
        inlet_of: InletOf | None = None,
        gate: str = "",
        info: dict[str, str],
        handler: ChannelHandler,
        limits: TransportLimits = DEFAULT_LIMITS,
        bulk: BulkSource | None = None,
    ) -> None:
        """Make an endpoint; nothing happens before `start`.

        Args:
            process_id: unique for the life of the process.
            host_id: equal for processes that share a kernel and a file system.
            token: the cluster's secret.
            unix_path: the Unix socket to listen on; "" for none.
            tcp: "host:port" to listen on, port 0 for a free one; "" for none. Others dial the same host, so it
                cannot be a wildcard such as 0.0.0.0.
            tls: certificates; with them every TCP connection is encrypted.
            inlet_of: finds the processes of this host whose connections come in by this one's port (gate.py).
            gate: "host:port" of the process that does that for this one; this one then needs `unix_path`, and no `tcp`.
            info: what this process tells its peers of itself. A few hundred bytes.
            handler: what happens with what arrives.
            limits: bounds and time-outs.
            bulk: the objects that peers may fetch (see bulk.py and bulk_client.py).
        """
        self.address = ProcessAddress(process_id, host_id, unix_path, gate or tcp)
        self._channels: dict[str, Channel] = {}
        self.channels: Mapping[str, Channel] = MappingProxyType(self._channels)
        self._token = token
        self._tls = tls
        self._inlet_of = inlet_of
        self._gate = gate
        self.client_tls: ssl.SSLContext | None = None
        self._info = info
        self._handler = handler
        self.limits = limits
        self._bulk = BulkServer(bulk, self._bulk_key, limits) if bulk is not None else None
        self._entries: dict[str, _Entry] = {}
        self._wires: weakref.WeakSet[Wire] = weakref.WeakSet()
        self._numbers = itertools.count(1)
        self._given_up: OrderedDict[str, int] = OrderedDict()  # peer -> the last channel it dialled, once that is over
        self._dials: dict[str, asyncio.Task[Channel]] = {}
        self._dialling: set[str] = set()  # peers
        self._upgrading: set[str] = set()  # those of them that have been asked for a channel
        self._arrivals: dict[str, asyncio.Event] = {}  # peers whose dial is awaited because ours was refused
        self._closing = False
        self._listener: Listener | None = None
        self._ticker: asyncio.TimerHandle | None = None

    # Life

    async def start(self) -> None:
        """Listen.

        Raises:
            AddressInUseError: the Unix socket or the port is taken. ValueError: `tcp` is no address to listen on.
        """
        self._loop = asyncio.get_running_loop()
        on_bulk = self._bulk.handle if self._bulk is not None else None
        listener = Listener(self.address.process_id, self._token, self.limits, self._on_hello, on_bulk)
        self._listener = listener
        try:
            if self.address.unix:
                await listener.listen_unix(self.address.unix)
            tls = self._tls.server_context() if self._tls else None
            if self._gate:
                listener.open_inlet(inlet_beside(self.address.unix), tls)
            elif self.address.tcp:
                host, port = _parse_tcp(self.address.tcp)
                port = listener.listen_tcp(host, port, tls, self._inlet_of)
                shown = f"[{host}]" if ":" in host else host
                self.address = msgspec.structs.replace(self.address, tcp=f"{shown}:{port}")
        except BaseException:
            await listener.close()
            raise
        if self._tls:
            self.client_tls = self._tls.client_context()
        self._tick()

    async def close(self) -> None:
        """Say goodbye to all peers, drop every connection and stop listening. Leaves no task behind.

        Each step takes no longer than `limits.close`, but for peers that go on taking what was queued for them.
        """
        if self._closing or self._listener is None:
            return
        self._closing = True
        if self._ticker is not None:
            self._ticker.cancel()
        dials = list(self._dials.values())
        for dial in dials:
            dial.cancel()
        if dials:
            await asyncio.wait(dials, timeout=self.limits.close)
        await asyncio.gather(
            *[channel.close("The process is shutting down.") for channel in list(self._channels.values())]
        )
        await asyncio.gather(*[wire.close() for wire in list(self._wires)])
        await self._listener.close()

    # Channels

    def channel(self, process_id: str) -> Channel | None:
        """The live channel to a process, or None."""
        return self._channels.get(process_id)

    def give_up(self, channel: Channel, reason: str) -> None:
        """End a channel at once, as one to a process that is lost."""
        entry = self._entries.get(channel.peer.process_id)
        if entry is not None and entry.channel is channel:
            entry.wire.abandon(PeerLostError(f"Process {channel.peer.process_id} is lost. {reason}"))

    async def connect(self, address: ProcessAddress) -> Channel:
        """The channel to that process: the one there is, or a new one. Concurrent calls share one dial.

        An address without a process id stands for whoever answers there.

        Raises:
            ConnectError: nobody answers, within `limits.connect` seconds. AuthenticationError: it does not hold this
            cluster's token. VersionMismatchError: it speaks another version.
        """
        existing = self._channels.get(address.process_id)
        if existing is not None:
            return existing
        if self._closing or self._listener is None:
            raise ConnectError("This endpoint is closed, or not started yet.", final=True)
        if address.process_id == self.address.process_id:
            raise ConnectError("A process has no channel to itself: use a twin (twin.py).", final=True)
        route = address.route_from(self.address.host_id)
        if not route:
            raise ConnectError(
                f"Process {address.process_id} listens on no address that this host can reach.", final=True
            )
        key = address.process_id or route
        dial = self._dials.get(key)
        if dial is None:
            dial = self._loop.create_task(self._dial(address, route))
            self._dials[key] = dial
            dial.add_done_callback(lambda done: self._on_dialled(key, done))
        return await asyncio.shield(dial)

    def _on_dialled(self, key: str, dial: asyncio.Task[Channel]) -> None:
        del self._dials[key]
        if not dial.cancelled():
            dial.exception()  # seen, also where whoever asked has stopped waiting

    async def _dial(self, address: ProcessAddress, route: str) -> Channel:
        peer_id = address.process_id
        arrival = self._arrivals.setdefault(peer_id, asyncio.Event()) if peer_id else asyncio.Event()
        try:
            self._dialling.add(peer_id)
            async with asyncio.timeout(self.limits.connect):
                while (channel := await self._dial_once(address, route)) is None:
                    # Refused, mostly because the peer's own dial to us counts: it should be here in a moment.
                    self._dialling.discard(peer_id)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(arrival.wait(), _CROSSED_WAIT)
                return channel
        except TimeoutError:
            raise ConnectError(f"The process at {route} has not answered within {self.limits.connect:g} s.") from None
        except asyncio.CancelledError:
            if not self._closing:
                raise
            raise ConnectError("This endpoint is closing.", final=True) from None  # who waits was not cancelled
        finally:
            self._dialling.discard(peer_id)
            self._arrivals.pop(peer_id, None)

    async def _dial_once(self, address: ProcessAddress, route: str) -> Channel | None:
        if (there := self._channels.get(address.process_id)) is not None:
            return there
        number = next(self._numbers)
        async with self._new_dial(address, route) as dial:
            challenge = await dial.challenge()
            peer_id = challenge.server
            if (there := self._channels.get(peer_id)) is not None:
                return there
            if peer_id in self._upgrading:  # dialled by its address and by its name: the peer would keep the later one
                return None
            self._upgrading.add(peer_id)
            self._dialling.add(peer_id)
            try:
                link, welcome = await dial.upgrade(self._hello(number, replaces=self._given_up.get(peer_id, 0)))
            except StaleChallengeError:
                return None
            finally:
                self._dialling.discard(peer_id)
                self._upgrading.discard(peer_id)
        if welcome.refusal == REFUSED_CROSSED:
            await link.close()
            return self._channels.get(peer_id)
        if welcome.refusal:
            await link.close()
            raise ConnectError(f"Process {peer_id} refused the channel: {welcome.reason}.")
        if self._closing:
            await link.close()
            raise ConnectError("This endpoint is closing.", final=True)
        return self._on_welcome(number, route, challenge, link, welcome)

    def _on_welcome(self, number: int, route: str, challenge: Challenge, link: Link, welcome: Welcome) -> Channel:
        peer = welcome.address

        async def redial(received: int) -> tuple[Link, int]:
            return await self._redial(peer, route, number, received)

        wire = Wire(peer.process_id, self.limits, redial=redial, gone=lambda: False)
        channel = self._install(peer, welcome.info, wire, number, challenge, dialled_by_peer=False)
        wire.attach(link, welcome.received)
        wire.start(link)
        return channel

    async def _redial(self, peer: ProcessAddress, route: str, number: int, received: int) -> tuple[Link, int]:
        async with self._new_dial(peer, route) as dial:
            await dial.challenge()
            link, welcome = await dial.upgrade(self._hello(number, received=received, resume=True))
        if welcome.refusal:
            await link.close()
            raise ConnectError(f"It refused to resume: {welcome.reason}.", final=True)
        return link, welcome.received

    def _new_dial(self, address: ProcessAddress, route: str) -> Dial:
        return Dial(self.address.process_id, address, route, self._token, self.limits, self.client_tls)

    def _hello(self, number: int, *, received: int = 0, resume: bool = False, replaces: int = 0) -> Hello:
        return Hello(PROTOCOL_VERSION, SOFTWARE, self.address, number, received, resume, replaces, self._info)

    # Being dialled

    async def _on_hello(self, hello: Hello, challenge: Challenge, link: Link) -> None:
        peer = hello.address
        entry = self._entries.get(peer.process_id)
        existing = Existing(entry.number, entry.dialled_by_peer) if entry else None
        dialling = peer.process_id in self._dialling
        admission = admit(hello, self.address.process_id, existing, dialling=dialling)
        if self._closing or admission.refused:
            refusal = REFUSED_CLOSING if self._closing else admission.value
            self._welcome(
                link, refusal=refusal, reason="the process is shutting down" if self._closing else admission.reason
            )
            return
        if admission is Admission.RESUME and entry is not None:
            await self._resume(entry, hello, link)
            return
        if entry is not None:
            entry.wire.abandon(
                PeerLostError(f"Process {peer.process_id} has given up this channel and opened another.")
            )
        wire = Wire(peer.process_id, self.limits, redial=None, gone=lambda: self._is_gone(peer))
        self._install(peer, hello.info, wire, hello.number, challenge, dialled_by_peer=True)
        self._welcome(link)
        wire.attach(link, 0)
        await wire.run(link)

    async def _resume(self, entry: _Entry, hello: Hello, link: Link) -> None:
        self._welcome(link, received=entry.wire.accept())
        try:
            entry.wire.attach(link, hello.received)
        except ProtocolError as error:
            entry.wire.abandon(PeerLostError(str(error)))
            return
        await entry.wire.run(link)

    def _welcome(self, link: Link, *, received: int = 0, refusal: str = "", reason: str = "") -> None:
        welcome = Welcome(PROTOCOL_VERSION, SOFTWARE, self.address, received, refusal, reason, self._info)
        link.write(encode(welcome))

    def _bulk_key(self, process_id: str) -> bytes | None:
        channel = self._channels.get(process_id)
        return channel.bulk_key if channel is not None else None

    def _is_gone(self, peer: ProcessAddress) -> bool:
        """Whether a local peer is surely dead: nobody listens on its Unix socket. Others get the whole grace period."""
        try:
            return bool(peer.unix) and peer.host_id == self.address.host_id and not is_listening(peer.unix)
        except OSError:  # no descriptor is left to ask with
            return False

    # Both

    def _install(
        self,
        peer: ProcessAddress,
        info: dict[str, str],
        wire: Wire,
        number: int,
        challenge: Challenge,
        *,
        dialled_by_peer: bool,
    ) -> Channel:
        old = self._entries.get(peer.process_id)
        if old is not None:  # the peer took our dial although it had taken this one: it has given this one up
            old.wire.abandon(PeerLostError(f"Process {peer.process_id} has given up this channel and opened another."))
        channel = Channel(
            peer,
            info,
            self._handler,
            wire,
            limits=self.limits,
            bulk_key=challenge.bulk_key(self._token),
            on_end=self._on_end,
        )
        wire.channel = channel
        self._wires.add(wire)
        self._entries[peer.process_id] = _Entry(channel, wire, number, dialled_by_peer)
        self._channels[peer.process_id] = channel
        arrival = self._arrivals.get(peer.process_id)
        if arrival is not None:
            arrival.set()
        try:
            self._handler.on_connected(channel)
        except Exception:  # noqa: BLE001  (the channel must not stay without its connection)
            _log.exception("The handler failed on the beginning of %r", channel)
        return channel

    def _on_end(self, channel: Channel) -> None:
        peer_id = channel.peer.process_id
        entry = self._entries.get(peer_id)
        if entry is None or entry.channel is not channel:
            return
        del self._entries[peer_id]
        del self._channels[peer_id]
        if entry.dialled_by_peer:
            self._given_up[peer_id] = entry.number
            self._given_up.move_to_end(peer_id)
            if len(self._given_up) > _MOST_GIVEN_UP:
                self._given_up.popitem(last=False)

    def _tick(self) -> None:
        now = self._loop.time()
        for entry in list(self._entries.values()):
            entry.wire.tick(now)
        self._ticker = self._loop.call_later(self.limits.heartbeat, self._tick)


def inlet_beside(unix_path: str) -> str:
    """Where a process with that Unix socket takes connections from its host's gate."""
    return unix_path + ".in"


def _parse_tcp(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ValueError(f"Not an address to listen on: {text!r}. Write host:port, such as 127.0.0.1:0.")
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (it is refused)
        raise ValueError(f"{text} is every address of this machine, and peers could not dial it: name one address.")
    return host, int(port)
