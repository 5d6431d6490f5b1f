"""Debian's packages that tests need: root installs those that are missing; without root the test says what to type."""

import functools
import os
import shutil
import subprocess
from collections.abc import Callable

import pytest

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def find(binary: str) -> str | None:
    """Where a program is; Debian keeps some in folders that only root has in its path."""
    return shutil.which(binary, path=_PATH)


def can_install() -> bool:
    """Whether this machine is Debian's kind, and we may."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(package: str, binary: str, find: Callable[[str], str | None] = find) -> str:
    """The path of a package's program, with the package installed if it is missing and we may; else skips the test."""
    found = find(binary)
    said = ""
    if found is None and can_install():
        said = _update() or _apt("install", "--no-install-recommends", package)
        found = find(binary)
    if found is None:
        pytest.skip(f"needs {binary}: apt-get install {package} {said}".strip())
    return found


@functools.cache
def _update() -> str:
    return _apt("update")


def _apt(*words: str) -> str:
    """Run apt-get; the end of what it says where it fails."""
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "-q", "-y", *words]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    return f"(it failed: {done.stderr.strip()[-300:]})" if done.returncode else ""
