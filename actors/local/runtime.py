"""The runtime of local mode: see the package."""

import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NoReturn, cast

from ...exceptions import (
    AsyncioActorExit,
    GetTimeoutError,
    PendingCallsLimitExceeded,
    RaySystemError,
    TaskPlacementGroupRemoved,
)
from .. import ids
from ..actor import ActorHandle
from ..actor_descriptor import ActorDescriptor
from ..object_ref import ObjectRef
from ..object_ref_generator import DynamicObjectRefGenerator, ObjectRefGenerator
from ..options import ActorOptions, MethodOptions, NumReturns, TaskOptions
from ..runtime import ActorEntry, ContextState
from ..serialization import note_pickled, note_unpickled
from ..task import FunctionDescriptor
from .actor import CONSTRUCTOR, ActorExit, LocalActor
from .call import Arguments, Call, Outputs, Retry
from .frame import Frame, Session, current_frame
from .loop import LocalLoop
from .names import ActorNames
from .object import LocalObject, ObjectTable
from .placement import PlacementGroups
from .stream import LocalStream
from .timeline import LocalTimeline
from .watcher import Watcher

Results = list[ObjectRef[Any]] | ObjectRefGenerator[Any]
Waitable = ObjectRef[Any] | ObjectRefGenerator[Any]


