"""The engines that are compared, each with an interpreter of its own."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

RAY = "2.60.0"


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        module: the name of the Python module that has the API; also what the engine is called.
        python: the interpreter that can import it.
        environment: variables that its drivers get beside this process's own.
    """

    module: str
    python: Path
    environment: dict[str, str] = field(default_factory=dict)

    def version(self) -> str:
        """The version of the installed distribution."""
        program = f"import importlib.metadata as m; print(m.version('{self.module}'))"
        found = subprocess.run([self.python, "-c", program], capture_output=True, text=True, check=False)
        return found.stdout.strip() or "from a work tree"


def limelight() -> Engine:
    """Limelight as this interpreter imports it."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return Engine("limelight", Path(sys.executable), {"PYTHONPATH": os.pathsep.join(paths)})


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
    return Engine("ray", python, {"PYTHONPATH": "", "RAY_USAGE_STATS_ENABLED": "0"})


def default_cache() -> Path:
    """Where the user's other programs keep what can be made again (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limelight"
