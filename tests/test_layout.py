"""The tree keeps its shape: layers point one way, files stay small, and the package list is the tree's."""

import ast
import graphlib
import re

import pytest

from tests.source_tree import (
    PACKAGE,
    PACKAGE_FOLDERS,
    ROOT,
    Import,
    imports,
    module_name,
    package_files,
    project,
    tracked_files,
)

TOP_LEVEL = {
    *("actors", "cluster", "docs", "examples", "exceptions", "libs", "tests", "transport", ".ci"),
    *("CHANGELOG.md", "LICENSE", "README.md", "constraints.txt", "pyproject.toml", ".gitignore"),
    *("__init__.py", "py.typed"),
}
"""All that lies at the repository's root. Folders are fixed; a new file there is a decision, so it is named here."""

LINES_AT_MOST = 450
LONGER_FILES: dict[str, str] = {}
"""Files that may be longer, and why. There are none; splitting by concept comes before adding one."""

VAGUE_NAMES = {"utils", "common", "core", "helpers", "helper", "misc", "base_impl"}
"""Names that say nothing of what is inside."""

LAYERS = PACKAGE_FOLDERS
"""A module imports from its own layer and from those before it. The root package, the public face, may import all."""

PUBLIC = {PACKAGE, f"{PACKAGE}.exceptions"}
"""What the libraries are written against: names of the root package and the tree of errors."""

ONE_PROCESS = {"head", "node", "web"}
"""Packages of `cluster` that import each other: a local session's node process has all three in it."""

FILES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in package_files()]


def layer(module: str) -> int:
    """The rank of a module's layer; the root package's own modules are above all."""
    parts = module.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 1 and parts[1] in LAYERS else len(LAYERS)


def fault(found: Import) -> str | None:
    """What is wrong with an import, in words, or None."""
    here, there = layer(found.importer), layer(found.target)
    if found.absolute:
        return "names its own package; write a relative import"
    if here == LAYERS.index("libs"):
        if found.target not in PUBLIC and there != here:
            return "reaches behind the public API; a library imports names of the root package only"
        if found.target == PACKAGE and found.name.startswith("_"):
            return "takes a private name of the root package"
        return None
    return "points up: layers are " + " <- ".join(LAYERS) if there > here else None


@pytest.mark.parametrize("path", FILES)
def test_imports_are_relative_and_point_down(path):
    faults = [
        f"{path.relative_to(ROOT)}:{found.line}: the import of {found.target} {found.name} {problem}"
        for found in imports(path)
        if (problem := fault(found))
    ]
    assert not faults, "\n".join(faults)


def test_the_packages_of_the_cluster_do_not_import_each_other_in_circles():
    packages = {path.parent.name for path in (ROOT / "cluster").glob("*/__init__.py")}
    known_as = {name: "head, node, web" if name in ONE_PROCESS else name for name in packages}
    uses: dict[str, set[str]] = {name: set() for name in known_as.values()}
    for path in (ROOT / "cluster").glob("*/*.py"):
        here = known_as[path.parent.name]
        targets = {tuple(found.target.split(".")[1:3]) for found in imports(path)}
        uses[here] |= {known_as[name] for name in packages if ("cluster", name) in targets} - {here}
    assert uses["job"], "the rule sees imports"
    graphlib.TopologicalSorter(uses).prepare()  # CycleError names the circle


@pytest.mark.parametrize(
    ("importer", "target", "name", "allowed"),
    [
        ("transport.channel", "transport.protocol", "Call", True),
        ("transport.channel", "exceptions", "PeerLostError", True),
        ("actors.task", "transport.channel", "Channel", True),
        ("transport.channel", "actors.ids", "", False),
        ("actors.task", "cluster.scheduler", "Scheduler", False),
        ("actors.task", "", "get", False),
        ("cluster.node", "libs.util", "", False),
        ("libs.util.queue", "", "get", True),
        ("libs.util.queue", "", "_session", False),
        ("libs.util.queue", "libs.util.pool", "", True),
        ("libs.util.queue", "actors.runtime", "current", False),
        ("", "cluster.session", "start", True),
    ],
)
def test_the_layer_rule_itself(importer, target, name, allowed):
    importer, target = (f"{PACKAGE}.{module}".rstrip(".") for module in (importer, target))
    assert (fault(Import(importer, 1, target, name, absolute=False)) is None) == allowed


def test_imports_are_found_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.source_tree.ROOT", tmp_path)
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "task.py").touch()
    path = tmp_path / "actors" / "cell.py"
    path.write_text(
        "from . import task\n"
        "def later():\n"
        "    from ..cluster.node import Node\n"
        "    import limelight.libs\n"
        "    importlib.import_module('..libs', __package__)\n"
        "import os\n"
    )
    assert [(found.line, found.target, found.name, found.absolute) for found in imports(path)] == [
        (1, "limelight.actors.task", "", False),
        (3, "limelight.cluster.node", "Node", False),
        (4, "limelight.libs", "", True),
        (5, "limelight.libs", "", False),
    ]


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_short_documented_and_named_for_what_is_in_it(path):
    source = path.read_text()
    name = str(path.relative_to(ROOT))
    assert ast.get_docstring(ast.parse(source)), f"{name} does not begin by saying what it holds."
    assert path.stem not in VAGUE_NAMES, f"{name}: name the file for the one concept in it."
    lines = source.count("\n")
    assert lines <= LINES_AT_MOST or name in LONGER_FILES, f"{name} has {lines} lines: split it by concept."


@pytest.mark.parametrize("path", FILES)
def test_a_library_does_not_print(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    lines = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not lines, f"{path.relative_to(ROOT)} prints in lines {lines}: log, or write to the stream that is meant."


def test_longer_files_are_still_longer():
    short = [name for name in LONGER_FILES if (ROOT / name).read_text().count("\n") <= LINES_AT_MOST]
    assert not short, f"Take {short} off the list: they fit now."


def test_setuptools_packages_are_the_tree():
    listed = project()["tool"]["setuptools"]["packages"]
    in_tree = sorted(module_name(path) for path in package_files() if path.name == "__init__.py")
    assert listed == in_tree, "pyproject.toml's [tool.setuptools] packages must list the tree's packages, sorted."


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in package_files()}
    missing = sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists())
    assert not missing, f"{missing} have no __init__.py, so a wheel would leave them out."


def test_tests_are_no_package():
    """The root is a package, so a package below it would make pytest import the whole of it under a second name."""
    found = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("__init__.py"))
    assert not found, f"Remove {found}: test modules are told apart by their path."


def test_the_top_level_is_the_fixed_one():
    unexpected = {path.relative_to(ROOT).parts[0] for path in tracked_files()} - TOP_LEVEL
    assert not unexpected, f"{sorted(unexpected)} lie at the root; README.md and docs/design.md say what goes where."


def test_no_file_names_a_machine():
    """A path of somebody's machine in a file works nowhere else."""
    own_path = re.compile(r"(?<![\w./])/(home/[a-z]|Users/[A-Za-z]|root/|work/[a-z]|tmp/v/|opt/wheels|opt/pypi)")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if own_path.search(line)
    ]
    assert not found, "These lines name a path of one machine:\n" + "\n".join(found)
