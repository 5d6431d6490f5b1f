"""A node's dealings with runtime environments: has all at hand that a worker needs, before it starts."""

import asyncio
import logging
from typing import Any, NamedTuple

from ...actors.contract import (
    HEAD,
    DescribeEnvironment,
    EnvironmentDefinition,
    PrepareEnvironment,
    decoder_of,
)
from ...actors.runtime_env import RuntimeEnv
from ...exceptions import RuntimeEnvSetupError
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call, Reply
from ..environment.workshop import Found, Workshop, preset
from ..process.interpreter import Interpreter
from ..process.spawner_set import SpawnerSet
from ..system_process import SystemProcess
from .package_desk import PackageDesk

_SETUP_S = 600
"""Seconds that setting up may take, unless the environment says otherwise: Ray's default."""

_FAILED_S = 10.0
"""How long a failure is remembered, in seconds; tasks that come meanwhile fail at once. Ray's default."""

logger = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """An environment that is ready for a worker; kept until `release`.

    Attributes:
        definition: the encoded `EnvironmentDefinition`.
        packages: where each of its packages is unpacked, by URI.
        found: the interpreter that its workers run in.
        preset: variables that its workers find set.
        patience: seconds that a worker may take until it is ready; None: no limit.
    """

    definition: bytes = b""
    packages: dict[str, str] = {}  # noqa: RUF012 - never changed
    found: Found = Found()
    preset: list[str] = []  # noqa: RUF012 - never changed
    patience: float | None = None