class LocalRuntime:
    """Implements `Runtime` in the calling thread."""

    def __init__(
        self,
        namespace: str | None = None,
        resources: Mapping[str, float] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        given = {"CPU": float(os.cpu_count() or 1), **(resources or {})}
        name = f"local-{os.urandom(4).hex()}"
        folder = os.path.join(tempfile.gettempdir(), name)  # noqa: PTH118 - a name only: nothing is written there
        self._session = Session(
            os.urandom(ids.JOB_ID_SIZE),
            os.urandom(ids.NODE_ID_SIZE),
            os.urandom(28),
            namespace or name,
            name,
            folder,
            given,
            dict(runtime_env or {}),
        )
        self._driver = Frame(self._session)
        self._task_ids = ids.IdSource()
        self._unfinished: dict[bytes, Call] = {}
        self._threads: set[int] = set()
        self.table = ObjectTable()
        self.loop = LocalLoop()
        self._watcher = Watcher(self.loop)
        self.names = ActorNames()
        self.groups = PlacementGroups()
        self._timeline = LocalTimeline()

    def submit(
        self, function: FunctionDescriptor, args: tuple[Any, ...], kwargs: dict[str, Any], options: TaskOptions
    ) -> Results:
        """Run a function, unless an argument is not ready yet."""
        name = options.name or function.name
        arguments = Arguments(args, kwargs, name)
        frame = Frame(
            self._session,
            self._task_ids.task_id(),
            name=name,
            function_name=f"{function.module}.{function.name}",
            placement=options.placement,
        )
        retry = Retry(options.max_retries, options.retry_exceptions)
        call, results = self._call(frame, arguments, name, options.num_returns, options.backpressure, retry)
        call.traced = options.enable_task_events
        target = function.function
        is_async = function.is_async_generator

        def run() -> None:
            if call.settled or not arguments.ready:
                return
            if is_async:
                self.loop.spawn(call.run_async(target))
            else:
                call.run(target)

        for dependency in arguments.dependencies:
            if not dependency.done:
                dependency.on_done(run)
        run()
        self._progress()
        return results

    def create_actor(
        self, cls: ActorDescriptor, args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions
    ) -> ActorEntry:
        """Create an actor and run its constructor."""
        namespace = options.namespace or self._session.namespace
        if options.get_if_exists and (found := self.names.find(namespace, options.name)) is not None:
            return found
        arguments = Arguments(args, kwargs, f"{cls.name}.{CONSTRUCTOR}")
        actor = LocalActor(self, ids.actor_id(), cls, options, arguments)
        self.names.add(namespace, actor)
        actor.start()
        self._progress()
        return actor

    def constructor_call(self, actor: LocalActor, arguments: Arguments) -> Call:
        """The call of an actor's constructor."""
        frame = self._frame_in(actor, CONSTRUCTOR, "")
        call, _ = self._call(frame, arguments, frame.task_name or "", 0, -1, Retry())
        call.traced = actor.options.enable_task_events
        return call

    def call(
        self, actor: ActorEntry, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: MethodOptions
    ) -> Results:
        """Call a method of an actor, unless it or an argument is not ready yet."""
        actor = cast("LocalActor", actor)
        limit = actor.options.max_pending_calls
        if 0 <= limit <= actor.pending:
            raise PendingCallsLimitExceeded(
                f"Actor {actor.descriptor.name} has {actor.pending} unfinished calls, and max_pending_calls={limit}: "
                "wait for some of their results first, or raise the limit."
            )
        frame = self._frame_in(actor, method, options.name)
        name = options.name or f"{actor.descriptor.name}.{method}"
        attempts = actor.options.max_task_retries if options.max_task_retries is None else options.max_task_retries
        call, results = self._call(
            frame,
            Arguments(args, kwargs, name),
            name,
            options.num_returns,
            options.backpressure,
            Retry(attempts, options.retry_exceptions),
            options.concurrency_group,
        )
        shown = options.enable_task_events
        call.traced = actor.options.enable_task_events if shown is None else shown
        actor.submit(call, method)
        self._progress()
        return results

    def put(self, value: Any, owner: ActorEntry | None = None) -> ObjectRef[Any]:
        """Store a copy of the value."""
        del owner
        ref, made = self.table.create(ids.object_id(self._task_ids.task_id(), ids.PUT_INDEX))
        made.set_value(value, "the value given to put()")
        made.finish()
        return ref

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """Copies of the values; runs coroutines until they are there."""
        objects: list[LocalObject] = [ref._entry for ref in refs]
        if not self._wait_for(lambda: all(item.done for item in objects), timeout):
            missing = sum(not item.done for item in objects)
            raise GetTimeoutError(f"get() timed out after {timeout} s: {missing} of {len(refs)} values are not there.")
        return [item.value() for item in objects]

    def wait(
        self, waitables: Sequence[Waitable], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[Any], list[Any]]:
        """Run coroutines until enough are ready."""
        del fetch_local
        self._wait_for(lambda: sum(map(_is_ready, waitables)) >= num_returns, timeout)
        ready = [item for item in waitables if _is_ready(item)][:num_returns]
        chosen = set(ready)
        return ready, [item for item in waitables if item not in chosen]

    def future(self, ref: ObjectRef[Any]) -> Future[Any]:
        """A future that gets the value; a thread runs coroutines until it is there."""
        future: Future[Any] = Future()
        item: LocalObject = ref._entry

        def resolve() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(item.value())
            except Exception as error:  # noqa: BLE001 - the task's error, whatever it is
                future.set_exception(error)

        item.on_done(resolve)
        self._watcher.watch(item, lambda: item.done)
        return future

    def is_ready(self, ref: ObjectRef[Any]) -> bool:
        """Whether the object is done."""
        return ref._entry.done

    def on_ready(self, ref: ObjectRef[Any], callback: Callable[[], object]) -> None:
        """Call back when the object is done; a thread runs coroutines until then."""
        item: LocalObject = ref._entry
        item.on_done(callback)
        self._watcher.watch(item, lambda: item.done)

    def next_item(self, generator: ObjectRefGenerator[Any], timeout: float | None) -> ObjectRef[Any] | None:
        """The next item's ref; runs coroutines until there is one."""
        stream: LocalStream = generator._entry
        if not self._wait_for(lambda: stream.ready, timeout):
            raise GetTimeoutError(f"There was no next item within {timeout} s.")
        item = stream.take()
        self._progress()
        return item

    def on_next_item(self, generator: ObjectRefGenerator[Any], callback: Callable[[], object]) -> None:
        """Call back when there is a next item; a thread runs coroutines until then."""
        stream: LocalStream = generator._entry
        stream.on_ready(callback)
        self._watcher.watch(stream, lambda: stream.ready)

    def forget_next_item(self, generator: ObjectRefGenerator[Any], callback: Callable[[], object]) -> None:
        """Call back no more."""
        stream: LocalStream = generator._entry
        stream.forget(callback)

    def cancel(self, ref: Waitable, force: bool, recursive: bool) -> None:
        """Cancel what has not ended: coroutines, streams, and what waits for its arguments."""
        target = ref._completed if isinstance(ref, ObjectRefGenerator) else ref
        call = self._unfinished.get(ids.task_of(target._id))
        if call is None:
            return
        if force and call.frame.actor is not None:
            raise ValueError("force=True is not supported for calls of actors: use kill() to end the actor.")
        started = [item for item in self._unfinished.values() if item.parent is call.frame] if recursive else []
        call.cancel()
        for child in started:
            child.cancel()
        self._progress()

    def kill(self, actor: ActorEntry, no_restart: bool) -> None:
        """End an actor at once."""
        cast("LocalActor", actor).kill(no_restart=no_restart)
        self._progress()

    def get_actor(self, name: str, namespace: str | None) -> ActorEntry:
        """The live actor of that name."""
        where = namespace or self._session.namespace
        found = self.names.find(where, name)
        if found is None:
            known = ", ".join(repr(other) for space, other in self.names.all() if space == where) or "none"
            raise ValueError(
                f"There is no actor named {name!r} in the namespace {where!r}: it was never made, it died, or its "
                f"namespace is another. Names in this one: {known}."
            )
        return found

    def list_named_actors(self, all_namespaces: bool) -> list[dict[str, str]]:
        """Names (and namespaces) of live actors."""
        own = self._session.namespace
        return [{"name": n, "namespace": space} for space, n in self.names.all() if all_namespaces or space == own]

    def export_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        """The id: the object is in this process."""
        note_pickled(ref)
        return (ref._id,)

    def import_ref(self, *exported: Any) -> ObjectRef[Any]:
        """Another ref to the object."""
        try:
            ref = self.table.ref(exported[0])
        except KeyError:
            raise ValueError(
                f"Object {exported[0].hex()} is gone: no ref to it was left when this was unpickled."
            ) from None
        note_unpickled(ref)
        return ref

    def export_actor(self, actor: ActorEntry) -> tuple[Any, ...]:
        """The id: the actor is in this process."""
        note_pickled(ActorHandle(actor))  # whoever keeps the pickle keeps the actor
        return (actor.actor_id,)

    def import_actor(self, *exported: Any) -> ActorEntry:
        """The actor of that id."""
        return self.names.find_id(*exported)

    def exit_actor(self) -> NoReturn:
        """Unwind the call; the actor ends with it."""
        actor = self._frame().actor
        raise AsyncioActorExit("exit_actor() was called.") if actor and actor.descriptor.is_async else ActorExit

    def context(self) -> ContextState:
        """Where the calling code runs."""
        return self._frame()

    def state(self, kind: str, **filters: Any) -> Any:
        """Cluster state: of one node, where nothing is in use."""
        del filters
        match kind:
            case "cluster_resources" | "available_resources":
                return dict(self._session.resources)
            case "nodes":
                return [self._node()]
            case "placement_groups":
                return self.groups.table()
            case "timeline":
                return self._timeline.events()
            case _:
                return []

    def create_placement_group(
        self,
        bundles: Sequence[Mapping[str, float]],
        strategy: str,
        name: str,
        lifetime: str | None,
        selectors: Sequence[Mapping[str, str]] = (),
        target: str = "",
        topology: str = "",
    ) -> bytes:
        """Note a group down; it is ready at once."""
        del lifetime, selectors, target, topology
        return self.groups.create(bundles, strategy, name)

    def request_resources(self, bundles: Sequence[Mapping[str, float]], selectors: Sequence[Mapping[str, str]]) -> None:
        """There are no machines to be added."""

    def placement_group_ready(self, placement_group_id: bytes, value: Any) -> ObjectRef[Any]:
        """A ref to the value, unless the group was removed."""
        if placement_group_id in self.groups:
            return self.put(value)
        ref, gone = self.table.create(ids.object_id(self._task_ids.task_id(), 1))
        gone.set_error(TaskPlacementGroupRemoved())
        gone.finish()
        return ref

    def remove_placement_group(self, placement_group_id: bytes) -> None:
        """Forget a group."""
        self.groups.remove(placement_group_id)

    def get_placement_group(self, name: str) -> tuple[bytes, list[dict[str, float]]]:
        """The id and the bundles of a named group."""
        return self.groups.find(name)

    def shutdown(self) -> None:
        """Cancel what is under way."""
        self._watcher.stop()
        if not self.loop.is_closed():
            self.loop.end()
        self._unfinished.clear()

    def settled(self, call: Call) -> None:
        """A call has its outcome."""
        self._timeline.add(call)
        self._unfinished.pop(call.frame.task_id or b"", None)
        self.loop.notify()

    def collect_items(self, frame: Frame, items: Any) -> DynamicObjectRefGenerator[Any]:
        """Refs to all items of a "dynamic" task."""
        refs: list[ObjectRef[Any]] = []
        for index, value in enumerate(items, 2):
            ref, item = self.table.create(ids.object_id(frame.task_id or b"", index))
            item.set_value(value, f"an item of {frame.task_name}")
            item.finish()
            refs.append(ref)
        return DynamicObjectRefGenerator(refs)

    def _call(
        self,
        frame: Frame,
        arguments: Arguments,
        name: str,
        num_returns: NumReturns,
        backpressure: int,
        retry: Retry,
        group: str = "",
    ) -> tuple[Call, Results]:
        task_id = frame.task_id or b""
        count = num_returns if isinstance(num_returns, int) else 1
        made = [self.table.create(ids.object_id(task_id, index + 1)) for index in range(count)]
        refs = [ref for ref, _ in made]
        outputs = Outputs(name, [item for _, item in made], dynamic=num_returns == "dynamic")
        results: Results = refs
        if num_returns == "streaming":
            outputs.stream = LocalStream(self.table, task_id, name, backpressure, outputs.objects.pop())
            results = ObjectRefGenerator(refs[0], outputs.stream)
        call = Call(self, frame, arguments, outputs, retry, group)
        self._unfinished[task_id] = call
        return call, results

    def _frame_in(self, actor: LocalActor, method: str, name: str) -> Frame:
        cls = actor.descriptor
        return Frame(
            self._session,
            self._task_ids.task_id(),
            name=name or f"{cls.name}.{method}",
            function_name=f"{cls.module}.{cls.name}.{method}",
            placement=actor.options.placement,
            actor=actor,
        )

    def _frame(self) -> Frame:
        return current_frame.get() or self._driver

    def _progress(self) -> None:
        """Let coroutines run as far as they get without waiting."""
        self._threads.add(threading.get_ident())
        self.loop.drain()

    def _wait_for(self, done: Callable[[], bool], timeout: float | None) -> bool:
        self._threads.add(threading.get_ident())
        if done() or self.loop.drive(done, timeout, alone=timeout is None and len(self._threads) == 1):
            return True
        if timeout is None:
            raise RaySystemError(
                "This waits for something that nothing will bring about: local mode runs everything in one thread, and "
                "all of it waits, for example an actor for the result of a call to itself, or a blocking get() in a "
                "coroutine for what the driver will do later (await it instead)."
            )
        return False

    def _node(self) -> dict[str, Any]:
        return {
            "NodeID": self._session.node_id.hex(),
            "Alive": True,
            "alive": True,
            "NodeManagerAddress": "127.0.0.1",
            "NodeName": "local",
            "Resources": dict(self._session.resources),
            "Labels": {},
        }


def _is_ready(waitable: Waitable) -> bool:
    return waitable._entry.ready if isinstance(waitable, ObjectRefGenerator) else waitable._entry.done
