"""A head in a process of its own: it can be restarted while the cluster's nodes go on."""

import asyncio
import logging
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...transport.endpoint import Endpoint
from ..host_id import host_id
from ..node.head_link import about_this_process
from ..process.birth import NodeBirth
from ..session_folder import SessionFolder, read_info
from ..system_process import SystemProcess
from .head import Head
from .head_config import HeadConfig, HeadReady

if TYPE_CHECKING:
    from ..web.web_server import WebServer

logger = logging.getLogger(__name__)


async def run_head(config: HeadConfig, folder: SessionFolder, birth: NodeBirth) -> None:
    """Serve until a signal comes. SIGTERM ends the cluster: its nodes are told."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, ended.set)
    process = SystemProcess()
    endpoint = Endpoint(
        process_id=secrets.token_hex(16),
        host_id=host_id(),
        token=bytes.fromhex(config.token),
        unix_path=folder.socket_path("head"),
        tcp=config.tcp,
        tls=config.tls,
        info=about_this_process("head", folder.name, is_head=True),
        handler=process,
    )
    await process.start(endpoint)
    head = Head(process, Path(config.packages) if config.packages else folder.path / "packages")
    head.session = folder.name
    process.actors["head"] = head
    web = await _start_web(config, head)
    folder.write_token(config.token)
    info = read_info(folder.path)
    if info is not None:
        told = msgspec.structs.replace(info, address=process.address.tcp, node=process.address, kind="head")
        folder.write_info(told)
    ready = HeadReady(process.address, folder.name, str(folder.path), head.dashboard)
    birth.ready(msgspec.msgpack.encode(ready))
    logger.info("listening at %s", process.address.tcp)
    try:
        await ended.wait()
    finally:
        if web is not None:
            await web.close()
        head.end_cluster("the cluster was stopped")
        head.close()
        await process.close()


async def _start_web(config: HeadConfig, head: Head) -> "WebServer | None":
    """The web server, if one is wanted.

    Raises:
        AddressInUseError, OSError: it cannot listen.
    """
    if not config.dashboard_host:
        return None
    from ..web.web_server import WebServer  # half the time that a head takes to start

    server = WebServer(head, config.token, config.tls)
    host = config.tcp.rpartition(":")[0].removeprefix("[").removesuffix("]")
    await server.start(config.dashboard_host, config.dashboard_port, host)
    head.dashboard = server.url
    return server
