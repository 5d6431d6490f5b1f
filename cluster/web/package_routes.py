"""Taking in the packages that jobs are submitted with."""

import asyncio
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from ...actors.package import MAX_BYTES, SCHEME

if TYPE_CHECKING:
    from ..head.head import Head

_NAME = re.compile(r"([0-9a-f]{64})\.zip")
_PART = 1 << 20


def add_package_routes(app: web.Application, head: "Head") -> None:
    """Add them to an application."""
    routes = PackageRoutes(head)
    path = "/api/packages/{protocol}/{name}"
    app.add_routes([web.get(path, routes.find), web.put(path, routes.take)])


class PackageRoutes:
    """The handlers."""

    def __init__(self, head: "Head") -> None:
        self._packages = head.packages

    async def find(self, request: web.Request) -> web.Response:
        """Whether a package is here, and not damaged: else it is sent again."""
        uri = _uri(request)
        if uri is None:
            return _no_package(request)
        there = await asyncio.to_thread(lambda: self._packages.store.is_intact(uri))
        return web.Response(status=200 if there else 404)

    async def take(self, request: web.Request) -> web.Response:
        """Keep a package, whose content must be what its name says."""
        uri = _uri(request)
        if uri is None:
            return _no_package(request)
        if (request.content_length or 0) > MAX_BYTES:
            return _too_large()
        try:
            return await self._keep(uri, request)
        except OSError as error:
            text = f"The head cannot keep the package: {error}. Is the disk of its machine full?"
            return web.Response(status=507, text=text)

    async def _keep(self, uri: str, request: web.Request) -> web.Response:
        with tempfile.NamedTemporaryFile(prefix="limelight-package-") as file:
            size = 0
            async for part in request.content.iter_chunked(_PART):
                size += len(part)
                if size > MAX_BYTES:
                    return _too_large()
                await asyncio.to_thread(file.write, part)
            file.flush()
            try:
                await asyncio.to_thread(lambda: self._packages.store.put(uri, Path(file.name)))
            except ValueError as error:
                return web.Response(status=400, text=str(error))
        return web.Response(status=200)


def _uri(request: web.Request) -> str | None:
    found = _NAME.fullmatch(request.match_info["name"])
    protocol = f"{request.match_info['protocol']}://"
    return SCHEME + found[1] if found is not None and protocol == SCHEME else None


def _no_package(request: web.Request) -> web.Response:
    return web.Response(status=400, text=f"{request.path} names no package: that is pkg/, its SHA-256, and .zip.")


def _too_large() -> web.Response:
    return web.Response(status=413, text=f"A package may have at most {MAX_BYTES} bytes.")
