"""One TCP port for all processes of a host: each connection begins with the name of the process that it is for.

The process that has the port reads that name, and hands the connection itself to the process (SCM_RIGHTS, unix(7)).
Nothing of what follows passes through the port's owner, and a firewall has one port to open for each host.

A stranger gets no further than the name: what does not begin with it, a browser's request for one, is cut at once.
"""

import asyncio
import contextlib
import errno
import functools
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from .limits import TransportLimits

InletOf = Callable[[str], str]
"""Where the process of that id takes connections; "" where no such process can be. The id may be anything."""

_log = logging.getLogger(__name__)

_MARK = b"limelight/"
_NAME = 64
_SIZE = len(_MARK) + _NAME + 1
_PAUSE = 0.5
"""Seconds without accepting when this process has no descriptor left."""


def preamble(process_id: str) -> bytes:
    """What a connection begins with; an empty id is for the port's owner, whoever that is."""
    return _MARK + process_id.encode().ljust(_NAME, b"-") + b"\n"


async def dial(target: str, process_id: str) -> socket.socket:
    """Connect to "host:port" for a process. The connection is the caller's.

    Raises:
        OSError: nobody is there; of several addresses, what the last one said.
    """
    loop = asyncio.get_running_loop()
    host, _, port = target.rpartition(":")
    found = await loop.getaddrinfo(host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_STREAM)
    failure = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(connection, address)
            await loop.sock_sendall(connection, preamble(process_id))
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


class Gate:
    """Listens on a port, and has each connection taken by the process that it is for. On the running loop.

    Args:
        own_id: of this process.
        limits: how many connections may be nameless at a time, and for how long.
        take: takes a connection for this process, and for those that are not there: it then learns who answers.
        inlet_of: finds the other processes of this host.
    """

    def __init__(
        self,
        own_id: str,
        limits: TransportLimits,
        take: Callable[[socket.socket], Awaitable[None]],
        inlet_of: InletOf | None,
    ) -> None:
        self._own_id = own_id
        self._limits = limits
        self._take = take
        self._inlet_of = inlet_of
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

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
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.error("cannot accept connections: %s", error)
                self._loop.remove_reader(listening)
                self._pause = self._loop.call_later(_PAUSE, self._loop.add_reader, listening, self._accept, listening)
                return
            if len(self._tasks) >= self._limits.handshakes:
                _log.warning("%d connections have not said whom they are for; refused another", len(self._tasks))
                connection.close()
                continue
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._pass_on(connection))
            self._tasks.add(task)
            task.add_done_callback(functools.partial(self._passed_on, connection))

    def _passed_on(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():  # maybe before it began
            connection.close()

    async def _pass_on(self, connection: socket.socket) -> None:
        """Read the name, and see that the process gets the connection. A failure is the dialler's, who sees the end."""
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            try:
                async with asyncio.timeout(self._limits.handshake):
                    name = await self._read_name(connection)
                    if name is None:
                        return
                    if name in {"", self._own_id} or not await self._hand_over(name, connection):
                        stack.pop_all()
                        await self._take(connection)
            except (OSError, TimeoutError) as error:  # also errors of TLS
                _log.debug("a connection ended before it was taken: %r", error)

    async def _read_name(self, connection: socket.socket) -> str | None:
        """The name; None where something else came."""
        read = b""
        while len(read) < _SIZE:
            more = await self._loop.sock_recv(connection, _SIZE - len(read))
            read += more
            if not more or not read.startswith(_MARK[: len(read)]):
                return None
        if not read.endswith(b"\n"):
            return None
        return read[len(_MARK) : -1].rstrip(b"-").decode("ascii", "replace")

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


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
