"""What a foreign interpreter needs to run a worker: this very package, and what it depends on.

Links to them lie in two folders of the session. The package itself comes from there whatever else is installed, so
that both ends of the wire are of one version, and so do those dependencies that must be; the others only where the
interpreter has none of its own.

    <shelf>/own/limelight -> the package that this process runs
    <shelf>/dependencies/aiohttp -> ...
"""

import contextlib
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_PACKAGE = __name__.partition(".")[0]

DEPENDENCIES = (
    "aiohappyeyeballs",
    "aiohttp",
    "cloudpickle",
    "isal",
    "msgspec",
    "nvidia-ml-py",
    "psutil",
    "pykka",
    "uvloop",
)
"""What pyproject.toml lists; a test holds the two equal. The package may run uninstalled, and not be able to look."""

_OWN = ("cloudpickle", "pykka")
"""Packages that both ends must have in the same version: functions are pickled by reference to what is inside of
cloudpickle, and the actors are built on what is inside of Pykka."""

_NAME = re.compile(r"[\w.-]+")


def make_shelf(folder: Path) -> Path:
    """Make the links, in a folder that does not exist yet, and return it."""
    own, dependencies = folder / "own", folder / "dependencies"
    own.mkdir(parents=True, exist_ok=True)
    dependencies.mkdir(exist_ok=True)
    for name in (_PACKAGE, *_OWN):
        _link(own / name, Path(importlib.import_module(name).__path__[0]))
    for target in sorted(_targets()):
        _link(dependencies / target.name, target)
    return folder


def _link(link: Path, target: Path) -> None:
    with contextlib.suppress(FileExistsError):
        link.symlink_to(target.resolve())


def _targets() -> set[Path]:
    """Files and folders on the import path that belong to the dependencies, theirs among them."""
    from importlib.metadata import PackageNotFoundError, distribution  # seldom wanted, and slow to import

    found: dict[str, Distribution | None] = {}
    wanted = list(DEPENDENCIES)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # for another platform or version of Python
            found[name] = None
            continue
        wanted += [_name(line) for line in found[name].requires or () if "extra ==" not in line]  # type: ignore[union-attr]
    return {target for name, known in found.items() for target in _files(name, known)}


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    return match[0] if match else requirement


def _files(name: str, known: "Distribution | None") -> set[Path]:
    if known is None:
        return set()
    tops = {file.parts[0] for file in known.files or () if file.parts[0] not in {"..", "__pycache__"}}
    if tops:
        return {Path(str(known.locate_file(top))) for top in tops}
    import importlib.util

    spec = importlib.util.find_spec(name.replace("-", "_"))  # installed by other means than pip
    if spec is None or spec.origin is None:
        return set()
    origin = Path(spec.origin)
    return {origin.parent if spec.submodule_search_locations else origin}
