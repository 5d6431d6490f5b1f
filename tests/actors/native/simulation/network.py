"""The network between simulated processes, and the wire threads it ends at: what a hub needs of them, and no more.

Sending puts an event on the lane of a pair of processes. Lanes keep order; nothing else does.
"""

import itertools
from collections import Counter

from limelight.actors.contract import AddBorrower, encode
from limelight.transport.address import ProcessAddress
from limelight.transport.protocol import Call, Credit, Item, Reply

NODE = ProcessAddress("0" * 32, "host")


class Wire:
    """Stands for a WireThread; a post may be handled at once, as if the thread had just been waiting for it."""

    def __init__(self, process):
        self.process = process
        self.loop = self

    def post(self, function, argument):
        process = self.process
        if process.dead:
            return
        process.inbox.append((function, argument))
        if not process.on_wire and process.world.random.random() < 0.3:
            while process.inbox:
                process.drain()

    def run(self, coroutine, abandon=False):
        """Run a coroutine that never waits, after what was posted before it."""
        while self.process.inbox:
            self.process.drain()
        with self.process.acting(wire=True):
            try:
                coroutine.send(None)
            except StopIteration as done:
                return done.value
        raise AssertionError("it waits, on a wire thread that is simulated")

    def time(self):
        return self.process.world.now

    def call_soon(self, function, *args):
        self.call_at(self.time(), function, *args)

    def call_later(self, delay, function, *args):
        self.call_at(self.time() + delay, function, *args)

    def call_at(self, when, function, *args):
        if not self.process.dead:
            self.process.timers.append((when, function, args))


class Links:
    """Stands for links to processes that are all connected, until they die.

    Attributes:
        registering: by object, how many times this process has asked to be counted and has had no answer.
    """

    def __init__(self, process):
        self.process = process
        self.registering = Counter()

    def notify(self, address, actor, body):
        if address.process_id == NODE.process_id:
            self.process.tell_node(body)
            return
        self.process.channel(address.process_id).notify(actor, type(body).__name__, encode(body))

    def ask(self, address, actor, body, answer):
        if address.process_id == NODE.process_id:  # about the death of a worker
            self.process.hub.wire.post(answer, Reply(0, False, b""))
            return
        if isinstance(body, AddBorrower) and body.borrower.process_id == self.process.id:
            answer = self._registered(body.object_id, answer)
        self.process.channel(address.process_id).call(actor, type(body).__name__, encode(body), answer)

    def _registered(self, object_id, answer):
        self.registering[object_id] += 1

        def answered(reply):
            self.registering[object_id] -= 1
            answer(reply)

        return answered

    def has_channel(self, process_id):
        channel = self.process.channels.get(process_id)
        return channel is not None and channel.error is None

    def connected(self, address, then):
        channel = self.process.channel(address.process_id)
        then(channel if channel.error is None else channel.error)


class Channel:
    """One end of a channel."""

    queued_bytes = 0
    connected = True

    def __init__(self, process, peer):
        self.process, self._peer = process, peer
        self.peer = peer.address
        self.peer_info = {"node": peer.hub.identity.node_id.hex()}
        self.error = None
        self.pending = {}
        self.ids = itertools.count(1)

    def _send(self, event):
        if not self.process.dead and self.error is None and not self._peer.dead:
            mine = self.process.id
            self.process.world.send(mine, self._peer.id, lambda peer: event(peer.channel(mine)))

    def call(self, actor, method, body, on_reply, on_item=None):
        call_id = next(self.ids)
        if self.error is not None:
            self.process.hub.wire.post(on_reply, self.error)
            return call_id
        self.pending[call_id] = (on_reply, on_item)
        self._send(lambda end: end.process.hub.on_call(end, Call(call_id, actor, method, body)))
        return call_id

    def notify(self, actor, method, body):
        self._send(lambda end: end.process.hub.on_call(end, Call(0, actor, method, body)))

    def reply(self, call_id, body, failed=False):
        def arrive(end):
            if call_id in end.pending:
                end.pending.pop(call_id)[0](Reply(call_id, failed, body))

        self._send(arrive)

    def item(self, call_id, index, body):
        def arrive(end):
            if call_id in end.pending:
                end.pending[call_id][1](Item(call_id, index, body))

        self._send(arrive)

    def credit(self, call_id, count):
        self._send(lambda end: end.process.hub.on_credit(end, Credit(call_id, count)))


class NodeChannel:
    """A process's end of its channel to the node manager, over which actors are constructed."""

    error = None
    peer = NODE

    def __init__(self, process):
        self.process = process
        self.pending = {}
        self.ids = itertools.count(1)

    def call(self, actor, method, body, on_reply=None):
        """From the node manager's side."""
        call_id = next(self.ids) if on_reply else 0
        if on_reply:
            self.pending[call_id] = on_reply
        self.process.world.send(
            NODE.process_id,
            self.process.id,
            lambda process: process.hub.on_call(self, Call(call_id, actor, method, body)),
        )

    def reply(self, call_id, body, failed=False):
        if call_id in self.pending:
            told = self.pending.pop(call_id)
            self.process.tell_node(lambda: told(Reply(call_id, failed, body)))
