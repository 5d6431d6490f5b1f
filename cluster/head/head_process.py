"""A head in a process of its own: it can be restarted while the cluster's nodes go on."""

import asyncio
import logging
import secrets
import signal

import msgspec

from ...transport.endpoint import Endpoint
from ..host_id import host_id
from ..node.head_link import about_this_process
from ..process.birth import NodeBirth
from ..session_folder import SessionFolder, read_info
from ..system_process import SystemProcess
from .head import Head
from .head_config import HeadConfig, HeadReady

logger = logging.getLogger(__name__)


async def run_head(config: HeadConfig, folder: SessionFolder, birth: NodeBirth) -> None:
    """Serve until a signal comes, which ends the cluster: its nodes are told.

    Should the command die that runs it in the foreground, the head ends as if killed: the nodes wait for the next one.
    """
    ended, orphaned = asyncio.Event(), asyncio.Event()

    def orphan() -> None:
        orphaned.set()
        ended.set()

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
    head = Head(process)
    process.actors["head"] = head
    folder.write_token(config.token)
    watch = birth.watch_driver(orphan)
    info = read_info(folder.path)
    if info is not None:
        told = msgspec.structs.replace(info, address=process.address.tcp, node=process.address, kind="head")
        folder.write_info(told)
    birth.ready(msgspec.msgpack.encode(HeadReady(process.address, folder.name, str(folder.path))))
    logger.info("listening at %s", process.address.tcp)
    try:
        await ended.wait()
    finally:
        if not orphaned.is_set():
            head.end_cluster("the cluster was stopped")
        if watch is not None:
            watch.close()
        head.close()
        await process.close()
