"""The main function of a node process."""

import asyncio
import contextlib
import gc
import logging

from .process.birth import NodeBirth
from .process.late_certificate import late_certificates

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main() -> None:
    """Run a node until its driver is gone or it is told to end."""
    birth = NodeBirth.receive()
    with birth.reporting():
        # Imported here, so that a failing import is reported to the driver like any other error.
        with late_certificates():
            from .worker_main import main as worker_main

        import msgspec

        from ..actors.native.wire import import_loop, new_loop
        from ..transport.version import VERSION
        from .node.node_config import NodeConfig
        from .node.node_process import run_node
        from .process.descriptor_limit import raise_descriptor_limit
        from .process.no_unpickling import refuse_unpickling
        from .process.zygote import start_zygote
        from .session_folder import SessionFolder
        from .session_heir import SessionHeir

        config = msgspec.msgpack.decode(birth.config, type=NodeConfig)
        folder = SessionFolder.create(VERSION, birth.driver_pid, log_folder=config.log_folder)
        with contextlib.ExitStack() as stack:
            stack.callback(folder.remove)
            birth.redirect_output(folder.logs / "node.log")
            logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
            heir = SessionHeir(folder.path, birth.driver_pid, birth.driver_identity)
            # Before the loop: a fork copies one thread only. It shares the pages of all that was imported by now. Not
            # even a closed uvloop loop may come before it: libuv then closes the descriptors of its signal pipe in each
            # child, by numbers that are a worker's standard streams by then.
            import_loop()
            zygote = start_zygote(worker_main, orphaned=heir.inherit)
            refuse_unpickling()
            raise_descriptor_limit()
            gc.enable()  # see launcher.py
            loop = new_loop()
            stack.callback(loop.close)
            asyncio.set_event_loop(loop)
            expelled = loop.run_until_complete(run_node(config, folder, zygote, birth))
    if expelled:
        birth.begin_anew()


if __name__ == "__main__":
    main()
