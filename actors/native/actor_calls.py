"""Creating, finding and calling actors, on the caller's side. On the user's threads."""

import os
import weakref
from typing import TYPE_CHECKING, Any

from ...exceptions import ActorAlreadyExistsError, PendingCallsLimitExceeded
from .. import ids
from ..actor_descriptor import ActorDescriptor
from ..contract import (
    HEAD,
    ActorFound,
    ActorSpec,
    Creation,
    FindActor,
    KillActor,
    ListNamedActors,
    RegisterActor,
    decoder_of,
    encode,
)
from ..object_ref import ObjectRef
from ..options import ActorOptions, MethodOptions
from ..serialization import serialize
from .actor_entry import NativeActorEntry
from .entrusted_object import entrust
from .entry import INLINE, ObjectEntry
from .locality import locality
from .old_session import check_handle
from .task_record import TaskRecord
from .value_codec import from_inline, to_inline

if TYPE_CHECKING:
    from ..object_ref_generator import ObjectRefGenerator
    from .runtime import NativeRuntime


class ActorCalls:
    """The entries of this process's actors, one each."""

    def __init__(self, runtime: "NativeRuntime") -> None:
        self._runtime = runtime
        self._hub = runtime.hub
        self._entries: weakref.WeakValueDictionary[bytes, NativeActorEntry] = weakref.WeakValueDictionary()
        self._outlines: dict[bytes, bytes] = {}

    def create(
        self, descriptor: ActorDescriptor, args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions
    ) -> NativeActorEntry:
        """Register an actor with the head; its constructor's arguments follow as soon as they are ready."""
        core, templates, placement = self._hub, self._runtime.templates, options.placement
        core.holding.wait()
        light = options.isolation == "shared"
        template = templates.of_creation(descriptor, options)
        record = core.values.record(core.ids.task_id(), template, args, kwargs)
        actor_id = record.actor_id = ids.actor_id()
        detached = options.lifetime == "detached"
        restarts = options.max_restarts != 0
        spec = ActorSpec(
            actor_id=actor_id,
            class_name=descriptor.name,
            name=options.name,
            namespace=options.namespace or core.namespace,
            detached=detached,
            max_restarts=options.max_restarts,
            owner=core.address,
            placing=templates.lease_spec(
                placement, placement.placing, descriptor.name, capture=not light, retriable=restarts
            ),
            running=templates.lease_spec(
                placement, placement.running, descriptor.name, capture=not light, retriable=restarts
            ),
            light=light,
            descriptor=template.wire.options["outline"],
            has_creation=not record.dependencies,
            creation=b"" if record.dependencies else self._creation(record),
        )
        if options.name:
            body = RegisterActor(spec, options.get_if_exists)
            found: ActorFound = decoder_of(ActorFound).decode(core.ask(core.head, HEAD, body))
            if found.actor_id != actor_id:
                return self._existing(found, options)
        hold = None if detached else self._hold(actor_id)
        # Registered before it is watched, which making its entry does: the head knows nothing of strangers. Nor may it
        # hear first that there is no handle left, so the hold goes along.
        core.wire.post(self._register, (spec, record, bool(options.name), hold))
        return self._new_entry(actor_id, descriptor, options, hold)

    def _existing(self, found: ActorFound, options: ActorOptions) -> NativeActorEntry:
        if not found.actor_id or not options.get_if_exists:
            raise ActorAlreadyExistsError(
                f"There is an actor named {options.name!r} in namespace {options.namespace or self._hub.namespace!r} "
                "already. Choose another name, pass get_if_exists=True to share it, or get it with get_actor()."
            )
        return self._of_outline(found.actor_id, found.descriptor, hold=None)

    def _register(self, registration: tuple[ActorSpec, TaskRecord, bool, ObjectRef[Any] | None]) -> None:
        """On the wire thread: send the registration, and the creation when its arguments are ready."""
        spec, record, registered, _ = registration
        core = self._hub
        core.actors.keep_creation(spec.actor_id, record)
        if not registered:
            core.links.notify(core.head, HEAD, RegisterActor(spec, get_if_exists=False))
        if record.dependencies:
            core.submission.resolve(record, self._creation_ready, self._creation_failed)

    def _creation_ready(self, record: TaskRecord) -> None:
        near = locality((record,), self._hub.identity.node_id)
        self._hub.actors.creation_ready(record.actor_id, self._creation(record), near)

    def _creation_failed(self, record: TaskRecord, error: bytes) -> None:
        self._hub.actors.creation_failed(record.actor_id, error)

    def _creation(self, record: TaskRecord) -> bytes:
        invocation = self._hub.submission.invocation(record)
        return encode(Creation(encode(record.template.wire), encode(invocation)))

    def _hold(self, actor_id: bytes) -> ObjectRef[Any]:
        """The object that stands for the actor: when it is freed, no handle is left anywhere."""
        core = self._hub
        entry = ObjectEntry(core.table, ids.object_id(core.ids.task_id(), 1))
        entry.data = to_inline(serialize(None))
        entry.state = INLINE
        core.table.track(entry)
        entry.on_free = lambda: core.actors.unreferenced(actor_id)
        return core.table.new_ref(entry)

    def _new_entry(
        self, actor_id: bytes, descriptor: ActorDescriptor, options: ActorOptions, hold: ObjectRef[Any] | None
    ) -> NativeActorEntry:
        client = self._hub.actors.client(actor_id, options.name or descriptor.name)
        entry = NativeActorEntry(
            actor_id, descriptor, client, hold, options.max_task_retries, options.max_pending_calls, self._hub
        )
        self._entries[actor_id] = entry
        return entry

    def _of_outline(self, actor_id: bytes, outline: bytes, hold: ObjectRef[Any] | None) -> NativeActorEntry:
        entry = self._entries.get(actor_id)
        if entry is None:
            descriptor, retries, limit = from_inline(outline)
            client = self._hub.actors.client(actor_id, descriptor.name)
            entry = NativeActorEntry(actor_id, descriptor, client, hold, retries, limit, self._hub)
            self._entries[actor_id] = entry
        elif entry.hold is None:
            entry.hold = hold
        return entry

    # --- calls ---

    def call(
        self,
        actor: NativeActorEntry,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: MethodOptions,
    ) -> "list[ObjectRef[Any]] | ObjectRefGenerator[Any]":
        """Call a method."""
        core = self._hub
        if actor.session is not core:
            check_handle(actor, core)
        template = self._runtime.templates.of_method(actor.descriptor, method, options, actor.max_task_retries)
        client = actor.client
        if 0 <= actor.max_pending_calls <= client.pending_calls:
            raise PendingCallsLimitExceeded(
                f"{template.wire.name} was not called: {client.pending_calls} calls of this process to the actor are "
                f"unfinished, and its max_pending_calls is {actor.max_pending_calls}. Wait for some of them first."
            )
        record = core.values.record(core.ids.task_id(), template, args, kwargs)
        record.actor_id = actor.actor_id
        record.held_actor = actor.hold
        client.pending_calls += 1
        refs = self._runtime.results(record, template)
        core.wire.post(client.submit, record)
        return refs

    def entrust(self, actor: NativeActorEntry, value: Any) -> ObjectRef[Any]:
        """Put a value that the actor's process owns; waits until the actor lives.

        Raises:
            RayActorError: the actor is dead.
        """
        runtime = self._runtime
        executor = self._hub.executor
        if executor is not None and executor.hosted(actor.actor_id) is not None:  # type: ignore[comparison-overlap]
            return runtime.put(value)
        while (link := actor.client.link) is None:
            ready: Any = self.call(actor, "__ray_ready__", (), {}, MethodOptions())
            runtime.get(ready, None)
        return entrust(self._hub, value, link.channel)

    # --- finding and ending ---

    def kill(self, actor: NativeActorEntry, no_restart: bool) -> None:
        """Have the head end an actor."""
        check_handle(actor, self._hub)
        self._hub.ask(self._hub.head, HEAD, KillActor(actor.actor_id, no_restart, os.urandom(8)))

    def find(self, name: str, namespace: str | None) -> NativeActorEntry:
        """The actor of a name."""
        core = self._hub
        where = core.namespace if namespace is None else namespace
        found: ActorFound = decoder_of(ActorFound).decode(core.ask(core.head, HEAD, FindActor(name, where)))
        if not found.actor_id:
            raise ValueError(
                f"Failed to look up actor with name {name!r} in namespace {where!r}: there is no living actor of that "
                "name. Names are per namespace; see limelight.util.list_named_actors(all_namespaces=True)."
            )
        return self._of_outline(found.actor_id, found.descriptor, hold=None)

    def named(self, all_namespaces: bool) -> list[dict[str, str]]:
        """All names."""
        core = self._hub
        answer = core.ask(core.head, HEAD, ListNamedActors(None if all_namespaces else core.namespace))
        return [
            {"name": name, "namespace": namespace}
            for name, namespace in decoder_of(list[tuple[str, str]]).decode(answer)
        ]

    def exported(self, actor: NativeActorEntry) -> tuple[Any, ...]:
        """An actor as it crosses a process boundary."""
        check_handle(actor, self._hub)
        outline = self._outlines.get(actor.descriptor.key)
        if outline is None:
            about = (actor.descriptor.outline(), actor.max_task_retries, actor.max_pending_calls)
            outline = self._outlines[actor.descriptor.key] = to_inline(serialize(about))
        return actor.actor_id, outline, actor.hold

    def imported(self, actor_id: bytes, outline: bytes, hold: ObjectRef[Any] | None) -> NativeActorEntry:
        """An actor that came from elsewhere."""
        return self._of_outline(actor_id, outline, hold)
