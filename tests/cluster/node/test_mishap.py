"""What goes wrong on a node between two steps of one thing: nothing hangs, leaks, or reaches the wrong one."""

import asyncio
import contextlib
import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from limelight.actors.contract import LeaseInfeasible, WorkerConfig
from limelight.cluster.node.environment_desk import Prepared
from limelight.cluster.node.manager import NodeManager
from limelight.cluster.node.package_desk import PackageDesk
from limelight.cluster.node.store_desk import StoreDesk
from limelight.cluster.node.worker_desk import WorkerDesk
from limelight.cluster.node.worker_table import Worker, WorkerTable
from limelight.cluster.process.spawn import WorkerProcess
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.strategy import HYBRID
from limelight.transport.address import ProcessAddress
from limelight.transport.error import BackpressureError

HERE = ProcessAddress("here", "h")
PACKAGE = "pkg://" + "ab" * 32


class Spawners:
    """Starts no process, and takes its time for that."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.fault: Exception | None = None

    async def spawn(self, request, *ends) -> WorkerProcess:
        for descriptor in ends[:2]:
            os.close(descriptor)
        await self.go_on.wait()
        if self.fault is not None:
            raise self.fault
        return WorkerProcess(request.spawn_id, 1, asyncio.get_running_loop().create_future())


def make_table(folder: Path, spawners: Spawners) -> WorkerTable:
    (folder / "logs").mkdir()
    texts = dict.fromkeys(("process_id", "host_id", "socket", "cluster", "session", "session_folder"), "")
    base = WorkerConfig(
        node_id=b"n" * 28, token=b"", node=HERE, arena=b"", labels={}, environment="", definition=b"", packages={},
        preset=[], folder="", search_path=[], **texts,
    )  # fmt: skip

    async def sink(_batch) -> None: ...

    return WorkerTable(spawners, base, folder, sink, lambda *_: None)


async def test_a_worker_that_is_ready_before_its_start_is_heard_of_prints_for_its_job(tmp_path):
    spawners = Spawners()
    table = make_table(tmp_path, spawners)
    starting = asyncio.ensure_future(table.start(1, "", Prepared()))
    await asyncio.sleep(0)
    (worker,) = table.all()
    table.set_job(worker, b"job", "worker")
    spawners.go_on.set()
    await starting
    assert {stream.follower.origin.job_id for stream in worker.output._streams} == {b"job"}
    await table.finish_output(worker)


async def test_a_start_that_fails_for_want_of_descriptors_is_a_start_that_failed(tmp_path):
    """And no start that is waited for: the pool would have one place less for ever."""
    spawners = Spawners()
    spawners.fault = OSError(errno.EMFILE, "Too many open files")
    spawners.go_on.set()
    table = make_table(tmp_path, spawners)
    fed: list[object] = []
    starts: list[asyncio.Task[None]] = []

    def spawn(starting) -> asyncio.Task[None]:
        starts.append(asyncio.create_task(starting))
        return starts[-1]

    manager = SimpleNamespace(methods={}, closing=False, feed=fed.append, spawn=spawn)

    async def prepare(_key) -> Prepared:
        return Prepared()

    environments = SimpleNamespace(prepare=prepare, release=lambda _: None)
    with contextlib.suppress(OSError):
        WorkerDesk(manager, table, environments).start(m.StartWorker(7, "", b""))
        await asyncio.gather(*starts)
    assert [type(event) for event in fed] == [m.WorkerStartFailed]
    assert fed[0].start_id == 7
    assert not table.all()


async def test_stopping_to_wait_for_a_package_that_is_unpacked_does_not_keep_it(tmp_path):
    desk = PackageDesk(SimpleNamespace(address=HERE), tmp_path, 1 << 30, list)
    unpacked, released = threading.Event(), asyncio.Event()

    def acquire(_uri: str) -> Path:
        unpacked.wait()
        return tmp_path

    desk._opened = SimpleNamespace(has=lambda _: True, acquire=acquire, release=lambda _: released.set())
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(desk.acquire(PACKAGE, None), 0.05)
    unpacked.set()
    await asyncio.wait_for(released.wait(), 10)


class Full:
    """A channel to a process that takes nothing."""

    def __init__(self) -> None:
        self.peer = ProcessAddress("full", "h")
        self.error = None

    def notify(self, *_) -> None:
        raise BackpressureError("64 MiB wait")


def make_manager(**parts) -> NodeManager:
    made = NodeManager.__new__(NodeManager)
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def test_a_caller_that_takes_nothing_keeps_no_other_from_its_grant():
    """What follows in the same list of commands was lost: its leases were granted, and nobody knew."""
    told = []
    refusal, after = m.Infeasible("full", b"\0\0\0\1", "no", True, "gone"), m.StopWorker("w", "idle")
    commands = [refusal, after]
    stopped = []
    manager = make_manager(
        _process=SimpleNamespace(notify=lambda address, _, body: told.append((address.process_id, type(body)))),
        _callers={"full": Full()},
        _machine=SimpleNamespace(handle=lambda *_: commands, draining=False),
        _loop=SimpleNamespace(time=lambda: 0.0),
        _alarm=SimpleNamespace(set=lambda: None),
        worker_desk=SimpleNamespace(stop=stopped.append),
    )
    manager.feed(m.Tick())
    assert told == [("full", LeaseInfeasible)]
    assert stopped == [after]


def test_a_process_that_takes_nothing_does_not_stop_the_store():
    desk = StoreDesk.__new__(StoreDesk)
    desk._process = SimpleNamespace(endpoint=SimpleNamespace(channel=lambda _: Full()))
    desk.ask_return("full", 1)


def test_a_worker_is_not_assigned_to_a_lease_that_it_has_served_meanwhile():
    """The head took its time to say what job the lease was for; that had ended, and another had got the worker."""
    worker = Worker("w", 0, Prepared())
    worker.address = HERE
    spec = SimpleNamespace(job_id=b"slow", resources=ResourceSet.parse({}), strategy=HYBRID)
    found, assigned = [], []
    manager = make_manager(
        workers=SimpleNamespace(find=lambda _: worker),
        _machine=SimpleNamespace(book={1: SimpleNamespace(demand=SimpleNamespace(spec=spec))}),
        _process=SimpleNamespace(address=HERE),
        _devices=[],
        jobs=SimpleNamespace(find=lambda _job, then: found.append(then)),
        assign=lambda *about: assigned.append(about),
    )
    manager._grant(m.Grant("caller", b"\0\0\0\1", 1, "w", {}))
    worker.lease_id = 2
    found[0](None)
    assert not assigned
