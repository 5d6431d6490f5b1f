"""Finds the cluster's head, or makes it: one, also where several people type `cluster up` in the same second.

A provider lists and makes machines; most of them cannot make one only if there is none. So two may find no head, and
make one each. What each does then leaves one of the two, by what all can see, whatever is slow:

1. Who has made a head lists again. If one whose name sorts after its own answers already, whoever made that may be
   done, and the cluster in use: the one just made is ended.
2. The one whose name sorts first is the head. Who made it waits until it answers, and lists again: it is the head
   for good if it still sorts first, for one that is made later finds it answering, by the first rule. Its maker ends
   the others.
3. All others wait until one is left, and that is the head. They end nothing: the first may be one that its own maker
   ends, by the first rule.

Who is interrupted still keeps to the first rule, and ends what he made if another is the head by then. Who is killed
does not: so where one sorts first and answers, and nobody ends the others for `SETTLE_S`, who made one ends that.
"""

import asyncio
import shlex
import time
from collections.abc import Sequence
from typing import Final

from ..provider.instance import Instance
from ..provider.node_provider import NodeProvider, ProviderError
from ..provider.node_start import shell_words
from .cluster_file import ClusterFile
from .machine_step import LaunchError, Tell, create, end, instances_of, names_of, new_names

LOOK_S: Final = 0.5

SETTLE_S: Final = 30.0
"""How long who made a head that answers may take to end the others; then it is taken for interrupted."""


class HeadElection:
    """One person's part in it.

    Args:
        file: what there should be.
        provider: gives the machines.
        token: the cluster's secret.
        tell: see there.

    Attributes:
        made: the name of the head that this has made; "": none that is there still.
    """

    def __init__(self, file: ClusterFile, provider: NodeProvider, token: str, tell: Tell) -> None:
        self._file = file
        self._provider = provider
        self._token = token
        self._tell = tell
        self._problem = "it is not running yet"
        self._contended = self._overlooked = False
        self._first = ""
        self._since = time.monotonic()
        self._compared = True
        self.made = ""

    async def head(self) -> Instance:
        """The head's machine, which answers.

        Raises:
            LaunchError: the provider refuses; the head has failed, is gone, or does not answer in time.
        """
        deadline = time.monotonic() + 60 * self._file.section.launch_timeout_minutes
        await self._clear_failed()
        try:
            return await self._elected(deadline)
        except asyncio.CancelledError:
            await self._withdraw()
            raise

    async def _elected(self, deadline: float) -> Instance:
        while time.monotonic() < deadline:
            heads = await self._heads()
            if not heads:
                await self._make()
                continue
            head = heads[0]
            if head.name != self._first:
                self._first, self._since = head.name, time.monotonic()
            if not await self._answers(head):
                self._since = time.monotonic()
            elif await self._is_settled(head):
                return head
            await asyncio.sleep(LOOK_S)
        minutes = self._file.section.launch_timeout_minutes
        raise LaunchError(
            f"The head's machine {self._first} has not answered within {minutes:g} minutes: {self._problem}"
        )

    async def _is_settled(self, head: Instance) -> bool:
        """Have a head that answers be the only one; False where that is for others to do, or it is not the first."""
        heads = await self._heads()
        if not heads or heads[0].name != head.name:
            return False
        others = [one for one in heads if one.name != head.name]
        if self.made == head.name and not self._overlooked:
            await self._end(others, f"{head.name} was made at the same time, and is the head")
            return True
        waited = time.monotonic() - self._since
        if waited > SETTLE_S and self.made:
            await self._end_own(others, f"{head.name} was made at the same time, and is the head")
        elif waited > 2 * SETTLE_S and others:
            raise LaunchError(
                f"The cluster {self._file.name!r} has several heads: {names_of(heads)}. `cluster down` ends all of it; "
                "then run `cluster up` again."
            )
        return not others

    async def _make(self) -> None:
        """Make a head, unless there was one that is gone for reasons of its own."""
        if self._first and not self._contended:
            raise LaunchError(f"The head's machine {self._first} is gone. Run `cluster up` again.")
        if self._provider.unseen:
            self._tell(f"note: a head that runs elsewhere would not be seen: {self._provider.unseen}")
            self._overlooked = True
        [self.made] = new_names(self._file.head_type().name, 1)
        self._tell(f"making the head: {self.made}")
        self._compared = False
        await self._compare()

    async def _compare(self) -> None:
        """Have the head there that was just made, and end it if one that sorts after it answers: it may be in use."""
        node_type, start = self._file.head_type(), self._file.head_start(self._token)
        await create(self._provider, node_type, [self.made], start, head=True)
        self._first, self._contended = self.made, False
        heads = await self._heads()
        for other in heads:
            if other.name > self.made and await self._answers(other):
                self._compared = True
                await self._end_own(heads, f"{other.name} is the head already")
                return
        self._compared = True

    async def _withdraw(self) -> None:
        """Interrupted: leave a head that nobody compares with others only where it is the head, as far as is known."""
        if not self._compared:
            await self._compare()
        heads = await self._heads()
        if self.made and heads and heads[0].name != self.made and await self._answers(heads[0]):
            await self._end_own(heads, f"{heads[0].name} is the head")

    async def _end_own(self, heads: Sequence[Instance], why: str) -> None:
        mine, self.made = [one for one in heads if one.name == self.made], ""
        await self._end(mine, why)

    async def _heads(self) -> list[Instance]:
        """Those that run, or will, the first of them the head, as far as is known.

        Raises:
            LaunchError: there is none, for the one that was to be it has failed.
        """
        there = sorted((one for one in await instances_of(self._provider) if one.role == "head"), key=_by_name)
        heads = [one for one in there if one.state in {"starting", "running"}]
        self._contended = self._contended or len(heads) > 1
        failed = {one.name: one for one in there if one.state == "failed"}
        if heads and self.made in failed:  # two on one machine: there is one port
            await self._end_own(there, f"it has failed beside another: {failed[self.made].text}")
        if not heads and self._first in failed:
            raise LaunchError(
                f"The head's machine {self._first} has failed: {failed[self._first].text}. Mend that and run "
                "`cluster up` again."
            )
        return heads

    async def _answers(self, head: Instance) -> bool:
        self._problem = head.text or self._problem
        if head.state != "running" or not head.address:
            return False
        address = f"{head.address}:{self._file.section.head_port}"
        asks = f"exec {shell_words(self._file.section.program)} status --address {shlex.quote(address)}"
        try:
            await self._provider.run_command(head, ["sh", "-c", asks])
        except ProviderError as error:
            self._problem = str(error)
            return False
        return True

    async def _clear_failed(self) -> None:
        there = await instances_of(self._provider)
        failed = [one for one in there if one.role == "head" and one.state == "failed"]
        if failed:
            self._tell(f"ending what has failed: {names_of(failed)}: {failed[0].text}")
            await end(self._provider, failed, self._tell)

    async def _end(self, heads: Sequence[Instance], why: str) -> None:
        if heads:
            self._tell(f"ending the head {names_of(heads)}: {why}")
            await end(self._provider, heads, self._tell)


def _by_name(instance: Instance) -> str:
    return instance.name
