"""What workers print: from their pipes into log files, and from the files to whoever watches.

The log file is the one buffer. The node process writes what it reads from a worker's pipe straight to the file, and a
follower reads the file at the pace of whoever watches. So a worker that floods costs disk and no memory, a slow
watcher slows no worker, no line is lost, and the last words of a dead worker are the end of its file.
"""

import asyncio
import logging
import os
from pathlib import Path

from .log_batch import LogOrigin
from .output_follower import LogSink, OutputFollower

_READ_SIZE = 1 << 16
_TAIL_SIZE = 1 << 14
_DRAIN_SIZE = 1 << 21  # more than a pipe holds, whatever its size was set to

logger = logging.getLogger(__name__)


class WorkerOutput:
    """One worker's standard output and error. Belongs to the running loop; not thread-safe.

    Give `child_ends` to the spawner, which closes them. When the worker has ended, call `drain` for its last words, and
    `finish`.

    Args:
        folder: where the log files go, `<name>.out` and `<name>.err`; each is created with its first byte.
        name: file name without suffix, unique in the folder.
        origin: whose output it is.
        sink: gets the lines; None for files only.
    """

    def __init__(self, folder: Path, name: str, origin: LogOrigin, sink: LogSink | None = None) -> None:
        self._streams: list[OutputStream] = []
        try:
            for stream, suffix in (("stdout", ".out"), ("stderr", ".err")):
                follower = OutputFollower(stream, origin, sink) if sink is not None else None
                self._streams.append(OutputStream(folder / (name + suffix), follower))
        except OSError:  # out of descriptors
            for stream in self._streams:
                stream.close()
                os.close(stream.child_end)
            raise
        self.child_ends = (self._streams[0].child_end, self._streams[1].child_end)

    def set_origin(self, origin: LogOrigin) -> None:
        """What is shown from now on is this one's: its pid is known now, or the worker serves another job."""
        for stream in self._streams:
            if stream.follower is not None:
                stream.follower.origin = origin

    def drain(self) -> None:
        """Take in what a dead worker has left in its pipes, and close them. Idempotent.

        A process that the worker left behind may still hold the other ends; if it prints again it gets SIGPIPE.
        """
        for stream in self._streams:
            stream.drain()

    async def flush(self) -> None:
        """Hand on what the worker has printed so far."""
        await asyncio.gather(*(stream.flush() for stream in self._streams))

    def tail(self) -> str:
        """The end of stderr, at most 16 KiB, at any time; bytes that are not UTF-8 are replaced."""
        return self._streams[1].tail()

    async def finish(self) -> None:
        """Drain, wait until every line has been handed to the sink, and close the files. Idempotent."""
        self.drain()
        await asyncio.gather(*(stream.finish() for stream in self._streams))


class OutputStream:
    """One pipe and the file that its bytes go to."""

    def __init__(self, path: Path, follower: OutputFollower | None) -> None:
        self.follower = follower
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._pipe, self.child_end = os.pipe()
        os.set_blocking(self._pipe, False)
        self._open = True
        self._file = -1
        self._size = 0
        self._unsaved = b""
        self._lost = 0
        self._loop.add_reader(self._pipe, self._read)

    def tail(self) -> str:
        """The last bytes, for people."""
        return self._last_bytes().decode(errors="replace")

    def drain(self) -> None:
        """Read what the pipe holds now, and close it."""
        self._take_in()
        self.close()

    def close(self) -> None:
        """Close the reading end. Idempotent."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)

    async def flush(self) -> None:
        """Take in what the pipe holds now, and wait for the follower to have handed it on."""
        self._take_in()
        if self.follower is not None:
            await self.follower.caught_up()

    async def finish(self) -> None:
        """Wait for the follower to have handed on everything, and close the file."""
        if self.follower is not None:
            await self.follower.finish()
        if self._file >= 0:
            self._unsaved = self._last_bytes()
            descriptor, self._file = self._file, -1
            os.close(descriptor)

    def _take_in(self) -> None:
        """Read what the pipe holds now, up to a bound: a worker that floods must not hold the loop."""
        taken = 0
        while self._open and taken < _DRAIN_SIZE and (read := self._read()):
            taken += read

    def _last_bytes(self) -> bytes:
        start = max(0, self._size - _TAIL_SIZE)
        saved = os.pread(self._file, _TAIL_SIZE, start) if self._file >= 0 else b""
        return (saved + self._unsaved)[-_TAIL_SIZE:]

    def _read(self) -> int:
        """Take one portion from the pipe; returns its size, 0 when there is none now or no more."""
        try:
            data = os.read(self._pipe, _READ_SIZE)
        except BlockingIOError:
            return 0
        if not data:
            self.close()
            return 0
        self._save(data)
        if self.follower is not None and self._file >= 0:
            self.follower.grown(self._file, self._size)
        return len(data)

    def _save(self, data: bytes) -> None:
        """Append to the file. A full disk must not stop the worker: what can not be written is counted and reported."""
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if self._lost:
                self._append(
                    f"\n[{self._lost} bytes of output were lost here: the file could not be written]\n".encode()
                )
                self._lost, self._unsaved = 0, b""
            self._append(data)
        except OSError as error:
            if not self._lost:
                logger.warning("A worker's output can not be written to %s: %s", self._path, error)
            self._lost += len(data)
            self._unsaved = (self._unsaved + data)[-_TAIL_SIZE:]

    def _append(self, data: bytes) -> None:
        while data:
            written = os.write(self._file, data)
            self._size += written
            data = data[written:]
