"""Main functions of workers, for the tests: what each does is asked for by `config`."""

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from limelight.cluster.process.spawn import SpawnRequest


def main(request: SpawnRequest) -> None:
    command, _, argument = request.config.decode().partition(" ")
    COMMANDS[command](argument, request)


def say(text):
    sys.stdout.write(f"{text}\n")


def report(_argument, request):
    import numpy as np

    say(
        json.dumps(
            {
                "pid": os.getpid(),
                "pgid": os.getpgid(0),
                "stdin": sys.stdin.read(),
                "env": os.environ.get("LIMELIGHT_TEST"),
                "descriptors": sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir()),
                "random": [
                    random.random(),
                    float(np.random.rand()),  # noqa: NPY002 - the global generator is what a fork would copy
                    os.urandom(4).hex(),
                ],
                "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
                "title": Path("/proc/self/cmdline").read_text().rstrip("\0"),
                "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
                "argv": sys.argv,
                "main": sorted(name for name in vars(sys.modules["__main__"]) if not name.startswith("__")),
                "config_size": len(request.config),
            }
        )
    )


def leave(argument, _request):
    import atexit

    atexit.register(say, "atexit ran")
    sys.exit(int(argument) if argument.isdigit() else argument)


def fail(_argument, _request):
    raise ValueError("on purpose")


def crash(_argument, _request):
    ctypes.string_at(0)


def hold(_argument, _request):
    """Say that it runs, and live until killed."""
    say("ready")
    threading.Event().wait()


def hold_with_child(argument, _request):
    """Live until killed, beside a subprocess; `argument` is "exit" to leave it behind at once."""
    child = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    say(child.pid)
    child.returncode = 0
    if argument != "exit":
        threading.Event().wait()


def allocate(argument, _request):
    block = bytearray(int(argument))
    block[::4096] = b"x" * len(block[::4096])


def echo(argument, _request):
    say(argument)


COMMANDS = {
    function.__name__: function for function in (report, leave, fail, crash, hold, hold_with_child, allocate, echo)
}
