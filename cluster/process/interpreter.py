"""An interpreter that workers run in, other than the node process's own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ENTRY = Path(__file__).parent.parent / "environment" / "entry.py"
"""What it runs first."""


class Interpreter(NamedTuple):
    """How to start it. Equal ones may share a zygote.

    Attributes:
        command: the program with its arguments; those of an interpreter are appended.
        variables: environment variables to start it with, on top of the node process's.
        forks: the program becomes the interpreter, so that this can serve as a zygote; else each worker is started by
            the command.
    """

    command: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    forks: bool = True

    def starting(self, shelf: Path) -> list[str]:
        """The command that runs a module of this package; its name and arguments are appended.

        Args:
            shelf: see `environment/shelf.py`.
        """
        return [*self.command, *running(shelf)]


def interpreting(python: str | Path) -> tuple[str, ...]:
    """The command of an interpreter, with the flags that this one was started with (-O, -W, -X ...)."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # pyright: ignore  # noqa: SLF001, PGH003 - as multiprocessing does
    return (str(python), *flags)


def running(shelf: Path) -> list[str]:
    """The arguments with which an interpreter runs a module of this package."""
    return [str(ENTRY), "run", tag(), str(shelf)]


def tag() -> str:
    """What workers' interpreters must have in common with this one; as `entry.py` has it."""
    version = sys.version_info
    return f"{sys.implementation.name}-{version.major}.{version.minor}{getattr(sys, 'abiflags', '')}"


def within(folder: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """The command, run in a folder; it keeps its process id."""
    return ("/bin/sh", "-c", 'cd "$0" && exec "$@"', folder, *command) if folder else command


def path_with(folder: Path) -> str:
    """The search path for programs, with a folder of an environment first."""
    return os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])
