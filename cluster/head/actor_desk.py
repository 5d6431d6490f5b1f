"""The head's dealings with actors: carries the actor directory's decisions to the processes they concern."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ...actors.contract import (
    CORE,
    NODE,
    ActorChanged,
    ActorExited,
    ActorFound,
    ActorSpec,
    ActorUnreferenced,
    FindActor,
    KillActor,
    ListNamedActors,
    RegisterActor,
    SetCreation,
    WatchActor,
    decoder_of,
    encode,
)
from ...actors.serialization import serialize_error
from ...exceptions import (
    ActorDiedError,
    DeathCause,
    DeathKind,
)
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..cluster_message import (
    ActorStarted,
    ReleaseLightWorker,
    RequestLightWorker,
    StartActor,
    TerminateActor,
)
from ..scheduling import actor_table as t
from ..scheduling import lease_message as m
from ..scheduling.actor_directory import ActorDirectory
from ..scheduling.lease_terms import lease_spec
from ..scheduling.strategy import InBundle
from .actor_obituary import Obituaries
from .head_state import ACTOR_SPECS, ACTORS, Rows, decode_rows

if TYPE_CHECKING:
    from .head import Head

_ITSELF = "head"
"""What the head calls itself as a subscriber of its own directory."""

_EARLY_S = 10.0
"""How long those who ask for an actor that nobody has registered yet wait."""

logger = logging.getLogger(__name__)

_STATES = {
    "DEPENDENCIES_UNREADY": "pending",
    "PENDING_CREATION": "pending",
    "ALIVE": "alive",
    "RESTARTING": "restarting",
    "DEAD": "dead",
}


class _Row(NamedTuple):
    """What is kept of an actor beside its spec: its record, and the error of an argument of its constructor."""

    record: t.ActorRecord
    cause: bytes


class ActorDesk:
    """Part of the head actor; on its loop."""

    def __init__(self, head: "Head") -> None:
        self._head = head
        self.directory = ActorDirectory(head.scheduler)
        self._specs: dict[bytes, ActorSpec] = {}
        self._registering: dict[bytes, tuple[Channel, int]] = {}
        self._watchers: dict[str, Channel] = {}
        self._early: dict[bytes, set[str]] = {}
        self.obituaries = Obituaries(head)
        self._observers: dict[bytes, Callable[[t.ActorView], None]] = {}
        self._causes: dict[bytes, bytes] = {}  # errors of constructors' arguments
        self._alarm = head.alarm(self.directory.wake_at, lambda: self.feed(t.PlaceActors()))
        head.methods |= {
            "RegisterActor": self._on_register,
            "SetCreation": self._on_set_creation,
            "WatchActor": self._on_watch,
            "FindActor": self._on_find,
            "ListNamedActors": self._on_list,
            "KillActor": self._on_kill,
            "ActorUnreferenced": self._on_unreferenced,
            "ActorStarted": self._on_started,
            "ActorExited": self._on_exited,
        }
        for answer in (m.WorkerGranted, m.WorkerRefused, m.RequestedWorkerLost):
            head.from_node[answer] = lambda node_id, message: self.feed(t.FromNode(node_id, message))
        head.on_node_back.append(lambda node_id, held: self.feed(t.FromNode(node_id, held)))
        head.on_report.append(self._place_waiting)
        head.on_node_lost.append(self._node_lost)
        head.on_process_lost.append(self._process_lost)

    def feed(self, event: t.ActorEvent) -> None:
        """Give the directory an event and do what it says."""
        commands = self.directory.handle(event, self._head.loop.time())
        self._keep_changes()
        for command in commands:
            self._execute(command)
        self._alarm.set()

    def rows(self) -> list[dict[str, Any]]:
        """All actors, as `Runtime.state("actors")` shows them."""
        return [
            {
                "actor_id": view.actor_id.hex(),
                "class_name": view.class_name,
                "state": view.state,
                "name": view.name,
                "ray_namespace": view.namespace,
                "node_id": view.node_id,
                "worker_id": view.worker_id,
                "num_restarts": view.incarnation,
                "problem": view.problem,
                "death_cause": view.cause.text if view.cause is not None and view.state == "DEAD" else "",
            }
            for view in self.directory.views()
        ]

    def _keep_changes(self) -> None:
        """Keep the rows that have changed. What a dead actor was made with is of no use to anybody."""
        state = self._head.state
        for actor_id in self.directory.take_changed():
            record, spec = self.directory.table.actors.get(actor_id), self._specs.get(actor_id)
            key = actor_id.hex()
            if record is None:
                self._specs.pop(actor_id, None)
                self._causes.pop(actor_id, None)
                state.delete(ACTORS, key)
                state.delete(ACTOR_SPECS, key)
                continue
            if record.state == "DEAD" and spec is not None and spec.creation:
                self._keep_spec(msgspec.structs.replace(spec, creation=b""))
            if state.keeps:
                state.put(ACTORS, key, _Row(record, self._causes.get(actor_id, b"")))

    def _keep_spec(self, spec: ActorSpec) -> None:
        self._specs[spec.actor_id] = spec
        self._head.state.put(ACTOR_SPECS, spec.actor_id.hex(), spec)

    def restore(self, rows: Rows) -> None:
        """Go on with the actors that a head before this one had."""
        for spec in decode_rows(rows, ACTOR_SPECS, ActorSpec).values():
            self._specs[spec.actor_id] = spec
        table = t.ActorTable({})
        for row in decode_rows(rows, ACTORS, _Row).values():
            actor_id = row.record.spec.actor_id
            if actor_id in self._specs:
                table.actors[actor_id] = row.record
                if row.cause:
                    self._causes[actor_id] = row.cause
                self._head.lives_at(row.record.spec.home, row.record.spec.owner)
        for command in self.directory.restore(table, self._head.loop.time()):
            self._execute(command)
        self._keep_changes()
        self._alarm.set()

    def _place_waiting(self, node_id: str) -> None:
        if self.directory.wake_at() is not None:
            self.feed(t.PlaceActors(node_id))

    def _node_lost(self, node_id: str) -> None:
        """A node is gone, and its actors."""
        drained = self._head.drains.reason_of(node_id)
        text = f"its node was drained ({drained})" if drained else "its node was lost"
        self.feed(t.ActorNodeLost(node_id, text))

    def _execute(self, command: t.ActorCommand) -> None:
        match command:
            case t.ActorRegistered():
                self._registered(command)
            case t.ActorChanged():
                self._tell(command)
            case t.ToLeaseMachine():
                self._ask_node(command)
            case t.CreateActor():
                self._create(command)
            case t.TerminateActor():
                self._to_node(command.node_id, TerminateActor(command.actor_id, command.worker_id))

    def _to_node(self, node_id: str, body: Any) -> None:
        node = self._head.nodes.get(node_id)
        if node is not None:
            self._head.process.notify(node.address, NODE, body)

    def _ask_node(self, command: t.ToLeaseMachine) -> None:
        event = command.event
        spec = self._specs.get(bytes.fromhex(event.request_id.partition(":")[0]))
        if spec is None or not spec.light:
            self._head.order(command)
        elif isinstance(event, m.RequestWorker):
            request = RequestLightWorker(event.request_id, spec.running.job_id, spec.running.environment)
            self._to_node(command.node_id, request)
        else:
            self._to_node(command.node_id, ReleaseLightWorker(event.request_id))

    def _create(self, command: t.CreateActor) -> None:
        spec = self._specs[command.actor_id]
        strategy = lease_spec(spec.running).strategy
        bundle = strategy if isinstance(strategy, InBundle) else None
        order = StartActor(
            command.actor_id,
            command.incarnation,
            command.worker_id,
            spec.creation,
            spec.running.job_id,
            spec.namespace,
            spec.running.resources,
            command.devices,
            bundle.group_id if bundle else b"",
            bundle is not None and bundle.capture,
        )
        self._to_node(command.node_id, order)

    # --- from owners and callers ---

    def _on_register(self, channel: Channel, call: Call) -> None:
        request: RegisterActor = decoder_of(RegisterActor).decode(call.body)
        spec = request.spec
        if call.call_id:
            self._registering[spec.actor_id] = (channel, call.call_id)
        self.register(spec, self._head.node_of(channel), get_if_exists=request.get_if_exists)
        for process_id in self._early.pop(spec.actor_id, ()):
            self.feed(t.Subscribe(process_id, spec.actor_id))

    def register(self, spec: ActorSpec, home: str = "", *, get_if_exists: bool = False) -> None:
        """Make an actor, whose creator lives on the node `home`, if on any."""
        if spec.actor_id not in self.directory.table.actors:  # else it is said again: the head was restarted
            self._keep_spec(spec)
            if spec.detached:
                self._head.packages.adopt(self._head.environments.packages_elsewhere(spec.running.environment))
        registered = t.ActorSpec(
            actor_id=spec.actor_id,
            class_name=spec.class_name,
            owner=spec.owner.process_id,
            lease=lease_spec(spec.running),
            placement=lease_spec(spec.placing).resources,
            name=spec.name,
            namespace=spec.namespace,
            detached=spec.detached,
            max_restarts=spec.max_restarts,
            home=home,
            ready=spec.has_creation,
        )
        self.feed(t.RegisterActor(registered, get_if_exists))

    def observe(self, actor_id: bytes, observer: Callable[[t.ActorView], None]) -> bool:
        """Call `observer` with an actor's present state and every change, to its end; False where there is none."""
        if actor_id not in self.directory.table.actors:
            return False
        self._observers[actor_id] = observer
        self.feed(t.Subscribe(_ITSELF, actor_id))
        return True

    def _registered(self, command: t.ActorRegistered) -> None:
        waiting = self._registering.pop(command.actor_id, None)
        found = command.view
        if found is None or found.actor_id != command.actor_id:
            self._specs.pop(command.actor_id, None)
            self._head.state.delete(ACTOR_SPECS, command.actor_id.hex())
        if waiting is None:
            return
        channel, call_id = waiting
        answer = ActorFound() if found is None else self._found(found.actor_id)
        channel.reply(call_id, encode(answer))

    def _found(self, actor_id: bytes) -> ActorFound:
        return ActorFound(actor_id, self._specs[actor_id].descriptor)

    def _on_set_creation(self, _: Channel, call: Call) -> None:
        given: SetCreation = decoder_of(SetCreation).decode(call.body)
        spec = self._specs.get(given.actor_id)
        if spec is None:
            return
        if given.error:
            self._causes[given.actor_id] = given.error
            cause = t.DeathCause("constructor_failed", "an argument of its constructor could not be made", given.error)
            self.feed(t.KillActor(given.actor_id, no_restart=True, text=cause.text))
            return
        record = self.directory.table.actors.get(given.actor_id)
        if record is not None and record.state == "DEPENDENCIES_UNREADY":
            self._keep_spec(msgspec.structs.replace(spec, creation=given.creation, has_creation=True))
        self.feed(t.DependenciesReady(given.actor_id, tuple(given.locality)))

    def _on_watch(self, channel: Channel, call: Call) -> None:
        watch: WatchActor = decoder_of(WatchActor).decode(call.body)
        process_id = channel.peer.process_id
        self._watchers[process_id] = channel
        if watch.actor_id in self.directory.table.actors:
            self.feed(t.Subscribe(process_id, watch.actor_id))
            return
        # A handle can overtake the registration of its actor, which comes from another process.
        self._early.setdefault(watch.actor_id, set()).add(process_id)
        self._head.loop.call_later(_EARLY_S, self._give_up, watch.actor_id)

    def _give_up(self, actor_id: bytes) -> None:
        """Nobody has registered the actor: it is dead and forgotten, or its creator died before it could."""
        for process_id in self._early.pop(actor_id, ()):
            channel = self._watchers.get(process_id)
            if channel is not None:
                cause = DeathCause(DeathKind.OUT_OF_SCOPE, "the head does not know it (any more)")
                error = serialize_error(ActorDiedError(cause, actor_id=actor_id))
                change = ActorChanged(actor_id, "dead", 0, None, None, error)
                channel.notify(CORE, "ActorChanged", encode(change))

    def _on_find(self, channel: Channel, call: Call) -> None:
        wanted: FindActor = decoder_of(FindActor).decode(call.body)
        view = self.directory.named(wanted.name, wanted.namespace)
        channel.reply(call.call_id, encode(ActorFound() if view is None else self._found(view.actor_id)))

    def _on_list(self, channel: Channel, call: Call) -> None:
        wanted: ListNamedActors = decoder_of(ListNamedActors).decode(call.body)
        names = [
            (view.name, view.namespace)
            for view in self.directory.views()
            if view.name and view.state != "DEAD" and wanted.namespace in (None, view.namespace)
        ]
        channel.reply(call.call_id, msgspec.msgpack.encode(names))

    def _on_kill(self, channel: Channel, call: Call) -> None:
        kill: KillActor = decoder_of(KillActor).decode(call.body)
        self.feed(t.KillActor(kill.actor_id, kill.no_restart, request=kill.request))
        channel.reply(call.call_id, b"")

    def _on_unreferenced(self, _: Channel, call: Call) -> None:
        gone: ActorUnreferenced = decoder_of(ActorUnreferenced).decode(call.body)
        self.feed(t.HandlesGone(gone.actor_id, gone.calls_pending))

    def _process_lost(self, process_id: str) -> None:
        self._watchers.pop(process_id, None)
        self.feed(t.OwnerLost(process_id, "the process that created it is gone"))

    # --- from nodes and hosts ---

    def _on_started(self, _: Channel, call: Call) -> None:
        started: ActorStarted = decoder_of(ActorStarted).decode(call.body)
        if started.address is not None:
            self.feed(t.ActorCreated(started.actor_id, started.incarnation, started.address))
            return
        cause = t.DeathCause("constructor_failed", "its constructor raised", started.error)
        self.feed(t.ActorCreationFailed(started.actor_id, started.incarnation, cause))

    def _on_exited(self, _: Channel, call: Call) -> None:
        exited: ActorExited = decoder_of(ActorExited).decode(call.body)
        record = self.directory.table.actors.get(exited.actor_id)
        if record is not None:
            cause = t.DeathCause("exited", exited.reason)
            self.feed(t.ActorExited(exited.actor_id, record.incarnation, cause))

    # --- telling those who watch ---

    def _tell(self, command: t.ActorChanged) -> None:
        view = command.view
        if command.process_id == _ITSELF:
            dead = view.state == "DEAD"
            observer = self._observers.pop(view.actor_id, None) if dead else self._observers.get(view.actor_id)
            if observer is not None:
                observer(view)
            return
        if view.state != "DEAD":
            self._send(command.process_id, view, b"")
            return
        known = self._causes.get(view.actor_id, b"")
        if known:
            self._send(command.process_id, view, known)
        else:
            spec = self._specs.get(view.actor_id)
            self.obituaries.write(view, spec, lambda error: self._send(command.process_id, view, error))

    def _send(self, process_id: str, view: t.ActorView, cause: bytes) -> None:
        channel = self._watchers.get(process_id)
        if channel is None:
            return
        node = self._head.nodes.get(view.node_id)
        change = ActorChanged(
            view.actor_id,
            _STATES[view.state],
            view.incarnation,
            view.address,
            node.address if node else None,
            cause,
            view.name or view.class_name,
            view.problem,
        )
        channel.notify(CORE, "ActorChanged", encode(change))
