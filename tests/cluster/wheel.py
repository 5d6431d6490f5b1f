"""Tiny wheels, so that installers have something to install without an index; and one that takes for ever."""

import zipfile
from collections.abc import Sequence
from pathlib import Path


def make_wheel(
    folder: Path, name: str, version: str = "1.0", requires: Sequence[str] = (), code: str | None = None
) -> Path:
    """A wheel of one module, which has a VERSION, or that code.

    Args:
        folder: where it goes.
        name: of the distribution and of its module.
        version: of both.
        requires: what it depends on.
        code: of the module.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n" if code is None else code)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return path


def make_slow_source(folder: Path, begun: Path) -> Path:
    """A source distribution, "slow", whose build writes its process id to `begun` and waits until it is killed."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "slow"\nversion = "1.0"\n'
    )
    (folder / "backend.py").write_text(
        "import os, pathlib, signal\n"
        "def build_wheel(*a, **k):\n"
        f"    place = pathlib.Path({str(begun)!r})\n"
        "    place.with_suffix('.new').write_text(str(os.getpid()))\n"
        "    place.with_suffix('.new').rename(place)\n"
        "    signal.pause()\n"
        "def prepare_metadata_for_build_wheel(*a, **k): build_wheel()\n"
    )
    return folder
