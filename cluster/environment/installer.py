"""How pip, uv and conda are told to make an environment. Decides on command lines; runs nothing."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .recipe import Recipe


class Step(NamedTuple):
    """A command of a build.

    Attributes:
        title: what it does, for the log and for errors.
        command: its arguments.
    """

    title: str
    command: list[str]


class ToolMissingError(RuntimeError):
    """The installer that a recipe asks for is not on this machine; says how to get it."""


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def pip_of(folder: Path) -> list[str]:
    """How pip is run in an environment; what lies in the current folder is no module of it (-P)."""
    return [str(python_of(folder)), "-P", "-m", "pip"]


def steps(recipe: Recipe, folder: Path, document: Path) -> list[Step]:
    """The commands that fill an environment; for pip and uv, after a virtual environment was made.

    Args:
        recipe: what is wanted.
        folder: of the environment.
        document: a file for the requirements, or for conda's YAML; `written` says what goes into it.

    Raises:
        ToolMissingError: the installer is not there.
    """
    match recipe.kind:
        case "pip":
            return _pip_steps(recipe, pip_of(folder), document)
        case "uv":
            return _uv_steps(recipe, folder, document)
        case _:
            return [Step("make the conda environment", _conda_command(folder, document))]


def written(recipe: Recipe) -> str:
    """What the file says that the installer reads."""
    if recipe.kind != "conda":
        return "".join(f"{line}\n" for line in recipe.packages)
    return json.dumps(_with_python(recipe.document))  # JSON is YAML


def variables(recipe: Recipe, folder: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of the installer."""
    found = {**inherited, **recipe.variables}
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH"):
        found.pop(name, None)  # they would lead the installer elsewhere
    found |= {"PIP_USER": "0", "PIP_NO_INPUT": "1"}
    if recipe.kind == "conda":
        found.setdefault("CONDA_REGISTER_ENVS", "false")  # the user's list of environments is not for ours
    else:
        found["VIRTUAL_ENV"] = str(folder)
    return found


def conda_tool(search: Mapping[str, str] = os.environ) -> str:
    """The program that makes conda environments here.

    Raises:
        ToolMissingError: there is none.
    """
    for name in (search.get("CONDA_EXE"), search.get("MAMBA_EXE"), "conda", "mamba", "micromamba"):
        found = shutil.which(name, path=search.get("PATH")) if name else None
        if found:
            return found
    raise ToolMissingError(
        "The runtime environment asks for conda, and this node has none of conda, mamba and micromamba on its PATH. "
        "Install one of them on every node (Miniforge, for example), or use pip or uv."
    )


def _pip_steps(recipe: Recipe, pip: list[str], document: Path) -> list[Step]:
    found: list[Step] = []
    if recipe.version:
        wanted = f"pip{_version(recipe.version)}"
        found.append(Step(f"install {wanted}", [*pip, "install", "--disable-pip-version-check", wanted]))
    options = recipe.options or ["--disable-pip-version-check"]
    found.append(Step("pip install", [*pip, "install", "-r", str(document), *options]))
    if recipe.check:
        found.append(Step("pip check", [*pip, "check", "--disable-pip-version-check"]))
    return found


def _uv_steps(recipe: Recipe, folder: Path, document: Path) -> list[Step]:
    python = str(python_of(folder))
    found: list[Step] = []
    at_hand = "" if recipe.version else _uv_tool()
    if at_hand:
        uv = [at_hand]
    else:
        wanted = f"uv{_version(recipe.version)}"
        found.append(Step(f"install {wanted}", [*pip_of(folder), "install", "--disable-pip-version-check", wanted]))
        uv = [python, "-P", "-m", "uv"]
    install = [*uv, "pip", "install", "--python", python, "-r", str(document), *recipe.options]
    found.append(Step("uv pip install", install))
    if recipe.check:
        found.append(Step("uv pip check", [*uv, "pip", "check", "--python", python]))
    return found


def _uv_tool() -> str:
    """The uv on the PATH, or beside the interpreter; "" where there is none."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent)) or ""


def _version(given: str) -> str:
    """As Ray has it, a specifier such as ">=1.2"; a bare version is meant exactly."""
    return f"=={given}" if given[:1].isdigit() else given


def _conda_command(folder: Path, document: Path) -> list[str]:
    tool = conda_tool()
    where = ["--prefix", str(folder), "--file", str(document)]
    if Path(tool).name == "micromamba":
        return [tool, "create", "--yes", *where]
    return [tool, "env", "create", *where]


def _with_python(document: Mapping[str, Any]) -> dict[str, Any]:
    """With this node's version of Python, unless it names one."""
    wanted = list(document.get("dependencies") or [])
    if not any(isinstance(each, str) and each.split("=")[0].strip(" <>!") == "python" for each in wanted):
        wanted.append(f"python={sys.version_info.major}.{sys.version_info.minor}")
    return {**document, "dependencies": wanted}
