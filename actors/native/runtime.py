"""The public API's way into the hub: implements `actors.runtime.Runtime` for a cluster."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

import msgspec

from ...exceptions import GetTimeoutError
from .. import ids
from ..actor_descriptor import ActorDescriptor
from ..contract import (
    HEAD,
    CreateGroup,
    FindGroup,
    GroupFound,
    QueryState,
    RemoveGroup,
    RequestResources,
    decoder_of,
)
from ..object_ref import ObjectRef, Wakeup
from ..object_ref_generator import ObjectRefGenerator
from ..options import ActorOptions, MethodOptions, TaskOptions
from ..serialization import deserialize_error, note_pickled, serialize
from ..task import FunctionDescriptor
from .actor_calls import ActorCalls
from .actor_entry import NativeActorEntry
from .context import NativeContext
from .entry import FAILED, PENDING, ObjectEntry
from .hub import Hub
from .latch import Latch
from .old_session import check_refs
from .running import ActorExit, running
from .stream import Stream
from .task_record import TaskRecord, TaskTemplate
from .templates import UNIT, Templates
from .timeline import collect
from .value_codec import to_inline

_READERS = 2
"""Threads that read the values of `ref.future()`; started at the first of those."""


class NativeRuntime:
    """A process's runtime in a cluster. All methods may be called from any thread but the wire's."""

    def __init__(self, hub: Hub, close: Callable[[], None]) -> None:
        self.hub = hub
        self.templates = Templates(hub)
        self._actors = ActorCalls(self)
        self._close = close
        # Unpickling is user code, and may wait for memory or another node: not for the wire thread.
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="limelight-future")
        self._closed = False

    # --- tasks ---

    def submit(
        self, function: FunctionDescriptor, args: tuple[Any, ...], kwargs: dict[str, Any], options: TaskOptions
    ) -> "list[ObjectRef[Any]] | ObjectRefGenerator[Any]":
        """See `Runtime.submit`."""
        hub = self.hub
        template = self.templates.of_task(function, options)
        record = hub.values.record(hub.ids.task_id(), template, args, kwargs)
        refs = self.results(record, template)
        hub.wire.post(hub.submission.accept, record)
        return refs

    def results(self, record: TaskRecord, template: TaskTemplate) -> "list[ObjectRef[Any]] | ObjectRefGenerator[Any]":
        """The refs to what a new call returns."""
        table = self.hub.table
        if template.num_returns == 1:
            entry = ObjectEntry(table, ids.object_id(record.task_id, 1))
            entry.producer = record
            record.results.append(entry)
            refs = [ObjectRef(entry.object_id, None, entry)]
        elif template.num_returns < 0:
            return self._stream(record, template.kind == "dynamic")
        else:
            for index in range(1, template.num_returns + 1):
                entry = ObjectEntry(table, ids.object_id(record.task_id, index))
                entry.producer = record
                record.results.append(entry)
            refs = [ObjectRef(entry.object_id, None, entry) for entry in record.results]
        job = running.get()
        if job is not None:
            job.submitted(record.results)
        return refs

    def _stream(self, record: TaskRecord, dynamic: bool) -> "list[ObjectRef[Any]] | ObjectRefGenerator[Any]":
        completed = ObjectEntry(self.hub.table, ids.object_id(record.task_id, 0))
        completed.producer = record
        stream = Stream(self.hub, record, completed, dynamic)
        record.generator = stream
        job = running.get()
        if job is not None:
            job.submitted([completed])
        ref: ObjectRef[Any] = ObjectRef(completed.object_id, None, completed)
        if dynamic:
            return [ref]
        return ObjectRefGenerator(ref, stream)

    def cancel(self, ref: "ObjectRef[Any] | ObjectRefGenerator[Any]", force: bool, recursive: bool) -> None:
        """See `Runtime.cancel`."""
        target = ref._completed if isinstance(ref, ObjectRefGenerator) else ref
        entry: ObjectEntry = target._entry
        if entry.owner is not None:
            raise ValueError(
                "Only the process that submitted a task can cancel it, and this ref came from another process. "
                "Have the submitter call cancel()."
            )
        if force and entry.producer is not None and entry.producer.actor_id:
            raise ValueError(
                "cancel(force=True) would end the actor's process, and with it the actor: use kill(actor) for that, or "
                "cancel without force."
            )
        self.hub.wire.post(self.hub.submission.cancel, (entry, force, recursive))

    # --- objects ---

    def put(self, value: Any, owner: Any = None) -> ObjectRef[Any]:
        """See `Runtime.put`."""
        if owner is not None:
            return self._actors.entrust(owner, value)
        hub = self.hub
        return hub.values.put(value, ids.object_id(hub.ids.task_id(), ids.PUT_INDEX))

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """See `Runtime.get`."""
        hub = self.hub
        listed = list(refs)
        deadline = None if timeout is None else time.monotonic() + timeout
        if not hub.waiting.wait_ready(listed, len(listed), timeout, fail_fast=True):
            missing = sum(1 for ref in listed if ref._entry.state == PENDING)
            failed = next((ref for ref in listed if ref._entry.state == FAILED), None)
            if failed is None:
                raise GetTimeoutError(
                    f"get() timed out after {timeout} s: {missing} of {len(listed)} objects are not ready yet."
                )
        read = hub.values.read
        if len(listed) == 1 and deadline is None:
            return [read(listed[0])]
        fault = next((ref._entry for ref in listed if ref._entry.state == FAILED), None)
        if fault is not None:
            for ref in listed:  # who asks for many and hears of one has been told
                if ref._entry.state in {PENDING, FAILED}:
                    hub.unseen.seen(ref._entry)
            raise deserialize_error(fault.data)
        with hub.prefetch.reading(listed, deadline):
            return [read(ref) for ref in listed]

    def wait(
        self, waitables: Sequence[Any], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[Any], list[Any]]:
        """See `Runtime.wait`."""
        ready, others = self._split(waitables, num_returns)
        if len(ready) < num_returns:
            self._wait_mixed(waitables, num_returns, timeout)
            ready, others = self._split(waitables, num_returns)
        if fetch_local:
            self.hub.prefetch.ready(ready)
        return ready, others

    @staticmethod
    def _split(waitables: Sequence[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        """The first ready ones, at most `num_returns`, and all others."""
        ready: list[Any] = []
        others: list[Any] = []
        for position, waitable in enumerate(waitables):
            entry = waitable._entry
            if entry.ready() if isinstance(waitable, ObjectRefGenerator) else entry.state:
                ready.append(waitable)
                if len(ready) == num_returns:
                    others.extend(waitables[position + 1 :])
                    return ready, others
            else:
                others.append(waitable)
        return ready, others

    def _wait_mixed(self, waitables: Sequence[Any], num_returns: int, timeout: float | None) -> None:
        generators = [item for item in waitables if isinstance(item, ObjectRefGenerator)]
        if not generators:
            self.hub.waiting.wait_ready(list(waitables), num_returns, timeout, fail_fast=False)
            return
        latch = Latch(num_returns, fail_fast=False)

        def hit() -> None:
            latch.hit(None)

        for generator in generators:
            generator._entry.when_ready(hit)
        entries = [item._entry for item in waitables if not isinstance(item, ObjectRefGenerator)]
        latch.put_on(entries)
        try:
            with self.hub.waiting.blocked():
                latch.wait(timeout)
        finally:
            latch.take_off(entries)
            for generator in generators:
                generator._entry.forget_waiter(hit)

    def future(self, ref: ObjectRef[Any]) -> "Future[Any]":
        """See `Runtime.future`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def resolve() -> None:
            try:
                value = self.hub.values.read(ref)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the future's
                future.set_exception(error)
            else:
                future.set_result(value)

        def ready() -> None:
            self._readers.submit(resolve)

        self.on_ready(ref, ready)
        return future

    def is_ready(self, ref: ObjectRef[Any]) -> bool:
        """See `Runtime.is_ready`."""
        return ref._entry.state != PENDING

    def on_ready(self, ref: ObjectRef[Any], callback: Callable[[], object]) -> None:
        """See `Runtime.on_ready`."""
        entry: ObjectEntry = ref._entry
        if not entry.when_ready(callback if isinstance(callback, Wakeup) else lambda _: callback()):
            callback()
        elif entry.owner is not None:
            self.hub.wire.post(self.hub.borrowing.fetch, entry)

    def next_item(self, generator: ObjectRefGenerator[Any], timeout: float | None) -> ObjectRef[Any] | None:
        """See `Runtime.next_item`."""
        stream: Stream = generator._entry
        if stream.ready() or running.get() is None:
            return stream.take(timeout)
        with self.hub.waiting.blocked():
            return stream.take(timeout)

    def on_next_item(self, generator: ObjectRefGenerator[Any], callback: Callable[[], object]) -> None:
        """See `Runtime.on_next_item`."""
        generator._entry.when_ready(callback)

    def forget_next_item(self, generator: ObjectRefGenerator[Any], callback: Callable[[], object]) -> None:
        """See `Runtime.forget_next_item`."""
        generator._entry.forget_waiter(callback)

    def export_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        """See `Runtime.export_ref`."""
        check_refs((ref,), self.hub.table)
        exported = self.hub.table.exported(ref)
        note_pickled(ref)
        return exported.object_id, exported.owner

    def import_ref(self, *exported: Any) -> ObjectRef[Any]:
        """See `Runtime.import_ref`."""
        object_id, owner = exported
        return self.hub.table.imported(object_id, owner)

    # --- actors ---

    def create_actor(
        self, cls: ActorDescriptor, args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions
    ) -> NativeActorEntry:
        """See `Runtime.create_actor`."""
        return self._actors.create(cls, args, kwargs, options)

    def call(
        self, actor: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: MethodOptions
    ) -> "list[ObjectRef[Any]] | ObjectRefGenerator[Any]":
        """See `Runtime.call`."""
        return self._actors.call(actor, method, args, kwargs, options)

    def kill(self, actor: Any, no_restart: bool) -> None:
        """See `Runtime.kill`."""
        self._actors.kill(actor, no_restart)

    def get_actor(self, name: str, namespace: str | None) -> NativeActorEntry:
        """See `Runtime.get_actor`."""
        return self._actors.find(name, namespace)

    def list_named_actors(self, all_namespaces: bool) -> list[dict[str, str]]:
        """See `Runtime.list_named_actors`."""
        return self._actors.named(all_namespaces)

    def export_actor(self, actor: Any) -> tuple[Any, ...]:
        """See `Runtime.export_actor`."""
        return self._actors.exported(actor)

    def import_actor(self, *exported: Any) -> NativeActorEntry:
        """See `Runtime.import_actor`."""
        return self._actors.imported(*exported)

    def exit_actor(self) -> NoReturn:
        """See `Runtime.exit_actor`."""
        raise ActorExit

    # --- the cluster ---

    def context(self) -> NativeContext:
        """See `Runtime.context`."""
        return NativeContext(self.hub)

    def state(self, kind: str, **filters: Any) -> Any:
        """See `Runtime.state`."""
        if kind == "timeline":
            return collect(self.hub)
        answer = msgspec.msgpack.decode(self.hub.ask(self.hub.head, HEAD, QueryState(kind)))
        if kind in ("cluster_resources", "available_resources"):
            return {name: amount / UNIT for name, amount in answer.items()}
        return [row for row in answer if all(row.get(key) == value for key, value in filters.items())]

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
        """See `Runtime.create_placement_group`."""
        hub = self.hub
        group_id = ids.placement_group_id()
        fixed = [{kind: round(amount * UNIT) for kind, amount in bundle.items()} for bundle in bundles]
        job = running.get()
        # A worker may serve other tasks after this one, so a task's groups end with its job.
        owner = "" if job is not None and not job.invocation.actor_id else hub.process_id
        detached = lifetime == "detached"
        labels = [dict(selector) for selector in selectors]
        body = CreateGroup(
            group_id, fixed, strategy, name, hub.namespace, detached, hub.job_id, owner, labels, target, topology
        )
        refusal = hub.ask(hub.head, HEAD, body)
        if refusal:
            raise deserialize_error(refusal)
        return group_id

    def request_resources(self, bundles: Sequence[Mapping[str, float]], selectors: Sequence[Mapping[str, str]]) -> None:
        """See `Runtime.request_resources`."""
        fixed = [{kind: round(amount * UNIT) for kind, amount in bundle.items()} for bundle in bundles]
        refusal = self.hub.ask(self.hub.head, HEAD, RequestResources(fixed, [dict(one) for one in selectors]))
        if refusal:
            raise deserialize_error(refusal)

    def placement_group_ready(self, placement_group_id: bytes, value: Any) -> ObjectRef[Any]:
        """See `Runtime.placement_group_ready`."""
        hub = self.hub
        entry = ObjectEntry(hub.table, ids.object_id(hub.ids.task_id(), 1))
        hub.wire.post(hub.group_waits.add, (placement_group_id, entry, to_inline(serialize(value))))
        return ObjectRef(entry.object_id, None, entry)

    def remove_placement_group(self, placement_group_id: bytes) -> None:
        """See `Runtime.remove_placement_group`."""
        self.hub.ask(self.hub.head, HEAD, RemoveGroup(placement_group_id))

    def get_placement_group(self, name: str) -> tuple[bytes, list[dict[str, float]]]:
        """See `Runtime.get_placement_group`."""
        hub = self.hub
        answer = hub.ask(hub.head, HEAD, FindGroup(name, hub.namespace))
        found: GroupFound = decoder_of(GroupFound).decode(answer)
        if not found.group_id:
            raise ValueError(f"There is no placement group named {name!r}.")
        return found.group_id, [{kind: amount / UNIT for kind, amount in bundle.items()} for bundle in found.bundles]

    def shutdown(self) -> None:
        """See `Runtime.shutdown`."""
        if not self._closed:
            self._closed = True
            self._readers.shutdown(wait=False, cancel_futures=True)
            self._close()
