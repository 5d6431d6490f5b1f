"""What is built and installed is the package: all of it, nothing else, and importable from anywhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.source_tree import PACKAGE, ROOT, module_name, package_files, tracked_files


def pip(*arguments: str | Path) -> None:
    """Run pip offline: the build backend and the dependencies are those of this environment."""
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--no-deps", "--no-build-isolation", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def run(*command: str | Path, cwd: Path, python_path: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(python_path)}
    words = [str(word) for word in command]
    result = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the tree, beside the folders that lie about in one that is worked in."""
    source = tmp_path_factory.mktemp("source")
    for path in tracked_files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    for stray in (".venv/lib/stray.py", "build/stray.py", "dist/stray.py"):
        (source / stray).parent.mkdir(parents=True)
        (source / stray).touch()
    built = tmp_path_factory.mktemp("wheel")
    pip("wheel", source, "--wheel-dir", built)
    return next(built.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"{PACKAGE}/{path.relative_to(ROOT).as_posix()}" for path in package_files()}
    assert names == expected | {f"{PACKAGE}/py.typed"}


def test_an_installed_wheel_imports_from_any_directory(wheel, tmp_path):
    site = tmp_path / "site"
    pip("install", wheel, "--target", site)
    for directory in (tmp_path, ROOT, Path("/")):
        found = run(
            sys.executable, "-c", "import limelight; print(limelight.__file__)", cwd=directory, python_path=site
        )
        assert Path(found) == site / PACKAGE / "__init__.py"


OPTIONAL = ["fsspec", "joblib", "numpy", "pandas", "polars", "pyarrow", "torch"]

BASE_PROGRAM = """
import importlib

for module in MODULES:
    importlib.import_module(module)

import limelight as ll


@ll.task
def size(data):
    return len(data)


@ll.actor
class Keeper:
    def keep(self, data):
        self.data = data
        return ll.get(size.remote(data))


ll.init(num_cpus=2)
data = ll.put(bytes(10_000_000))
print(ll.get([size.remote(data), Keeper.remote().keep.remote(data)]))
"""


def test_the_base_needs_no_package_of_an_extra(wheel, tmp_path):
    """Every module can be imported, and a session runs, where the optional packages are not installed."""
    pip("install", wheel, "--target", tmp_path)
    for name in OPTIONAL:  # found first, by the workers too
        error = f"No module named '{name}'"
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError({error!r}, name={name!r})")
    modules = [module_name(path) for path in package_files() if path != ROOT / "libs/util/joblib.py"]
    program = tmp_path / "program.py"
    program.write_text(f"MODULES = {modules}\n{BASE_PROGRAM}")
    assert run(sys.executable, "-W", "error", program, cwd=tmp_path, python_path=tmp_path) == "[10000000, 10000000]"
