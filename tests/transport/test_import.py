"""What importing costs: the modules that every process needs load no web framework, and create nothing."""

import subprocess
import sys

LIGHT = ["address", "protocol", "error", "limits", "resume", "admission", "auth", "channel", "twin", "tls"]

SCRIPT = """
import sys, threading
before = threading.active_count()
for name in {names!r}:
    __import__("limelight.transport." + name)
assert "aiohttp" not in sys.modules, "aiohttp is loaded"
for name in ("endpoint", "bulk_client"):
    __import__("limelight.transport." + name)
assert "aiohttp.web_app" not in sys.modules, "aiohttp's applications, routes and files are loaded"
import asyncio
assert threading.active_count() == before
assert asyncio._get_running_loop() is None
"""


def test_importing_is_light_and_creates_nothing() -> None:
    script = SCRIPT.format(names=LIGHT)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
