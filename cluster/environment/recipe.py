"""What an environment is made from, and the name that stands for all that decides how it turns out."""

import hashlib
import platform
import re
import site
import sys
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from ...actors.runtime_env import expanded
from ...actors.runtime_env.installation import WORKING_DIR

_FORMAT = 1
"""Raised when what is made from a recipe changes, so that old environments are not used."""

_DAY = 86_400
_PINNED = re.compile(r"[\w.-]+(\[[\w.,\s-]*\])?\s*===?\s*[^*\s;,]+\s*(;.*)?(\s--hash=\S+)*")
_OPTION = re.compile(r"-(-[\w-]+|[if])\b.*")
_LOCAL_OPTION = re.compile(r"(-e|--editable|-r|--requirement|-c|--constraint)\b.*")
_NAMED = re.compile(r"[\w.-]+(\[[\w.,\s-]*\])?\s*([<>=!~;(].*)?")
_TOOL_VARIABLES = ("PIP_", "UV_", "CONDA_", "MAMBA_")


class Recipe(msgspec.Struct, frozen=True):
    """What an environment is made from.

    Attributes:
        kind: "pip", "uv" or "conda".
        packages: requirements, as lines of a requirements file.
        options: for the installer's command line.
        check: have the installer look for conflicts afterwards.
        version: of the installer, as "==1.2"; "" for the one at hand.
        document: what a conda YAML file says.
        variables: the environment's variables, which the installer gets, too.
        folder: the environment's working directory; "" where it has none.
    """

    kind: str
    packages: list[str] = []
    options: list[str] = []
    check: bool = False
    version: str = ""
    document: dict[str, Any] = {}
    variables: dict[str, str] = {}
    folder: str = ""

    @classmethod
    def of(cls, env: Mapping[str, Any], folder: str = "") -> "Recipe | None":
        """What a packaged runtime environment wants to have installed; None where that is nothing.

        Args:
            env: the environment.
            folder: where its working directory is unpacked.
        """
        variables = {name: expanded(value) for name, value in env.get("env_vars", {}).items()}
        for kind in ("pip", "uv"):
            if field := env.get(kind):
                return cls(
                    kind,
                    [line.replace(WORKING_DIR, folder) for line in field["packages"]],
                    [option.replace(WORKING_DIR, folder) for option in field.get(f"{_OPTIONS[kind]}", [])],
                    field[f"{kind}_check"],
                    field.get(f"{kind}_version", ""),
                    variables=variables,
                    folder=folder,
                )
        if isinstance(env.get("conda"), dict):
            return cls("conda", document=env["conda"], variables=variables, folder=folder)
        return None

    def digest(self, session: str) -> str:
        """The name of the environment: equal for what turns out equal.

        What does not name exact versions is made anew each day (UTC), and what names files or repositories, whose
        content may change at any time, with each session.
        """
        steering = {name: value for name, value in self.variables.items() if name.startswith(_TOOL_VARIABLES)}
        content = [
            [_FORMAT, self.kind, self.packages, self.options, self.check, self.version, self.document, steering],
            [sys.executable, sys.version, sys.prefix, platform.machine(), site.getsitepackages()],
            self._freshness(session),
        ]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]

    def _freshness(self, session: str) -> str:
        if self.kind == "conda":
            return _today()
        if all(map(_is_pinned, self.packages)):
            return ""
        return _today() if all(map(_is_named, self.packages)) else session


class BuildOrder(msgspec.Struct, frozen=True):
    """What the builder is told.

    Attributes:
        recipe: what to make.
        root, quota: of the store.
        digest: the environment's name.
        check: the arguments with which an interpreter tries whether a worker can run in it.
    """

    recipe: Recipe
    root: str
    quota: int
    digest: str
    check: list[str]


_OPTIONS = {"pip": "pip_install_options", "uv": "uv_pip_install_options"}


def _today() -> str:
    return f"day {int(time.time() // _DAY)}"


def _is_pinned(line: str) -> bool:
    if _LOCAL_OPTION.fullmatch(line):
        return False
    return bool(_PINNED.fullmatch(line) or _OPTION.fullmatch(line))


def _is_named(line: str) -> bool:
    """A line that gets packages from an index, by name."""
    if _LOCAL_OPTION.fullmatch(line):
        return False
    return bool(_OPTION.fullmatch(line) or _NAMED.fullmatch(line)) and not line.endswith((".whl", ".zip", ".tar.gz"))
