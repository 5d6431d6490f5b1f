"""How fast a channel is between two processes: `python -m tests.benchmarks.channel [--tcp]` from the repository's root.

Prints pipelined small calls a second, blocking calls a second from a thread that is not the loop's, and what starting
an endpoint and its first connection cost a forked process.
"""

import argparse
import asyncio
import os
import secrets
import signal
import statistics
import tempfile
import threading
import time

import uvloop

from limelight.transport.address import ProcessAddress
from limelight.transport.channel import Channel
from limelight.transport.endpoint import Endpoint
from limelight.transport.error import TransportError
from limelight.transport.protocol import Call, Cancel, Credit, Reply

TOKEN = secrets.token_bytes(32)
BODY = b"x" * 64


class Echo:
    """Answers each call with its body."""

    def on_connected(self, channel: Channel) -> None: ...

    def on_call(self, channel: Channel, call: Call) -> None:
        if call.call_id:
            channel.reply(call.call_id, call.body)

    def on_cancel(self, channel: Channel, cancel: Cancel) -> None: ...

    def on_credit(self, channel: Channel, credit: Credit) -> None: ...

    def on_lost(self, channel: Channel, error: TransportError) -> None: ...


def endpoint(name: str, folder: str, tcp: bool) -> Endpoint:
    """An endpoint on a Unix socket or a TCP port."""
    way = {"tcp": "127.0.0.1:0"} if tcp else {"unix_path": f"{folder}/{name}"}
    return Endpoint(process_id=name, host_id="here", token=TOKEN, info={}, handler=Echo(), **way)


def serve(folder: str, tcp: bool, ready: int) -> None:
    """The peer process."""

    async def main() -> None:
        server = endpoint("server", folder, tcp)
        await server.start()
        os.write(ready, server.address.tcp.encode() or b"-")
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await server.close()

    uvloop.run(main())


wrong: list[object] = []


def check(reply: Reply | TransportError) -> None:
    """A call that failed, or came back with something else, must not count as a fast one."""
    if type(reply) is not Reply or reply.failed or reply.body != BODY:
        wrong.append(reply)


def pipelined(channel: Channel, count: int, window: int) -> float:
    """Calls a second from a user thread with `window` calls in flight."""
    room = threading.Semaphore(window)
    done = threading.Semaphore(0)

    def on_reply(reply: Reply | TransportError) -> None:
        check(reply)
        room.release()
        done.release()

    start = time.perf_counter()
    for _ in range(count):
        room.acquire()
        channel.call("actor", "method", BODY, on_reply)
    for _ in range(count):
        done.acquire()
    return count / (time.perf_counter() - start)


def burst(channel: Channel, count: int) -> float:
    """Calls a second when all are sent at once; only the last reply is waited for."""
    left = [count]
    finished = threading.Event()

    def on_reply(reply: Reply | TransportError) -> None:
        check(reply)
        left[0] -= 1
        if not left[0]:
            finished.set()

    start = time.perf_counter()
    for _ in range(count):
        channel.call("actor", "method", BODY, on_reply)
    finished.wait()
    return count / (time.perf_counter() - start)


def blocking(channel: Channel, count: int) -> float:
    """Calls a second, one at a time."""
    lock = threading.Lock()
    lock.acquire()

    def on_reply(reply: Reply | TransportError) -> None:
        check(reply)
        lock.release()

    start = time.perf_counter()
    for _ in range(count):
        channel.call("actor", "method", BODY, on_reply)
        lock.acquire()
    return count / (time.perf_counter() - start)


def start_cost(address: ProcessAddress, folder: str, tcp: bool, name: str) -> tuple[float, float]:
    """CPU seconds of `start` and of the first `connect` in a forked child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:

        async def main() -> None:
            times = [time.process_time()]
            client = endpoint(name, folder, tcp)
            await client.start()
            times.append(time.process_time())
            await client.connect(address)
            times.append(time.process_time())
            os.write(writer, f"{times[1] - times[0]} {times[2] - times[1]}".encode())
            await client.close()

        uvloop.run(main())
        os._exit(0)
    os.waitpid(pid, 0)
    started, connected = os.read(reader, 100).split()
    os.close(reader)
    os.close(writer)
    return float(started), float(connected)


def measure(address: ProcessAddress, folder: str, tcp: bool) -> None:
    """Run and print all cases."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    client = asyncio.run_coroutine_threadsafe(_client(folder, tcp), loop)
    thread.start()
    made = client.result()
    channel = asyncio.run_coroutine_threadsafe(made.connect(address), loop).result()
    blocking(channel, 500)
    for label, case in {
        "burst of 20,000": lambda: burst(channel, 20_000),
        "pipelined, 1,000 in flight": lambda: pipelined(channel, 50_000, 1000),
        "blocking": lambda: blocking(channel, 5_000),
    }.items():
        figures = [case() for _ in range(5)]
        if wrong:
            raise SystemExit(f"{label}: {len(wrong)} calls were not answered with their body: {wrong[0]!r}")
        middle, worst, best = (
            f"{figure:,.0f}/s" for figure in (statistics.median(figures), min(figures), max(figures))
        )
        print(f"{label}: median {middle}, worst {worst}, best {best}")
    asyncio.run_coroutine_threadsafe(made.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _client(folder: str, tcp: bool) -> Endpoint:
    client = endpoint("client", folder, tcp)
    await client.start()
    return client


def main() -> None:
    """Start the peer, measure, end the peer."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tcp", action="store_true")
    tcp = options.parse_args().tcp
    with tempfile.TemporaryDirectory() as folder:
        ready, tell = os.pipe()
        peer = os.fork()
        if peer == 0:
            serve(folder, tcp, tell)
            os._exit(0)
        port = os.read(ready, 100).decode()
        address = ProcessAddress("server", "here", "" if tcp else f"{folder}/server", port if tcp else "")
        costs = [start_cost(address, folder, tcp, f"child{i}") for i in range(5)]
        for label, values in zip(("start", "first connect"), zip(*costs, strict=True), strict=True):
            print(f"{label} in a forked child: median {1e3 * statistics.median(values):.2f} ms CPU")
        measure(address, folder, tcp)
        os.kill(peer, signal.SIGTERM)
        os.waitpid(peer, 0)


if __name__ == "__main__":
    main()
