"""What gives machines to the cluster and takes them back: the contract that every provider keeps.

A provider is one file and one class. What it must do is little: make one machine, end one, list them, and say by which
command a person gets to one. That names are made once, that several are made at a time, and that errors name what
failed, is done here for all of them.

All that is known of a machine is kept where the provider keeps it (tags, labels, a file on the host), never here: a
provider that was started a moment ago lists the same instances as one that made them.
"""

import asyncio
import shlex
from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from .instance import Instance, NodeType, Role
from .node_start import NodeStart

AT_A_TIME = 16
"""Machines that are made, or ended, at the same time; the others wait for their turn."""


class ProviderError(Exception):
    """The provider did not do what it was asked for. The message is for people: what, why, and what to do."""


class Created(msgspec.Struct, frozen=True):
    """What has become of a request: the instances there are, and why it is not all ("": it is)."""

    instances: tuple[Instance, ...]
    error: str = ""


class NodeProvider(ABC):
    """On one event loop. Its methods may be called at the same time; each may take minutes.

    Args:
        cluster: names the cluster; a provider sees the instances of its own cluster only.

    Attributes:
        unseen: what could not be asked when instances were listed last, and why; "" where that was all.
    """

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.unseen = ""
        self._making: dict[str, asyncio.Task[Instance]] = {}
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def create(
        self, node_type: NodeType, names: Sequence[str], start: NodeStart, role: Role = "worker"
    ) -> Created:
        """Make an instance of each name, unless there is one. Never raises for what the provider refuses.

        Args:
            node_type: what to make.
            names: unique for all time; who asks again with the same names gets the same instances.
            start: what runs on them.
            role: what for.
        """
        results = await asyncio.gather(
            *(self._made(node_type, name, start, role) for name in names), return_exceptions=True
        )
        made = tuple(result for result in results if isinstance(result, Instance))
        problems = dict.fromkeys(str(result) for result in results if isinstance(result, ProviderError))
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ProviderError):
                raise result
        return Created(made, "; ".join(problems))

    async def terminate(self, instance_ids: Sequence[str]) -> None:
        """End instances; those that are gone already are no fault.

        Raises:
            ProviderError: some could not be told to end; the others were.
        """

        async def end(instance_id: str) -> None:
            async with self._turns:
                await self._end(instance_id)

        results = await asyncio.gather(*(end(one) for one in instance_ids), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        for result in failed:
            if not isinstance(result, ProviderError):
                raise result
        if failed:
            raise ProviderError("; ".join(dict.fromkeys(str(result) for result in failed)))

    @abstractmethod
    async def instances(self) -> list[Instance]:
        """All instances of the cluster that there are, whoever made them, also those that have failed.

        Raises:
            ProviderError: it cannot be known.
        """

    @abstractmethod
    def shell_command(self, instance: Instance, command: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        """What to run here in order to run `command` there; a login shell where it is empty.

        Args:
            instance: as listed.
            command: the program and its arguments.
            terminal: a person sits at it.
        """

    async def run_command(self, instance: Instance, command: Sequence[str], timeout: float = 60.0) -> str:  # noqa: ASYNC109
        """Run a program on a machine; returns what it wrote.

        Raises:
            ProviderError: it failed, or took longer than `timeout` seconds.
        """
        return await run_here(self.shell_command(instance, command), timeout=timeout)

    async def close(self) -> None:
        """Let go of connections; the machines stay."""
        for task in list(self._making.values()):
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    @abstractmethod
    async def _make(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> Instance:
        """Make one instance, or find the one of that name. Raises ProviderError where it is refused."""

    @abstractmethod
    async def _end(self, instance_id: str) -> None:
        """End one instance. Raises ProviderError where it is refused; not where there is none."""

    async def _made(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> Instance:
        """One instance; who asks while it is being made waits for that."""
        task = self._making.get(name)
        if task is None:
            task = self._making[name] = asyncio.create_task(self._make_in_turn(node_type, name, start, role))
            task.add_done_callback(lambda _: self._making.pop(name, None))
        return await asyncio.shield(task)

    async def _make_in_turn(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> Instance:
        async with self._turns:
            return await self._make(node_type, name, start, role)


async def run_here(
    command: Sequence[str],
    *,
    stdin: str = "",
    timeout: float = 60.0,  # noqa: ASYNC109
    secret: str = "",
) -> str:
    """Run a program on this machine; returns its standard output.

    Args:
        command: the program and its arguments.
        stdin: what it reads.
        timeout: seconds until it is killed.
        secret: what must not stand in an error message.

    Raises:
        ProviderError: it is not there, failed, or took too long.
    """
    shown = shlex.join(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise ProviderError(f"`{command[0]}` cannot be run here: {error.strerror}.") from error
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        raise ProviderError(f"`{shown}` has not ended within {timeout:g} s, and was killed.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = (err.decode(errors="replace").strip() or out.decode(errors="replace").strip())[-2000:]
        said = said.replace(secret, "<token>") if secret else said
        raise ProviderError(f"`{shown}` failed with exit code {process.returncode}: {said}")
    return out.decode(errors="replace")
