"""The head's directory of actors: names, placement, life, restarts and death.

    DEPENDENCIES_UNREADY -> PENDING_CREATION -> ALIVE -> DEAD
                                  |   ^           |
                                  v   |           v
                               (RESTARTING: its process or node died and restarts are left)

All state is in an `ActorTable`, which the owner of this machine may store after each `handle`; `restore` goes on from
there.
"""

from .actor_index import ActorIndex
from .actor_placement import ActorPlacement
from .actor_table import (
    INFINITE,
    ActorChanged,
    ActorCommand,
    ActorCreated,
    ActorCreationFailed,
    ActorEvent,
    ActorExited,
    ActorNodeLost,
    ActorRecord,
    ActorRegistered,
    ActorState,
    ActorTable,
    ActorView,
    CreateActor,
    DeathCause,
    DependenciesReady,
    DrainActors,
    FromNode,
    HandlesGone,
    KillActor,
    NodeAnswer,
    OwnerLost,
    PlaceActors,
    RegisterActor,
    Subscribe,
    TerminateActor,
    ToLeaseMachine,
    view_of,
)
from .labels import LabelSelector
from .lease_message import ReleaseWorker, RequestedWorkerLost, WorkerGranted, WorkerRefused, WorkersHeld
from .policy import Never
from .resources import ResourceSet
from .scheduler import Scheduler

MAX_DEAD = 10_000
"""Dead actors that are remembered, for those who ask late."""

_KILLS = 16
"""Requests to kill an actor and start it again that are known when they are said again."""

RETRY = 0.25
"""Seconds between attempts for actors that wait."""


