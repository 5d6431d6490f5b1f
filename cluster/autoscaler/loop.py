"""Runs an autoscaler: tells it of a cluster, and has a provider do what it decides.

The cluster is seen through a small port, so that the head can be it, or a test. Nothing here decides anything, and what
goes wrong with the provider is an answer to the autoscaler, or shows in its next listing.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from ..provider.node_provider import NodeProvider, ProviderError
from ..provider.node_start import NodeStart
from . import message as m
from .config import ScalingConfig
from .machine import Autoscaler
from .summary import ScalingSummary, summary

EAGER_S, CALM_S = 2.0, 15.0
"""Seconds between listings while machines come or go, and while none does."""

LIST_S = 180.0
"""How long a provider may take to list its instances."""

LATE_S, REST_S = 10.0, 15.0
"""Whoever has not run for `LATE_S` was paused: it decides nothing for `REST_S`, for another head may lead by now.

What it knows is old, then: machines that it takes for lost may have joined the other. It is told within seconds.
"""

CLOSE_S = 5.0
"""How long it may take to let go of its connections."""

logger = logging.getLogger(__name__)


class ClusterPort(Protocol):
    """What an autoscaler sees of a cluster, and does to it. Called about once a second, on the loop; must be quick."""

    def nodes(self) -> Mapping[str, m.NodeSeen]:
        """The nodes by id. One about which nothing has changed should be the same object as before."""
        ...

    def load(self) -> m.LoadSeen:
        """What waits."""
        ...

    def may_decide(self) -> bool:
        """Whether the cluster is certain to be led from here now: else what decides must wait."""
        ...

    def drain(self, node_id: str, reason: str) -> None:
        """Have a node end in good order, unless it is in use; it may be gone."""
        ...


class ScalingLoop:
    """On the running loop, from `start` to `close`.

    Args:
        config: what may be done.
        provider: gives the machines; closed with this.
        start: what new machines run.
        cluster: see there.
        interval: seconds between decisions.

    Attributes:
        problem: why the provider could not be asked lately; "" where it could.
    """

    def __init__(
        self,
        config: ScalingConfig,
        provider: NodeProvider,
        start: NodeStart,
        cluster: ClusterPort,
        interval: float = 1.0,
    ) -> None:
        self.autoscaler = Autoscaler(config, secrets.token_hex(4), random.random)
        self.problem = ""
        self._provider = provider
        self._start = start
        self._cluster = cluster
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._nodes: Mapping[str, m.NodeSeen] = {}
        self._listed_at = float("-inf")
        self._listing = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stepped_at = self._loop.time()
        self._rests_until = float("-inf")

    def start(self) -> None:
        """Begin."""
        self._step()

    async def close(self) -> None:
        """Decide nothing more. The machines stay; who comes next finds them."""
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._provider.close()
        except TimeoutError:
            logger.warning("the provider does not let go of its connections")

    def change(self, config: ScalingConfig, start: NodeStart) -> None:
        """Go on with another config, and with machines that start otherwise."""
        self.autoscaler.change(config)
        self._start = start

    def summary(self) -> ScalingSummary:
        """How things are, for `cluster status`."""
        return summary(self.autoscaler, self._loop.time())

    def _step(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._step)
        now = self._loop.time()
        if now > self._stepped_at + self._interval + LATE_S:
            logger.warning(
                "this process did not run for %.0f s; nothing is decided for a while", now - self._stepped_at
            )
            self._rests_until = now + REST_S
        self._stepped_at = now
        try:
            self._look()
            if now >= self._rests_until and self._cluster.may_decide():
                self._tell(m.Decide())
        except Exception:  # the cluster's head lives in this process, and must go on
            logger.exception("the autoscaler has failed; it tries again")
        if not self._listing and self._loop.time() >= self._listed_at + self._patience():
            self._spawn(self._list())

    def _look(self) -> None:
        """Tell the autoscaler what has changed in the cluster."""
        now = dict(self._cluster.nodes())
        for node_id in self._nodes.keys() - now.keys():
            self._tell(m.NodeGone(node_id))
        for node_id, node in now.items():
            before = self._nodes.get(node_id)
            if before is not node and before != node:
                self._tell(node)
        self._nodes = now
        self._tell(self._cluster.load())

    def _tell(self, event: m.Event) -> None:
        for command in self.autoscaler.handle(event, self._loop.time()):
            logger.info("%s", command)
            match command:
                case m.Launch():
                    self._spawn(self._launch(command))
                case m.DrainNode():
                    self._cluster.drain(command.node_id, command.reason)
                case m.Terminate():
                    self._spawn(self._terminate(command))

    def _patience(self) -> float:
        fleet = self.autoscaler.fleet
        busy = fleet.coming() or fleet.by_stage["ending"] or fleet.by_stage["draining"]
        return min(EAGER_S, 10 * self._interval) if busy else CALM_S

    async def _list(self) -> None:
        self._listing = True
        asked_at = self._loop.time()
        try:
            async with asyncio.timeout(LIST_S):
                instances = await self._provider.instances()
        except ProviderError as error:
            self._trouble(str(error))
        except TimeoutError:
            self._trouble(f"it has not answered within {LIST_S:g} s")
        except Exception as error:
            logger.exception("the provider has failed")
            self._trouble(f"{type(error).__name__}: {error}")
        else:
            self._trouble(self._provider.unseen)
            self._tell(m.InstancesListed(tuple(instances), asked_at))
        finally:
            self._listing = False
            self._listed_at = self._loop.time()

    def _trouble(self, text: str) -> None:
        if text and not self.problem:
            logger.warning("the provider cannot be asked: %s", text)
        self.problem = text

    async def _launch(self, command: m.Launch) -> None:
        try:
            node_type = self.autoscaler.config.node_types[command.node_type]
            made = await self._provider.create(node_type, command.names, self._start)
        except Exception as error:
            logger.exception("the provider has failed")
            answer = m.LaunchAnswered(command.request_id, (), f"{type(error).__name__}: {error}")
        else:
            answer = m.LaunchAnswered(command.request_id, made.instances, made.error)
        if answer.error:
            self._listed_at = float("-inf")  # it may have made some all the same, which are to be known at once
        self._tell(answer)

    async def _terminate(self, command: m.Terminate) -> None:
        try:
            await self._provider.terminate(list(command.names))
        except ProviderError as error:  # a listing will show that it is there still
            logger.warning("%s could not be ended: %s", ", ".join(command.names.values()), error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the provider has failed", exc_info=error)
