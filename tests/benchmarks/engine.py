"""The engines that are compared, each with an interpreter of its own."""

import compileall
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from tests import source_tree

RAY = "2.60.0"


ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        module: the name of the Python module that has the API; also what the engine is called.
        python: the interpreter that can import it.
        version: what is measured.
        paths: modules and packages that its drivers can import beside those of the interpreter, by name.
        environment: variables that its drivers get beside this process's own.
    """

    module: str
    python: Path
    version: str
    paths: dict[str, Path] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def limelight() -> Engine:
    """Limelight as it is in this work tree, with this interpreter."""
    # As pip leaves what it installs, Ray for one. Where PYTHONDONTWRITEBYTECODE is set, every process that starts
    # would compile the work tree anew, and a third of the time that init() takes would be the compiler's.
    for path in source_tree.package_files():
        compileall.compile_file(path, quiet=1)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    git = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return Engine("limelight", Path(sys.executable), f"{version} {commit}".strip(), {"limelight": ROOT})


def ray(cache: Path) -> Engine:
    """Ray in a virtual environment of its own below `cache`, made there when there is none.

    Raises:
        subprocess.CalledProcessError: venv or pip failed; what they said is on standard error.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    # Both engines get the same numpy: it does a part of the work in some cases.
    wanted = [f"ray[default]=={RAY}", f"numpy=={importlib.metadata.version('numpy')}"]
    folder = cache / f"ray-{RAY}-python{version}"
    python = folder / "bin" / "python"
    done = folder / "requirements.txt"
    if not done.exists() or done.read_text().split() != wanted:
        print(f"Installing {' and '.join(wanted)} in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True, stdout=sys.stderr)
        done.write_text("\n".join(wanted))
    return Engine("ray", python, RAY, environment={"RAY_USAGE_STATS_ENABLED": "0"})


def default_cache() -> Path:
    """Where the user's other programs keep what can be made again (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limelight"
