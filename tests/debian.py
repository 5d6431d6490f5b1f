"""Programs that tests need and that come from Debian's packages: installed where they are missing and we may.

Ask while modules are imported, not in a test or a fixture: a test's time is limited, and a package server's is not.
"""

import functools
import os
import shutil
import subprocess
from pathlib import Path

_FOLDERS = "/usr/sbin:/sbin"
"""Where Debian keeps some, though users do not have it in their path."""


def find(program: str) -> str | None:
    """Where a program is; Debian keeps PostgreSQL's out of everybody's path."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: float(path.parts[4]))
    path = f"{os.environ.get('PATH', os.defpath)}:{_FOLDERS}"
    return str(versions[-1]) if versions else shutil.which(program, path=path)


@functools.cache
def why_no(program: str, package: str) -> str:
    """Why a program is not to be had; "" where it is there, perhaps since now."""
    if find(program):
        return ""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"needs {program} (Debian: apt-get install {package})"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    wait = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "-q", "-y"]
    for command in (["update"], ["install", "--no-install-recommends", package]):
        done = subprocess.run([*wait, *command], env=environment, capture_output=True, text=True, check=False)
    return "" if find(program) else f"needs {program}, and {package} cannot be installed: {done.stderr.strip()[-300:]}"
