"""A conda channel in a folder: this Python, and a package in two versions. Small enough for a test to make.

Source of the forms: docs.conda.io, "Package specification" and "Creating custom channels".
"""

import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path
from typing import Any

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def make_channel(folder: Path) -> str:
    """Fill a folder with `python`, which is this one by way of links, and "trifle" 1.5 and 1.6.

    Returns:
        The channel's URL.
    """
    own = Path(sys.base_prefix) / "bin" / f"python{MINOR}"
    # A link and a pyvenv.cfg make it a Python with the environment's folder as its own.
    python = {
        "pyvenv.cfg": f"home = {own.parent}\ninclude-system-site-packages = false\n",
        f"bin/python{MINOR}": own,
        "bin/python": Path(f"python{MINOR}"),
        f"lib/python{MINOR}/site-packages/README": "packages",
    }
    made = [_package(folder, "python", platform.python_version(), python, {"subdir": _subdir()})]
    for version in ("1.5", "1.6"):
        files = {"site-packages/trifle.py": f"VERSION = {version!r}\n"}
        about = {"subdir": "noarch", "noarch": "python", "depends": ["python"]}
        made.append(_package(folder, "trifle", version, files, about))
    for subdir in ("noarch", _subdir()):
        packages = {name: record for name, record in made if record["subdir"] == subdir}
        document = {"info": {"subdir": subdir}, "packages": packages, "packages.conda": {}, "repodata_version": 1}
        (folder / subdir / "repodata.json").write_text(json.dumps(document))
    return folder.as_uri()


def _subdir() -> str:
    return "linux-64" if platform.machine() == "x86_64" else f"linux-{platform.machine()}"


def _package(
    folder: Path, name: str, version: str, files: dict[str, str | Path], about: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """A package, and what the channel's index says of it; a path among the files is where a link leads."""
    index = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": [], **about}
    documents = {"info/index.json": json.dumps(index), "info/files": "\n".join(files)}
    if "noarch" in about:
        link = {"noarch": {"type": about["noarch"]}, "package_metadata_version": 1}
        documents["info/link.json"] = json.dumps(link)
    paths = [
        {
            "_path": path,
            "path_type": "softlink" if isinstance(content, Path) else "hardlink",
            "sha256": hashlib.sha256(b"" if isinstance(content, Path) else content.encode()).hexdigest(),
            "size_in_bytes": 0 if isinstance(content, Path) else len(content),
        }
        for path, content in files.items()
    ]
    documents["info/paths.json"] = json.dumps({"paths": paths, "paths_version": 1})
    target = folder / about["subdir"] / f"{name}-{version}-0.tar.bz2"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:bz2") as archive:
        for path, content in {**files, **documents}.items():
            member = tarfile.TarInfo(path)
            if isinstance(content, Path):
                member.type, member.linkname = tarfile.SYMTYPE, str(content)
                archive.addfile(member)
            else:
                member.size = len(content.encode())
                archive.addfile(member, io.BytesIO(content.encode()))
    raw = target.read_bytes()
    sums = {"md5": hashlib.md5(raw, usedforsecurity=False).hexdigest(), "sha256": hashlib.sha256(raw).hexdigest()}
    return target.name, {**index, **sums, "size": len(raw)}
