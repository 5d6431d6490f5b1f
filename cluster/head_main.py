"""The main function of a head in a process of its own."""

import asyncio
import contextlib
import gc
import logging

from .process.birth import NodeBirth
from .process.late_certificate import late_certificates

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main() -> None:
    """Run a head until it is told to end. One that was replaced begins anew, and stands by."""
    birth = NodeBirth.receive("limelight: head")
    with birth.reporting():
        import msgspec

        with late_certificates():
            from ..actors.native.wire import new_loop
            from ..transport.version import VERSION
            from .head.head_config import HeadConfig
            from .head.head_process import run_head
        from .process.descriptor_limit import raise_descriptor_limit
        from .process.no_unpickling import refuse_unpickling
        from .session_folder import SessionFolder

        refuse_unpickling()
        raise_descriptor_limit()
        config = msgspec.msgpack.decode(birth.config, type=HeadConfig)
        folder = SessionFolder.create(VERSION, log_folder=config.log_folder)
        with contextlib.ExitStack() as stack:
            stack.callback(folder.remove)
            birth.redirect_output(folder.logs / "head.log")
            logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
            gc.enable()  # see launcher.py
            loop = new_loop()
            stack.callback(loop.close)
            asyncio.set_event_loop(loop)
            stands_by = loop.run_until_complete(run_head(config, folder, birth))
    if stands_by:
        birth.begin_anew()


if __name__ == "__main__":
    main()
