"""Stands for the `cluster` command on a machine of a test: shows what a node is told, and lives until it is ended.

Writes what it was started with to the folder that NODE_REPORTS names, in a file with its node's name. What else it does
is said by the file `behaviour` there: "fail" (it ends with an error) or "deaf" (it ignores SIGTERM).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main():
    folder = Path(os.environ["NODE_REPORTS"])
    arguments = sys.argv[1:]
    name = arguments[arguments.index("--node-name") + 1]
    token_file = Path(os.environ["LIMELIGHT_TOKEN_FILE"])
    report = {
        "arguments": arguments,
        "token": token_file.read_text().strip(),
        "mode": token_file.stat().st_mode & 0o777,
        "pid": os.getpid(),
        "greeting": os.environ.get("GREETING", ""),
        "environment": sorted(os.environ),
    }
    behaviour = folder / "behaviour"
    acts = behaviour.read_text() if behaviour.exists() else ""
    if acts == "fail":
        sys.stdout.write("the wheels came off\n")
        sys.stdout.flush()
        sys.exit(3)
    if acts == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / f".{name}").write_text(json.dumps(report))
    (folder / f".{name}").rename(folder / name)
    while True:
        time.sleep(3600)


main()
