"""From which node the next one should copy an object: who copies it from whom, and what each source would cost.

Of the nodes that have the object, and of those that are getting it, a node is sent to the one from which it will have
it soonest:

    (uploads of that node that are under way + 1) * size  +  hops from there to a whole copy * `LAG`

So a second node that wants what a first one is just copying is sent to the first, which passes on each range as it
arrives, a third to the second: a chain, in which every link carries the object once. Objects that are small beside the
lag of a hop spread like a tree. A node is never sent to one that waits for it itself.

**What a decision costs.** The nodes stand in a heap by cost, so a question takes O(log n) steps with n nodes, and so
does what changes a node's cost: a pull that begins or ends, a copy that is made or dropped. Only a node that asks again
(its source has failed) while others copy from it may take more: whoever comes up and waits for it is passed over, and
to know that takes at most a step for each that is between.
"""

from collections.abc import Collection
from heapq import heapify, heappop, heappush
from itertools import count

import msgspec

LAG = 16 << 20
"""How many bytes a node is behind the one that it copies from: those of the ranges that are under way, both ways."""

_SPARE = 16
"""The heap is made anew when more than half of it, and so many, are prices that no longer hold."""

Offer = tuple[int, int, int, bytes]
"""A source: what it costs; of equals the one with the fewest hops, of these the one priced longest ago; its node."""


class Copying(msgspec.Struct):
    """A node that copies an object.

    Attributes:
        source: the node that it was sent to.
        hops: how many transfers it is from a whole copy.
    """

    source: bytes
    hops: int


class CopyTree:
    """Decides for one object. Free of I/O; not thread-safe.

    Args:
        whole: the nodes that have all of it, besides the first one. `changed` is to be called when it has changed.

    Attributes:
        copying: the nodes that are getting it.
    """

    def __init__(self, whole: Collection[bytes]) -> None:
        self.copying: dict[bytes, Copying] = {}
        self._whole = whole
        self._size = 0
        self._uploads: dict[bytes, int] = {}
        self._offers: dict[bytes, Offer] = {}  # what holds now, by node
        self._heap: list[Offer] = []
        self._order = count(1)
        self._first_priced = 0

    def begin(self, asking: bytes, first: bytes, size: int, avoid: Collection[bytes]) -> Copying | None:
        """Send a node to a source; None where there is none.

        Args:
            asking: the node that wants the object. What it was getting before, it gets no more.
            first: the node that has the first copy.
            size: of the object, in bytes.
            avoid: other nodes that it must not be sent to.
        """
        self.end(asking)
        if size != self._size:  # it was made again
            self._size = size
            self._price_all()
        source = self._choose(asking, first, avoid)
        if not source:
            return None
        above = self.copying.get(source)
        made = self.copying[asking] = Copying(source, above.hops + 1 if above is not None else 1)
        self._uploads[source] = self._uploads.get(source, 0) + 1
        self.changed(source)
        self.changed(asking)
        if source == first:
            self._first_priced = next(self._order)
        return made

    def end(self, node_id: bytes) -> None:
        """A node does not copy the object any more, if it did."""
        one = self.copying.pop(node_id, None)
        if one is None:
            return
        left = self._uploads[one.source] - 1
        if left:
            self._uploads[one.source] = left
        else:
            del self._uploads[one.source]
        self.changed(one.source)
        self.changed(node_id)

    def changed(self, node_id: bytes) -> None:
        """A node has a copy now, or has none any more, or sends to more or fewer than before: price it."""
        if node_id in self._whole:
            hops = 0
        elif (one := self.copying.get(node_id)) is not None:
            hops = one.hops
        else:
            self._offers.pop(node_id, None)
            if not self._offers:
                self._heap.clear()
            return
        offer = self._offers[node_id] = (self._cost(node_id, hops), hops, next(self._order), node_id)
        heappush(self._heap, offer)
        if len(self._heap) > 2 * len(self._offers) + _SPARE:
            self._heap = list(self._offers.values())
            heapify(self._heap)

    def _cost(self, node_id: bytes, hops: int) -> int:
        return (self._uploads.get(node_id, 0) + 1) * self._size + hops * LAG

    def _price_all(self) -> None:
        self._heap.clear()
        self._offers.clear()
        for node_id in dict.fromkeys((*self._whole, *self.copying)):
            self.changed(node_id)

    def _choose(self, asking: bytes, first: bytes, avoid: Collection[bytes]) -> bytes:
        """The best of the heap, or the first copy, which is not in it."""
        # Nobody waits for a node that nobody copies from: then there is nothing to look at.
        waits: dict[bytes, bool] | None = {asking: True} if asking in self._uploads else None
        first_is_good = first != asking and first not in avoid and not self._waits(first, waits)
        limit = (self._cost(first, 0), 0, self._first_priced, first) if first_is_good else None
        found, passed_over = b"", list[Offer]()
        while self._heap:
            offer = self._heap[0]
            node_id = offer[3]
            if self._offers.get(node_id) is not offer:
                heappop(self._heap)
            elif limit is not None and offer > limit:
                break
            elif node_id == asking or node_id in avoid or self._waits(node_id, waits):
                passed_over.append(heappop(self._heap))
            else:
                found = node_id
                break
        for offer in passed_over:
            heappush(self._heap, offer)
        return found or (first if first_is_good else b"")

    def _waits(self, node_id: bytes, waits: dict[bytes, bool] | None) -> bool:
        """Whether a node's copy comes from the asking one, however many are between; `waits`: who was looked at."""
        if waits is None:
            return False
        path: list[bytes] = []
        while (known := waits.get(node_id)) is None and (one := self.copying.get(node_id)) is not None:
            path.append(node_id)
            node_id = one.source
        waits.update(dict.fromkeys(path, known or False))
        return known or False
