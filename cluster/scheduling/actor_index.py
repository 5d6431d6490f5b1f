"""Which actors an event concerns: found by request, by node, by owner and by who listens, however many there are."""

from .actor_table import ActorRecord


class ActorIndex:
    """What the directory finds actors by, beside their id. Not thread-safe; kept by the directory."""

    def __init__(self) -> None:
        self._requests: dict[str, ActorRecord] = {}
        self._at_node: dict[str, dict[str, ActorRecord]] = {}
        self._owned: dict[str, dict[bytes, ActorRecord]] = {}
        self._subscribers: dict[bytes, dict[str, None]] = {}
        self._listens_to: dict[str, dict[bytes, None]] = {}

    # Requests for workers

    def requested(self, record: ActorRecord) -> None:
        """The actor has asked a node for a worker, or has one of it."""
        self._requests[record.request_id] = record
        self._at_node.setdefault(record.node_id, {})[record.request_id] = record

    def unrequested(self, record: ActorRecord) -> None:
        """The actor needs that worker no more; before its request and node are cleared."""
        if self._requests.pop(record.request_id, None) is not None:
            here = self._at_node[record.node_id]
            del here[record.request_id]
            if not here:
                del self._at_node[record.node_id]

    def of_request(self, request_id: str) -> ActorRecord | None:
        """The actor whose open or granted request that is."""
        return self._requests.get(request_id)

    def at_node(self, node_id: str) -> list[ActorRecord]:
        """The actors that have a worker of that node, or have asked it for one."""
        return list(self._at_node.get(node_id, {}).values())

    # Owners

    def alive(self, record: ActorRecord) -> None:
        """The actor is not dead."""
        self._owned.setdefault(record.spec.owner, {})[record.spec.actor_id] = record

    def died(self, record: ActorRecord) -> None:
        """The actor is dead: nobody owns it, and there is nothing more to hear."""
        actor_id = record.spec.actor_id
        mine = self._owned.get(record.spec.owner, {})
        if mine.pop(actor_id, None) is not None and not mine:
            del self._owned[record.spec.owner]
        for process_id in list(self._subscribers.get(actor_id, ())):
            self._unsubscribe(process_id, actor_id)

    def owned_by(self, process_id: str) -> list[ActorRecord]:
        """The actors, not dead, that a process has created."""
        return list(self._owned.get(process_id, {}).values())

    # Who listens

    def subscribed(self, process_id: str, actor_id: bytes) -> None:
        """The process is to be told of the actor."""
        self._subscribers.setdefault(actor_id, {})[process_id] = None
        self._listens_to.setdefault(process_id, {})[actor_id] = None

    def process_lost(self, process_id: str) -> None:
        """The process is gone: it listens no more."""
        for actor_id in list(self._listens_to.get(process_id, ())):
            self._unsubscribe(process_id, actor_id)

    def listeners(self, actor_id: bytes) -> dict[str, None]:
        """Who is to be told of the actor."""
        return self._subscribers.get(actor_id, {})

    def _unsubscribe(self, process_id: str, actor_id: bytes) -> None:
        """The process is to be told no more."""
        listeners = self._subscribers.get(actor_id)
        if listeners is None or process_id not in listeners:
            return
        del listeners[process_id]
        if not listeners:
            del self._subscribers[actor_id]
        heard = self._listens_to[process_id]
        heard.pop(actor_id, None)
        if not heard:
            del self._listens_to[process_id]
