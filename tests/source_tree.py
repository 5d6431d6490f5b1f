"""What the repository's tree holds, read without importing any of it."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "limelight"
PACKAGE_FOLDERS = ("exceptions", "transport", "actors", "cluster", "libs")
"""The folders of the root that belong to the installed package, lowest layer first."""


def project() -> dict:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def package_files() -> list[Path]:
    """Every Python file of the installed package: those of the root and all below the package's folders."""
    below = (path for folder in PACKAGE_FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted([*ROOT.glob("*.py"), *below])


def tracked_files() -> list[Path]:
    """The files git tracks, or would: those of the work tree that are not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in sorted(set(listing.stdout.split("\0"))) if name and (path := ROOT / name).is_file()]


def module_name(path: Path) -> str:
    """The name a file is imported by, such as "limelight.transport.channel"."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((PACKAGE, *(part for part in parts if part != "__init__")))


@dataclass(frozen=True)
class Import:
    """One name that a module imports from the package.

    Attributes:
        importer: the module that imports.
        line: where.
        target: the module imported, or the module that the name is imported from.
        name: the name taken from `target` when it is not a module itself, else "".
        absolute: it is written with the package's own name instead of dots.
    """

    importer: str
    line: int
    target: str
    name: str
    absolute: bool


def imports(path: Path) -> Iterator[Import]:
    """The imports of the package in one of its files, wherever they stand: in functions and under TYPE_CHECKING too."""
    importer = module_name(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        for target, name, absolute in _written(node, package):
            if target == PACKAGE or target.startswith(f"{PACKAGE}."):
                yield _resolved(importer, node.lineno, target, name, absolute)


def _written(node: ast.AST, package: str) -> Iterator[tuple[str, str, bool]]:
    """What an import says, as (module, name, absolute), with leading dots replaced by what they stand for."""
    match node:
        case ast.Import(names=aliases):
            yield from ((alias.name, "", True) for alias in aliases)
        case ast.ImportFrom(module=module, names=aliases, level=level):
            base = _absolute("." * level + (module or ""), package)
            yield from ((base, alias.name, level == 0) for alias in aliases)
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(module)), *_],
        ):
            yield (_absolute(module, package), "", not module.startswith("."))
        case _:
            pass


def _absolute(module: str, package: str) -> str:
    dots = len(module) - len(module.lstrip("."))
    if not dots:
        return module
    parts = package.split(".")
    return ".".join(filter(None, [*parts[: len(parts) - dots + 1], module[dots:]]))


def _resolved(importer: str, line: int, target: str, name: str, absolute: bool) -> Import:
    """`from . import channel` imports a module, `from .channel import Channel` a name: tell them apart by the tree."""
    if name and _is_module(f"{target}.{name}"):
        return Import(importer, line, f"{target}.{name}", "", absolute)
    return Import(importer, line, target, name, absolute)


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
