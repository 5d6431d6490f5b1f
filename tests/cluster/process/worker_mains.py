"""Main functions of workers, for the tests: what each does is asked for by `config`."""

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import threading

from limelight.cluster.process.spawn import SpawnRequest


def main(request: SpawnRequest) -> None:
    command, _, argument = request.config.decode().partition(" ")
    COMMANDS[command](argument, request)


def report(_argument, request):
    import numpy as np

    print(
        json.dumps(
            {
                "pid": os.getpid(),
                "pgid": os.getpgid(0),
                "stdin": sys.stdin.read(),
                "env": os.environ.get("LIMELIGHT_TEST"),
                "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
                "random": [random.random(), float(np.random.rand()), os.urandom(4).hex()],
                "oom": open("/proc/self/oom_score_adj").read().strip(),
                "title": open("/proc/self/cmdline").read().rstrip("\0"),
                "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
                "argv": sys.argv,
                "main": sorted(name for name in vars(sys.modules["__main__"]) if not name.startswith("__")),
                "config_size": len(request.config),
            }
        )
    )


def leave(argument, _request):
    import atexit

    atexit.register(print, "atexit ran")
    sys.exit(int(argument) if argument.isdigit() else argument)


def fail(_argument, _request):
    raise ValueError("on purpose")


def crash(_argument, _request):
    ctypes.string_at(0)


def hold(_argument, _request):
    """Say that it runs, and live until killed."""
    print("ready")
    threading.Event().wait()


def hold_with_child(argument, _request):
    """Live until killed, beside a subprocess; `argument` is "exit" to leave it behind at once."""
    child = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(child.pid)
    child.returncode = 0
    if argument != "exit":
        threading.Event().wait()


def allocate(argument, _request):
    block = bytearray(int(argument))
    block[::4096] = b"x" * len(block[::4096])


def echo(argument, _request):
    print(argument)


COMMANDS = {
    function.__name__: function for function in (report, leave, fail, crash, hold, hold_with_child, allocate, echo)
}
