"""What makes this process a driver: it joins a node that is there, and leaves it again."""

import contextlib
import os
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from ..actors.contract import NODE, DriverRegistered, FlushOutput, RegisterDriver, decoder_of
from ..actors.native import job_setup
from ..actors.native.environment import Environments
from ..actors.native.hub import Hub
from ..actors.native.identity import Identity
from ..actors.native.runtime import NativeRuntime
from ..actors.native.store_client import StoreClient
from ..actors.runtime_env import RuntimeEnv
from ..exceptions import LocalRayletDiedError
from ..transport.address import ProcessAddress
from ..transport.error import TransportError
from .job_environment import JobEnvironment, current_job
from .node.node_config import NodeReady
from .process.launcher import NodeProcess
from .process.log_batch import LogBatch
from .process.output_printer import OutputPrinter, PrinterSettings
from .session_remains import remove_dead

_FLUSH_S = 2.0
"""How long `shutdown` waits for the last lines of the workers."""


def connect(settings: dict[str, Any], node: NodeReady, process: NodeProcess | None) -> NativeRuntime:
    """Join a node.

    Args:
        settings: of `init`.
        node: where it is.
        process: the node's process, where this driver started it and ends it when it leaves.

    Raises:
        TransportError: the node cannot be reached, or refuses.
    """
    process_id = secrets.token_hex(16)
    identity = Identity(
        process_id=process_id,
        host_id=node.host_id,
        token=bytes.fromhex(node.token),
        socket=str(Path(node.folder) / "sockets" / process_id[:12]),
        node=node.address,
        gate=node.address.tcp,
        tls=node.tls,
        session_folder=node.folder,
        namespace=settings.get("namespace") or secrets.token_hex(16),
        is_driver=True,
    )
    store = StoreClient()
    hub = Hub(identity, store)
    hub.job_id = secrets.token_bytes(4)
    if process is not None:
        hub.node_loss.obituary = process.obituary
    # Started by a job, a session of its own is none of the job's business.
    job = current_job() if process is None else None
    hub.environments = Environments(hub, definition=job.definition if job is not None else b"")
    given = RuntimeEnv.of(settings.get("runtime_env"))
    wanted = given if job is None else job.merged(given)
    address = hub.start()
    try:
        registered = _register(hub, address, settings, job)
        hub.joined(registered)
        hub.environments.adopt(wanted)
    except BaseException:
        hub.stop()
        raise
    hub.runtime_env = dict(hub.environments.own)
    store.attach(hub, registered.arena)

    printer = OutputPrinter(PrinterSettings.from_environment(), "127.0.0.1")
    hub.on_output = lambda batch: printer.show(msgspec.msgpack.decode(batch, type=LogBatch))

    def close() -> None:
        with contextlib.suppress(TransportError, LocalRayletDiedError):  # the node is gone, and nothing is left to show
            hub.ask(hub.node, NODE, FlushOutput(), timeout=_FLUSH_S)
        hub.wire.run(printer.close())
        hub.stop()
        store.close()
        if process is not None:
            process.end()
            remove_dead(Path(node.folder))  # a node process that was killed could not

    return NativeRuntime(hub, close)


def _register(
    hub: Hub, address: ProcessAddress, settings: dict[str, Any], job: JobEnvironment | None
) -> DriverRegistered:
    shown = settings.get("log_to_driver")
    body = RegisterDriver(
        address,
        hub.job_id,
        hub.namespace,
        shown is None or bool(shown),
        folder=job_setup.current_folder(),
        search_path=job_setup.search_path(),
        pid=os.getpid(),
        command=shlex.join(sys.orig_argv),
        submission_id=job.submission_id if job is not None else "",
        started=int(time.time() * 1000),
    )
    return decoder_of(DriverRegistered).decode(hub.ask(hub.node, NODE, body, timeout=30.0))