class EnvironmentDesk:
    """Part of the node manager; on its loop.

    Args:
        process: the node process.
        head: knows what keys stand for.
        packages: has the files.
        workshop: has the interpreters.
        spawners: start workers in them.
        idle_s: how long an interpreter that no worker runs in any more stays warm, in seconds.
    """

    def __init__(
        self,
        process: SystemProcess,
        head: ProcessAddress,
        packages: PackageDesk,
        workshop: Workshop,
        spawners: SpawnerSet,
        idle_s: float,
    ) -> None:
        self._process = process
        self._head = head
        self._packages = packages
        self._workshop = workshop
        self._spawners = spawners
        self._idle_s = idle_s
        self._definitions: dict[str, bytes] = {}
        self._failures: dict[str, tuple[RuntimeEnvSetupError, float]] = {}
        self._users: dict[Interpreter, int] = {}
        self._early: dict[bytes, set[asyncio.Task[None]]] = {}
        self.methods = {**packages.methods, "PrepareEnvironment": self._on_prepare}

    async def close(self) -> None:
        """Let go of all packages and environments."""
        await self._workshop.close()
        self._packages.close()

    async def prepare(self, key: str) -> Prepared:
        """Have an environment at hand.

        A failure is remembered for a while, so that many tasks do not each wait for the same one; then it is tried
        again.

        Raises:
            RuntimeEnvSetupError: it cannot be set up; says why.
        """
        if not key:
            return Prepared()
        loop = asyncio.get_running_loop()
        failed = self._failures.get(key)
        if failed is not None and loop.time() < failed[1]:
            raise RuntimeEnvSetupError(failed[0].error_message)
        self._failures.pop(key, None)
        try:
            return await self._prepare(key)
        except Exception as error:
            told = error if isinstance(error, RuntimeEnvSetupError) else _unexpected(error)
            self._failures[key] = (told, loop.time() + _FAILED_S)
            raise told from error

    async def _prepare(self, key: str) -> Prepared:
        definition = await self._definition(key)
        described: EnvironmentDefinition = decoder_of(EnvironmentDefinition).decode(definition)
        env = RuntimeEnv.deserialize(described.env)
        seconds = env.get("config", {}).get("setup_timeout_seconds", _SETUP_S)
        limit = None if seconds < 0 else seconds
        packages: dict[str, str] = {}
        try:
            async with asyncio.timeout(limit):
                for uri in env.uris():
                    packages[uri] = str(await self._packages.acquire(uri, described.packages.get(uri)))
                found = await self._workshop.find(env, _folder(env, packages))
        except BaseException as error:
            for uri in packages:
                self._packages.release(uri)
            if isinstance(error, TimeoutError):
                said = self._workshop.said(env, _folder(env, packages))
                raise RuntimeEnvSetupError(
                    f"Setting up the runtime environment took longer than {limit} s; see setup_timeout_seconds.{said}"
                ) from None
            raise
        if found.interpreter is not None:
            self._users[found.interpreter] = self._users.get(found.interpreter, 0) + 1
        return Prepared(definition, packages, found, preset(env, found), limit)

    def process_lost(self, process_id: str) -> None:
        """A driver or worker is gone."""
        self._packages.process_lost(process_id)

    def job_ended(self, job_id: bytes) -> None:
        """A job is over: what is set up early for its sake is not wanted any more, unless others wait for it."""
        for early in self._early.pop(job_id, ()):
            early.cancel()

    def release(self, prepared: Prepared) -> None:
        """A worker that used it has ended."""
        for uri in prepared.packages:
            self._packages.release(uri)
        if prepared.found.interpreter is not None:
            # The next worker may come soon, and until then the interpreter is kept, with what it runs from.
            asyncio.get_running_loop().call_later(self._idle_s, self._cool, prepared.found)

    def _cool(self, found: Found) -> None:
        interpreter = found.interpreter
        if interpreter is None:
            return
        self._users[interpreter] -= 1
        if self._users[interpreter]:
            self._workshop.let_go(found)
        else:
            self._process.spawn(self._retire(interpreter, found))

    async def _retire(self, interpreter: Interpreter, found: Found) -> None:
        if self._users.get(interpreter) == 0:  # else a worker has begun in it since it was found to be idle
            del self._users[interpreter]
            await self._spawners.retire(interpreter)
        self._workshop.let_go(found)

    async def _definition(self, key: str) -> bytes:
        found = self._definitions.get(key)
        if not found:
            found = await self._described(key)
            if not found:
                raise RuntimeEnvSetupError(f"The head does not know the runtime environment {key}: it was restarted.")
            self._definitions[key] = found
        return found

    async def _described(self, key: str) -> bytes:
        """What the head says of a key, however long it is away: what was submitted waits for it, and is not failed."""
        answer: asyncio.Future[Reply | TransportError] = asyncio.get_running_loop().create_future()

        def answered(reply: Reply | TransportError) -> None:
            if not answer.done():
                answer.set_result(reply)

        self._process.ask(self._head, HEAD, DescribeEnvironment(key), answered)
        reply = await answer
        if isinstance(reply, TransportError) or reply.failed:
            why = reply if isinstance(reply, TransportError) else "it failed there"
            raise RuntimeEnvSetupError(f"The head did not say what the runtime environment is: {why}")
        return reply.body

    def _on_prepare(self, _: Channel, call: Call) -> None:
        wanted: PrepareEnvironment = decoder_of(PrepareEnvironment).decode(call.body)
        mine = self._early.setdefault(wanted.job_id, set())
        early = self._process.spawn(self._prepare_early(wanted.key))
        mine.add(early)

        def done(_: object) -> None:
            mine.discard(early)
            if not mine and self._early.get(wanted.job_id) is mine:
                del self._early[wanted.job_id]

        early.add_done_callback(done)

    async def _prepare_early(self, key: str) -> None:
        """Set an environment up before a task needs it; the tasks will hear of a failure."""
        try:
            prepared = await self.prepare(key)
        except RuntimeEnvSetupError as error:
            logger.warning("A job's runtime environment could not be set up: %s", error)
        else:
            self.release(prepared)


def _folder(env: RuntimeEnv, packages: dict[str, str]) -> str:
    working_dir: Any = env.get("working_dir")
    return packages.get(working_dir, "")


def _unexpected(error: Exception) -> RuntimeEnvSetupError:
    return RuntimeEnvSetupError(f"The runtime environment could not be set up: {type(error).__name__}: {error}")
