"""One TCP port for all processes of a host: each connection begins with the name of the process that it is for.

The process that has the port reads that name, and hands the connection itself to the process (SCM_RIGHTS, unix(7)).
Nothing of what follows passes through the port's owner, and a firewall has one port to open for each host.

It also says whether TLS follows, so that who speaks TLS where it is not spoken, or the other way about, is told so.
A stranger gets no further than the name: what does not begin with it, a browser's request for one, is cut at once.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from .address import host_and_port
from .anteroom import Anteroom
from .limits import TransportLimits

InletOf = Callable[[str], str]
"""Where the process of that id takes connections; "" where no such process can be. The id may be anything."""

Protocol = TypeVar("Protocol", bound=asyncio.BaseProtocol)

_log = logging.getLogger(__name__)

_PLAIN, _SECURE = b"limelight/", b"limelight+"
_NAME = 64
_SIZE = len(_PLAIN) + _NAME + 1
_PAUSE = 0.5
"""Seconds without accepting when this process has no descriptor left."""


def preamble(process_id: str, *, secure: bool) -> bytes:
    """What a connection begins with, and whether TLS follows; an empty id is for the port's owner, whoever that is."""
    return (_SECURE if secure else _PLAIN) + process_id.encode().ljust(_NAME, b"-") + b"\n"


async def dial(target: str, process_id: str, *, secure: bool) -> socket.socket:
    """Connect to "host:port" for a process; `secure`: TLS follows. The connection is the caller's.

    Raises:
        OSError: nobody is there; of several addresses, what the last one said.
    """
    loop = asyncio.get_running_loop()
    host, port = host_and_port(target)
    found = await _look_up(host, port)
    failure = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(connection, address)
            await loop.sock_sendall(connection, preamble(process_id, secure=secure))
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


async def _look_up(host: str, port: int) -> list[Any]:
    """As getaddrinfo(3). Names wait for one of few threads, which a resolver may hold up; numbers wait for nobody.

    Raises:
        OSError: there is no such host.
    """
    try:
        with contextlib.suppress(socket.gaierror):
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, f"{host!r} can be no name of a host") from error


async def connect(make: Callable[[], Protocol], target: str, process_id: str, tls: ssl.SSLContext | None) -> Protocol:
    """Connect to "host:port" for a process, with TLS where it is spoken; returns the protocol that was made.

    Raises:
        OSError: as `dial`; or an error of TLS.
    """
    connection = await dial(target, process_id, secure=tls is not None)
    name = host_and_port(target)[0] if tls else None
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(make, sock=connection, ssl=tls, server_hostname=name))[1]


class Gate:
    """Listens on a port, and has each connection taken by the process that it is for. On the running loop.

    Args:
        own_id: of this process.
        limits: how many connections may be nameless, or on their way to whom they name, at a time, and for how long.
        take: takes a connection for this process, and for those that are not there: it then learns who answers. The
            connection is its own from then on, also where it fails. Also told whether the dialler speaks TLS.
        secure: whether the processes of this host do. It takes the connections of those that do otherwise, too.
        inlet_of: finds the other processes of this host.
    """

    def __init__(
        self,
        own_id: str,
        limits: TransportLimits,
        take: Callable[[socket.socket, bool], Awaitable[None]],
        secure: bool,
        inlet_of: InletOf | None,
    ) -> None:
        self._own_id = own_id
        self._take = take
        self._secure = secure
        self._inlet_of = inlet_of
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._nameless: Anteroom[asyncio.Task[None]] = Anteroom(limits.handshakes, limits.handshake, _cancel)
        self._tasks: dict[asyncio.Task[None], socket.socket | None] = {}  # what each has still to close
        self._pause: asyncio.TimerHandle | None = None
        # Of many who come at once the others wait in the kernel: the first could be heard meanwhile, or they would take
        # their places; and a flood must not keep the loop.
        self._at_once = max(1, limits.handshakes // 8)

    def listen(self, host: str, port: int) -> int:
        """Bind the port (0: any free one); returns it.

        Raises:
            OSError: it is taken, or the host is not an address of this machine.
        """
        [(family, *_, address)] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:1]
        listening = socket.create_server(address, family=family, backlog=1024)
        listening.setblocking(False)
        self._listening.append(listening)
        self._loop.add_reader(listening, self._accept, listening)
        return listening.getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and drop the connections that nobody has taken yet."""
        if self._pause is not None:
            self._pause.cancel()
        for listening in self._listening:
            self._loop.remove_reader(listening)
            listening.close()
        self._listening.clear()
        self._nameless.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(self._at_once):
            try:
                connection = listening.accept()[0]
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.error("cannot accept connections: %s", error)
                self._loop.remove_reader(listening)
                self._pause = self._loop.call_later(_PAUSE, self._loop.add_reader, listening, self._accept, listening)
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._pass_on(connection))
            self._nameless.enter(task)
            self._tasks[task] = connection
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """Also of a task that was cancelled before its first step."""
        self._nameless.leave(task)
        connection = self._tasks.pop(task)
        if connection is not None:
            connection.close()

    async def _pass_on(self, connection: socket.socket) -> None:
        """Read the name, and see that the process gets the connection. A failure is the dialler's, who sees the end."""
        try:
            said = await self._read_name(connection)
            if said is None:
                return
            name, secure = said
            if name in {"", self._own_id} or secure != self._secure or not await self._hand_over(name, connection):
                if (task := asyncio.current_task()) is not None:
                    self._tasks[task] = None
                await self._take(connection, secure)
        except OSError as error:  # also errors of TLS
            _log.debug("a connection ended before it was taken: %r", error)

    async def _read_name(self, connection: socket.socket) -> tuple[str, bool] | None:
        """The name, and whether TLS follows; None where something else came."""
        read = b""
        while len(read) < _SIZE:
            more = await self._loop.sock_recv(connection, _SIZE - len(read))
            read += more
            mark = read[: len(_PLAIN)]
            if not more or not (_PLAIN.startswith(mark) or _SECURE.startswith(mark)):
                return None
        if not read.endswith(b"\n"):
            return None
        return read[len(_PLAIN) : -1].rstrip(b"-").decode("ascii", "replace"), read.startswith(_SECURE)

    async def _hand_over(self, name: str, connection: socket.socket) -> bool:
        path = self._inlet_of(name) if self._inlet_of is not None else ""
        if not path:
            return False
        try:
            await hand_over(connection, path)
        except (FileNotFoundError, ConnectionError):
            return False  # it has ended
        return True


async def hand_over(connection: socket.socket, path: str) -> None:
    """Give a connection to the process whose inlet is there.

    Raises:
        FileNotFoundError, ConnectionError: there is none.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect(path)
        while True:
            try:
                socket.send_fds(sender, [b"c"], [connection.fileno()])
            except BlockingIOError:  # it has some to take already, and the kernel keeps few
                room = loop.create_future()
                loop.add_writer(sender, _resolve, room)
                try:
                    await room
                finally:
                    loop.remove_writer(sender)
            else:
                return


class Inlet:
    """Where a process takes the connections that the gate of its host hands over. On the running loop.

    Args:
        path: of the socket, in a folder that nobody else can enter.
        take: called with each connection.
    """

    def __init__(self, path: str, take: Callable[[socket.socket], None]) -> None:
        self._path = Path(path)
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(path)
        self._path.chmod(0o600)
        self._loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
                for descriptor in descriptors:
                    connection = socket.socket(fileno=descriptor)
                    connection.set_inheritable(False)
                    connection.setblocking(False)
                    self._take(connection)


def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