class ActorDirectory:
    """The state machine. Single-threaded; every event may come late or twice."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.table = ActorTable({})
        self._placement = ActorPlacement(scheduler)
        self._names: dict[tuple[str, str], bytes] = {}
        self._index = ActorIndex()
        self._dead: dict[bytes, None] = {}
        self._leaving: dict[str, str] = {}
        self._stranded: dict[bytes, ActorRecord] = {}
        self._tried_at = 0.0
        self._changed: dict[bytes, None] = {}
        self._out: list[ActorCommand] = []

    def handle(self, event: ActorEvent, now: float) -> list[ActorCommand]:  # noqa: C901 - a case an event, no logic
        """Take in one event; returns what is to be done, in order."""
        self._out = []
        match event:
            case RegisterActor():
                self._register(event, now)
            case FromNode():
                self._from_node(event.node_id, event.message, now)
            case OwnerLost():
                self._owner_lost(event)
            case ActorNodeLost():
                for record in self._index.at_node(event.node_id):
                    self._worker_lost(record, DeathCause("node_died", event.text), now)
                self._leaving.pop(event.node_id, None)
            case DrainActors():
                self._leaving[event.node_id] = event.text
                for record in self._index.at_node(event.node_id):
                    self._move_away(record, now)
            case Subscribe():
                self._subscribe(event)
            case PlaceActors():
                self._place_waiting(event.node_id, now)
            case _:
                if record := self.table.actors.get(event.actor_id):
                    self._about(record, event, now)
        return self._out

    def take_changed(self) -> list[bytes]:
        """The actors whose rows have changed, or gone, since the last time this was asked."""
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def wake_at(self) -> float | None:
        """When `PlaceActors` is due, beside whenever nodes report; None while no actor waits."""
        return self._tried_at + RETRY if len(self._placement) or self._stranded else None

    def restore(self, table: ActorTable, now: float) -> list[ActorCommand]:
        """Go on from a stored table; returns what may have been lost. Nodes report as they connect."""
        self.table, self._out = table, []
        for actor_id, record in table.actors.items():
            if record.state == "DEAD":
                self._dead[actor_id] = None
                continue
            if record.spec.name:
                self._names[record.spec.namespace, record.spec.name] = actor_id
            self._index.alive(record)
            if record.request_id:
                self._index.requested(record)
            if record.state in {"PENDING_CREATION", "RESTARTING"}:
                self._resume(record, now)
            elif record.state == "ALIVE" and record.ending:
                self._terminate(record)
        return self._out

    def named(self, name: str, namespace: str) -> ActorView | None:
        """The live (or coming) actor of that name."""
        actor_id = self._names.get((namespace, name))
        return None if actor_id is None else view_of(self.table.actors[actor_id])

    def unserved(self) -> dict[tuple[ResourceSet, LabelSelector], int]:
        """How many actors wait for a node that could be a new one, by what they need."""
        return self._placement.unserved()

    def has_actors_at(self, node_id: str) -> bool:
        """Whether an actor has a worker of the node, or has asked it for one."""
        return bool(self._index.at_node(node_id))

    def views(self) -> list[ActorView]:
        """All actors, the dead that are still remembered among them."""
        return [view_of(record) for record in self.table.actors.values()]

    # Birth

    def _register(self, event: RegisterActor, now: float) -> None:
        spec = event.spec
        known = self.table.actors.get(spec.actor_id)
        key = (spec.namespace, spec.name)
        if known is None and spec.name and key in self._names:
            held = self._names[key]
            holder = self.table.actors[held]
            if event.get_if_exists:
                self._out.append(ActorRegistered(spec.owner, spec.actor_id, view_of(holder)))
                return
            taken = (
                f"The name {spec.name!r} in namespace {spec.namespace!r} is taken by actor {held.hex()} "
                f"({holder.spec.class_name}, {holder.state}): choose another, or share it with get_if_exists=True."
            )
            self._out.append(ActorRegistered(spec.owner, spec.actor_id, None, taken))
            return
        if known is None:
            known = self.table.actors[spec.actor_id] = ActorRecord(spec)
            self._changed[spec.actor_id] = None
            self._index.alive(known)
            if spec.name:
                self._names[key] = spec.actor_id
            self._out.append(ActorRegistered(spec.owner, spec.actor_id, view_of(known)))
            if spec.ready:
                self._place(known, now)
            else:
                known.state = "DEPENDENCIES_UNREADY"
            return
        self._out.append(ActorRegistered(spec.owner, spec.actor_id, view_of(known)))

    def _place(self, record: ActorRecord, now: float) -> None:
        self._changed[record.spec.actor_id] = None
        answer = self._placement.place(record, now)
        if isinstance(answer, Never):
            if answer.fatal:
                self._die(record, DeathCause("unschedulable", answer.text))
            elif self._placement.tell(record):
                record.problem = answer.text
                self._tell(record)
        elif answer is not None:
            self._index.requested(record)
            self._out.append(answer)

    def _place_waiting(self, node_id: str, now: float) -> None:
        if not node_id:
            self._tried_at = now
            for record, text in self._placement.overdue(now):
                record.problem = text
                self._tell(record)
            stranded, self._stranded = self._stranded, {}
            for record in stranded.values():
                self._move_away(record, now)
        for record in self._placement.waiting(node_id):
            self._place(record, now)

    def _resume(self, record: ActorRecord, now: float) -> None:
        if record.worker_id:
            self._out.append(self._creation_of(record))
        elif record.request_id:
            self._out.append(self._placement.request_of(record))
        else:
            self._place(record, now)

    def _compare(self, node_id: str, request_ids: tuple[str, ...], now: float) -> None:
        """A node is back, or this head is: bring what each believes of the other's actors together.

        What either said last may not have arrived, so whatever waits for an answer is said again.
        """
        for request_id in request_ids:
            if self._index.of_request(request_id) is None:
                self._out.append(ToLeaseMachine(node_id, ReleaseWorker(request_id)))
        held = set(request_ids)
        for record in self._index.at_node(node_id):
            if not record.worker_id:
                self._out.append(self._placement.request_of(record))
            elif record.request_id not in held:
                self._worker_lost(record, DeathCause("worker_died", "its worker ended while the head was away"), now)
            elif record.state != "ALIVE":
                self._out.append(self._creation_of(record))
            elif record.ending:
                self._terminate(record)

    def _from_node(self, node_id: str, answer: NodeAnswer, now: float) -> None:
        if isinstance(answer, WorkersHeld):
            self._compare(node_id, answer.request_ids, now)
            return
        record = self._index.of_request(answer.request_id)
        self._placement.answered(answer.request_id)
        if record is None or record.request_id != answer.request_id:
            if isinstance(answer, WorkerGranted):  # the actor ended, or moved on, before the answer came
                self._out.append(ToLeaseMachine(node_id, ReleaseWorker(answer.request_id)))
            return
        self._changed[record.spec.actor_id] = None
        match answer:
            case WorkerGranted():
                if not record.worker_id:
                    self._placement.settled(record)
                    record.worker_id, record.devices, record.problem = answer.worker_id, answer.devices, ""
                    self._out.append(self._creation_of(record))
            case WorkerRefused():
                if record.worker_id:
                    return
                self._forget_worker(record)
                if answer.permanent:
                    self._die(record, DeathCause("environment_failed", answer.text))
                else:
                    self._placement.wait(record, now)
            case RequestedWorkerLost():
                self._worker_lost(record, DeathCause("worker_died", answer.text), now)

    def _creation_of(self, record: ActorRecord) -> CreateActor:
        spec = record.spec
        return CreateActor(
            record.node_id, record.worker_id, spec.actor_id, record.incarnation, spec.creation, record.devices
        )

    # Life

    def _about(
        self,
        record: ActorRecord,
        event: DependenciesReady | ActorCreated | ActorCreationFailed | ActorExited | KillActor | HandlesGone,
        now: float,
    ) -> None:
        if record.state == "DEAD":
            return
        self._changed[record.spec.actor_id] = None
        match event:
            case DependenciesReady():
                if record.state == "DEPENDENCIES_UNREADY":
                    record.locality = event.locality
                    self._change(record, "PENDING_CREATION")
                    self._place(record, now)
            case KillActor():
                self._kill(record, event, now)
            case HandlesGone():
                if not record.spec.detached and record.ending is None:
                    self._end_softly(record, event)
            case ActorCreated() | ActorCreationFailed() | ActorExited():
                if event.incarnation == record.incarnation and record.worker_id:
                    self._reported(record, event, now)

    def _kill(self, record: ActorRecord, event: KillActor, now: float) -> None:
        cause = DeathCause("killed", event.text)
        if event.no_restart:
            self._die(record, cause)
            return
        if event.request and event.request in record.kills:
            return
        record.kills = (*record.kills, event.request)[-_KILLS:]
        if record.worker_id:
            self._worker_lost(record, cause, now)

    def _reported(
        self, record: ActorRecord, event: ActorCreated | ActorCreationFailed | ActorExited, now: float
    ) -> None:
        match event:
            case ActorCreated():
                if record.state != "ALIVE":
                    record.address = event.address
                    self._change(record, "ALIVE")
                    if record.ending:
                        self._terminate(record)
                    elif record.node_id in self._leaving:
                        self._move_away(record, now)
            case ActorCreationFailed():
                if record.state != "ALIVE":
                    self._die(record, event.cause)
            case ActorExited():
                self._die(record, record.ending or event.cause)

    def _end_softly(self, record: ActorRecord, event: HandlesGone) -> None:
        record.ending = DeathCause("out_of_scope", "nobody has a handle to it any more")
        if record.state == "ALIVE":
            self._terminate(record)
        elif not event.calls_pending:
            self._die(record, record.ending)

    def _terminate(self, record: ActorRecord) -> None:
        self._out.append(TerminateActor(record.node_id, record.worker_id, record.spec.actor_id, record.incarnation))

    def _worker_lost(self, record: ActorRecord, cause: DeathCause, now: float) -> None:
        """The actor's worker, or the node that was asked for one, is gone."""
        if record.state == "DEAD":
            return
        self._changed[record.spec.actor_id] = None
        had_worker = bool(record.worker_id)
        most = record.spec.max_restarts
        spared = most != 0 and record.node_id in self._leaving
        may_restart = spared or most == INFINITE or record.incarnation - record.spared < most
        if had_worker and (record.ending or not may_restart):
            self._die(record, record.ending or cause)
            return
        self._forget_worker(record)
        if had_worker:
            record.incarnation += 1
            record.spared += spared
            record.cause = cause
            self._change(record, "RESTARTING")
        self._place(record, now)

    def _move_away(self, record: ActorRecord, now: float) -> None:
        """Restart an actor elsewhere, for its node is drained, if it may restart and there is room for it."""
        text = self._leaving.get(record.node_id)
        if text is None or not record.worker_id or not record.spec.max_restarts or record.ending:
            return
        if self._placement.has_room(record):
            self._worker_lost(record, DeathCause("node_died", text), now)
        else:
            self._stranded[record.spec.actor_id] = record

    # Death

    def _owner_lost(self, event: OwnerLost) -> None:
        self._index.process_lost(event.process_id)
        for record in self._index.owned_by(event.process_id):
            if not record.spec.detached:
                self._die(record, DeathCause("owner_died", event.text))
            elif record.state == "DEPENDENCIES_UNREADY":
                text = f"{event.text} before the arguments of its constructor were there"
                self._die(record, DeathCause("owner_died", text))

    def _die(self, record: ActorRecord, cause: DeathCause) -> None:
        self._changed[record.spec.actor_id] = None
        node_id, worker_id = record.node_id, record.worker_id
        self._forget_worker(record)
        record.node_id, record.worker_id = node_id, worker_id  # where it was, for people
        record.cause, record.problem = cause, ""
        self._placement.settled(record)
        spec = record.spec
        if self._names.get((spec.namespace, spec.name)) == spec.actor_id:
            del self._names[spec.namespace, spec.name]
        self._change(record, "DEAD")
        self._index.died(record)
        self._dead[spec.actor_id] = None
        while len(self._dead) > MAX_DEAD:
            oldest = next(iter(self._dead))
            del self._dead[oldest], self.table.actors[oldest]
            self._changed[oldest] = None

    def _forget_worker(self, record: ActorRecord) -> None:
        self._index.unrequested(record)
        self._out += self._placement.drop(record)

    # Who is told

    def _subscribe(self, event: Subscribe) -> None:
        record = self.table.actors.get(event.actor_id)
        if record is None:
            return
        if record.state != "DEAD":
            self._index.subscribed(event.process_id, event.actor_id)
        self._out.append(ActorChanged(event.process_id, view_of(record)))

    def _change(self, record: ActorRecord, state: ActorState) -> None:
        record.state = state
        self._tell(record)

    def _tell(self, record: ActorRecord) -> None:
        listeners = self._index.listeners(record.spec.actor_id)
        if listeners:
            view = view_of(record)
            self._out += [ActorChanged(process_id, view) for process_id in listeners]
