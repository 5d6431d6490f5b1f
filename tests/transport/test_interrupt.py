"""Ctrl-C strikes a thread that sends: what it has queued leaves nevertheless, and the channel goes on."""

import asyncio

from limelight.transport import channel
from limelight.transport.address import ProcessAddress
from limelight.transport.twin import connect_twins
from tests.interrupts import interrupts

DEADLINE = 10.0
NEAR, FAR = ProcessAddress("near", "here"), ProcessAddress("far", "here")


class Handler:
    def __init__(self):
        self.methods = []

    def on_connected(self, channel):
        pass

    def on_call(self, channel, call):
        self.methods.append(call.method)

    def on_lost(self, channel, error):
        pass


async def test_a_message_that_was_queued_when_ctrl_c_struck_leaves_by_itself():
    handler = Handler()
    near, far = connect_twins(NEAR, Handler(), FAR, handler)
    loop = asyncio.get_running_loop()

    def interrupt_all():
        for step in interrupts(lambda: near.notify("core", "Struck", b""), channel):
            asyncio.run_coroutine_threadsafe(empty(step), loop).result(DEADLINE)

    async def empty(step):
        async with asyncio.timeout(1):
            while near._queue:  # noqa: ASYNC110 - the channel tells nobody
                await asyncio.sleep(0)
        assert not near._flushing, f"nothing more is sent after an interrupt at moment {step}"

    await asyncio.to_thread(interrupt_all)
    near.notify("core", "Last", b"")
    async with asyncio.timeout(DEADLINE):
        while handler.methods[-1:] != ["Last"]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    await near.close()
    await far.close()
