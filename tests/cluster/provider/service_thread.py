"""An aiohttp server on loopback in a thread of its own, for fakes of services that real client libraries speak to."""

import asyncio
import threading

from aiohttp import web


class ServiceThread:
    """Serves until `close`; subclasses add `routes`. Attributes may be changed from the test's thread."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="service")
        self._thread.start()
        self._runner: web.AppRunner | None = None
        self.go_on()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def routes(self, app: web.Application) -> None:
        raise NotImplementedError

    def call(self, coroutine):
        """Run something on the service's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def go_on(self) -> None:
        """Listen, unless it does."""
        if self._runner is None:
            self.call(self._listen())

    def stop(self) -> None:
        """Be away: connections are refused. What it knows stays."""
        if self._runner is not None:
            self.call(self._runner.cleanup())
            self._runner = None

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        app = web.Application()
        self.routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
