"""Main functions of node processes, for the tests of the launcher. What each does is asked for by its config."""

import asyncio
import ctypes
import faulthandler
import os
import sys
from pathlib import Path

from limelight.cluster.process.birth import NodeBirth
from limelight.cluster.session_folder import SessionFolder


def main():
    birth = NodeBirth.receive()
    command, _, argument = birth.config.decode().partition(" ")
    with birth.reporting():
        COMMANDS[command](birth, argument)


def serve(birth, argument):
    """Be ready, say what was found, and live until the driver is gone."""
    facts = [os.getpid(), os.getsid(0), sys.stdin.read(), len(argument), Path("/proc/self/cmdline").read_text()]
    birth.ready(repr(facts).encode())
    asyncio.run(driver_gone(birth))


async def driver_gone(birth):
    gone = asyncio.Event()
    watch = birth.watch_driver(gone.set)
    await gone.wait()
    watch.close()


def stubborn(birth, argument):
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(birth, argument)


def fail(_birth, argument):
    raise OSError(f"port {argument} is in use")


def leave(_birth, argument):
    sys.stderr.write("something printed\n")
    os._exit(int(argument))


def crash(birth, argument):
    birth.redirect_output(Path(argument))
    faulthandler.enable()
    sys.stderr.write("about to crash\n")
    sys.stderr.flush()
    ctypes.string_at(0)


def hang(_birth, _argument):
    sys.stdout.write("waiting for something\n")
    sys.stdout.flush()
    os.read(os.pipe()[0], 1)


def linger(birth, argument):
    """Hang with a session made, when nobody else knows of it yet: half of it, or all."""
    if argument == "half":
        SessionFolder.write_info = hang
    SessionFolder.create("1", birth.driver_pid)
    hang(birth, argument)


COMMANDS = {function.__name__: function for function in (serve, stubborn, fail, leave, crash, hang, linger)}
