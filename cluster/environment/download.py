"""Packages that each node fetches for itself, from the network."""

import asyncio
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ...actors.package import MAX_BYTES, build_package
from ...exceptions import RuntimeEnvSetupError
from ..package_store import PackageStore, extract, within

_CHUNK = 1 << 20
_HTTP = ("http", "https")
_ALIASES = {"azure": "az", "gs": "gcs"}
_NEEDS = {"s3": "s3fs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "sftp": "paramiko"}


async def fetch_package(uri: str, store: PackageStore, limit: int = MAX_BYTES) -> str:
    """Fetch an archive, and store what is in it as a package.

    An archive that holds a single folder stands for what is in that folder, as archives of repositories do, unless the
    folder is a Python package.

    Args:
        uri: ends in .zip, .whl, .tar.gz or .tgz, before its query.
        store: where it goes.
        limit: most bytes to fetch, and to unpack.

    Returns:
        The package's URI in the store.

    Raises:
        RuntimeEnvSetupError: it cannot be fetched, or is none; without what follows "?", which may be secret.
    """
    shown = uri.partition("?")[0]
    try:
        with tempfile.TemporaryDirectory(prefix="limelight-download-") as temporary:
            archive = Path(temporary) / Path(urlsplit(uri).path).name
            with archive.open("wb") as file:
                if uri.partition("://")[0] in _HTTP:
                    await _fetch_http(uri, file, limit)
                else:
                    await asyncio.to_thread(_fetch_by_fsspec, uri, file, limit)
            return await asyncio.to_thread(_store, archive, Path(temporary) / "content", store, limit)
    except RuntimeEnvSetupError:
        raise
    except Exception as error:  # whatever some store's library raises
        raise RuntimeEnvSetupError(f"{shown} could not be fetched: {type(error).__name__}: {error}") from error


async def _fetch_http(uri: str, file: IO[bytes], limit: int) -> None:
    import aiohttp

    # The environment says how large archives are reached (HTTPS_PROXY, ~/.netrc); the time is set-up's to limit.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=60)
    async with aiohttp.ClientSession(trust_env=True, timeout=timeout) as session, session.get(uri) as response:
        if response.status != 200:  # noqa: PLR2004 - OK
            raise RuntimeEnvSetupError(
                f"{uri.partition('?')[0]} could not be fetched: the server answered {response.status} "
                f"{response.reason}."
            )
        left = limit
        async for chunk in response.content.iter_chunked(_CHUNK):
            left = _within(left - len(chunk), uri, limit)
            file.write(chunk)


def _fetch_by_fsspec(uri: str, file: IO[bytes], limit: int) -> None:
    scheme, _, place = uri.partition("://")
    scheme = _ALIASES.get(scheme, scheme)
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(f"{scheme}://{place}")
        source: Any = filesystem.open(path, "rb")
    except ImportError as error:
        packages = " ".join(dict.fromkeys(["fsspec", _NEEDS.get(scheme, "fsspec")]))
        raise RuntimeEnvSetupError(
            f"{scheme}:// needs packages that this node lacks ({error}): pip install {packages}"
        ) from error
    left = limit
    with source:
        while chunk := source.read(_CHUNK):
            left = _within(left - len(chunk), uri, limit)
            file.write(chunk)


def _within(left: int, uri: str, limit: int) -> int:
    if left < 0:
        raise RuntimeEnvSetupError(
            f"{uri.partition('?')[0]} is larger than the {limit >> 20} MiB a runtime environment may hold."
        )
    return left


def _store(archive: Path, folder: Path, store: PackageStore, limit: int) -> str:
    if archive.suffix == ".whl":
        package = build_package(archive, archive.parent, limit=limit)
    else:
        folder.mkdir()
        _unpack(archive, folder, limit)
        shutil.rmtree(folder / "__MACOSX", ignore_errors=True)
        inner = list(folder.iterdir())
        if len(inner) == 1 and inner[0].is_dir() and not (inner[0] / "__init__.py").exists():
            folder = inner[0]
        package = build_package(folder, archive.parent, excludes=["!*"], limit=limit)
    store.put(package.uri, package.path)
    return package.uri


def _unpack(archive: Path, folder: Path, limit: int) -> None:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            extract(opened, folder, limit)
        return
    import tarfile  # seldom wanted

    left = limit
    with tarfile.open(archive) as opened:
        for member in opened:
            target = within(folder, member.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            # Of a link the file that it leads to, in the archive; a KeyError where it leads elsewhere.
            content = opened.extractfile(member)
            if content is None:  # a device, or a link to a folder
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as unpacked:
                while chunk := content.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise ValueError(f"it unpacks to more than {limit} bytes")
                    unpacked.write(chunk)
            if member.mode & stat.S_IXUSR:
                target.chmod(0o755)
