"""System processes for tests that need a real one: each listens on loopback, under an id and a host of its own."""

import secrets

from limelight.cluster.system_process import SystemProcess
from limelight.transport.endpoint import Endpoint


async def listening(kind: str, process: SystemProcess | None = None) -> SystemProcess:
    """A system process of a kind ("head", "node"), started; a new one, or one that was made before."""
    made = process or SystemProcess()
    names = {"process_id": secrets.token_hex(16), "host_id": secrets.token_hex(8)}
    await made.start(Endpoint(**names, token=b"t" * 32, tcp="127.0.0.1:0", info={"kind": kind}, handler=made))
    return made
