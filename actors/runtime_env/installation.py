"""The fields of a runtime environment that install packages: pip, uv and conda, each in all its forms."""

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from .rule import refuse_unknown, want_mapping, want_strings, want_type

WORKING_DIR = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
"""In a requirement: the environment's working directory, as it lies on the machine that installs."""

_INCLUDES = re.compile(r"(?:-r|--requirement)(?:\s+|=|(?<=-r))(.+)")
_PIP_FIELDS = ("packages", "pip_check", "pip_version", "pip_install_options")
_UV_FIELDS = ("packages", "uv_check", "uv_version", "uv_pip_install_options")


def pip(given: Any) -> dict[str, Any] | None:
    """As in Ray: a list of requirements, the path of a requirements file, or a dict; None where nothing is wanted."""
    return _installer("pip", given, _PIP_FIELDS)


def uv(given: Any) -> dict[str, Any] | None:
    """As `pip`, for uv."""
    return _installer("uv", given, _UV_FIELDS)


def conda(given: Any) -> str | dict[str, Any]:
    """As in Ray: the name or folder of an environment, the path of a YAML file, or what such a file says."""
    if isinstance(given, os.PathLike):
        given = os.fspath(cast("os.PathLike[str]", given))
    if isinstance(given, dict):
        return cast("dict[str, Any]", given)
    if not isinstance(given, str):
        raise TypeError(f"runtime_env's conda must be a str or a dict, not {type(given).__name__}.")
    path = Path(given).expanduser()
    if path.suffix in {".yaml", ".yml"}:
        return _read_yaml(path)
    if path.is_absolute() and not path.is_dir():
        raise ValueError(f"runtime_env's conda: there is no folder {path}.")
    if not given:
        raise ValueError("runtime_env's conda is empty; name an environment, a folder or a YAML file.")
    return str(path) if path.is_absolute() else given


def _installer(field: str, given: Any, fields: tuple[str, ...]) -> dict[str, Any] | None:
    if isinstance(given, dict):
        options = want_mapping(field, given, "a dict")
        refuse_unknown(f"runtime_env's {field}", options, fields)
    elif isinstance(given, str | os.PathLike | list):
        options = {"packages": given}
    else:
        raise TypeError(
            f"runtime_env's {field} must be a list of requirements, the path of a requirements file or a dict, "
            f"not {type(given).__name__}."
        )
    if "packages" not in options:
        raise ValueError(f"runtime_env's {field} has no 'packages'; it says {sorted(options)} only.")
    checked: dict[str, Any] = {"packages": _requirements(f"{field}['packages']", options["packages"])}
    check, version, extra = fields[1:]
    checked[check] = options.get(check, False)
    want_type(f"{field}['{check}']", checked[check], bool, "a bool")
    if options.get(version) is not None:
        want_type(f"{field}['{version}']", options[version], str, "a str, as '==1.2' or '>=1'")
        checked[version] = options[version]
    if options.get(extra) is not None:
        checked[extra] = want_strings(f"{field}['{extra}']", options[extra])
    return checked if checked["packages"] else None


def _requirements(field: str, given: Any) -> list[str]:
    """Requirements, each once; files of requirements are read here, where they are."""
    if isinstance(given, str | os.PathLike):
        lines = list(_read_requirements(field, Path(cast("Any", given)).expanduser(), ()))
    else:
        lines = [line for each in want_strings(field, given) for line in _expanded(field, each.strip(), Path(), ())]
    return list(dict.fromkeys(line for line in lines if line))


def _read_requirements(field: str, path: Path, reading: tuple[Path, ...]) -> Generator[str]:
    path = path.absolute()
    if path in reading:
        return
    try:
        text = path.read_text()
    except OSError as error:
        raise ValueError(f"runtime_env's {field}: {path} cannot be read: {error.strerror or error}.") from error
    for line in text.replace("\\\n", " ").splitlines():
        requirement = re.sub(r"(^|\s)#.*", "", line).strip()
        yield from _expanded(field, requirement, path.parent, (*reading, path))


def _expanded(field: str, requirement: str, folder: Path, reading: tuple[Path, ...]) -> Generator[str]:
    """A requirement, or those of the file that it includes; one that lies in the working directory is read later."""
    include = _INCLUDES.fullmatch(requirement)
    if include is None or "${" in requirement:
        yield requirement
    else:
        yield from _read_requirements(field, folder / include[1].strip(), reading)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            "runtime_env's conda names a YAML file, and PyYAML, which reads it, is not installed: pip install pyyaml"
        ) from error
    try:
        read: Any = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"runtime_env's conda: {path} cannot be read: {error}") from error
    if not isinstance(read, dict):
        raise TypeError(f"runtime_env's conda: {path} describes no environment (it needs 'dependencies').")
    return cast("dict[str, Any]", read)
