"""Whom a node is sent to, of all who have an object or are getting it: as cheaply as if all had been looked at."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.actors.contract import Location
from limelight.actors.native.copies import Copies
from limelight.actors.native.copy_tree import LAG, Copying

NODES = [bytes([number]) for number in range(9)]
NODE = st.sampled_from(NODES)
STEP = st.one_of(
    st.tuples(st.just("ask"), NODE, st.frozensets(NODE, max_size=4)),
    st.tuples(st.just("ask"), NODE, st.just(frozenset())),
    st.tuples(st.sampled_from(["copied", "ended", "dropped", "lost"]), NODE),
    st.tuples(st.just("the first is lost")),
    st.tuples(st.just("made again"), NODE, st.sampled_from([LAG // 4, LAG, 20 * LAG])),
)


class Model:
    """The same by looking at everything each time."""

    def __init__(self) -> None:
        self.first = Location(NODES[0], 0, LAG)
        self.whole: list[bytes] = []
        self.copying: dict[bytes, Copying] = {}

    def waits(self, node: bytes, other: bytes) -> bool:
        while (one := self.copying.get(node)) is not None:
            node = one.source
            if node == other:
                return True
        return False

    def costs(self, asking: bytes, avoid: frozenset[bytes]) -> dict[bytes, tuple[int, int]]:
        """Of those that it may be sent to: what they cost, and how many hops they are from a whole copy."""
        uploads = Counter(one.source for one in self.copying.values())
        hops = {node: one.hops for node, one in self.copying.items()}
        hops.update(dict.fromkeys((*self.whole, self.first.node_id), 0))
        return {
            node: ((uploads[node] + 1) * self.first.size + each * LAG, each)
            for node, each in hops.items()
            if node != asking and node not in avoid and not self.waits(node, asking)
        }


def end(copies: Copies, model: Model, node: bytes) -> None:
    copies.end(node)
    model.copying.pop(node, None)


def ask(copies: Copies, model: Model, node: bytes, avoid: frozenset[bytes]) -> None:
    end(copies, model, node)
    began = copies.begin(node, model.first, avoid)
    costs = model.costs(node, avoid)
    if not costs:
        assert began is None
        return
    assert costs[began.source] == min(costs.values())
    above = model.copying.get(began.source)
    model.copying[node] = Copying(began.source, 1 + (above.hops if above else 0))
    assert copies.copying == model.copying
    assert not model.waits(node, node), "a ring of nodes that wait for each other"


def follow(copies: Copies, model: Model, step: tuple) -> None:
    match step:
        case ("ask", node, avoid):
            ask(copies, model, node, avoid)
        case ("copied", node):
            end(copies, model, node)
            copies.add(Location(node, 0, model.first.size))
            model.whole = [*(each for each in model.whole if each != node), node]
        case ("ended", node):
            end(copies, model, node)
        case ("dropped", node):
            copies.discard(Location(node, 0, model.first.size))
            model.whole = [each for each in model.whole if each != node]
        case ("lost", node):
            copies.leave(node)
            model.whole = [each for each in model.whole if each != node]
        case ("the first is lost",):
            if model.whole:
                model.first = copies.pop()
                assert model.first.node_id == model.whole.pop(), "the newest"
        case ("made again", node, size):
            for each in model.whole:
                copies.leave(each)
            model.whole, model.first = [], Location(node, 0, size)


@settings(deadline=None, max_examples=300)
@given(st.lists(STEP, max_size=60))
def test_each_choice_is_the_cheapest_and_nothing_is_held_when_all_is_over(steps):
    copies, model = Copies(), Model()
    for step in steps:
        follow(copies, model, step)
        assert {place.node_id for place in copies} == set(model.whole)
    for node in NODES:
        copies.end(node)
        copies.leave(node)
    tree = copies._tree
    assert tree is None or not any(vars(tree)[name] for name in ("copying", "_whole", "_uploads", "_offers", "_heap"))


def test_prices_that_no_longer_hold_are_forgotten():
    copies, first = Copies(*(Location(node, 0, LAG) for node in NODES[1:4])), Location(NODES[0], 0, LAG)
    for _ in range(1000):
        for node in NODES[4:]:
            copies.begin(node, first, ())
            copies.end(node)
    assert len(copies._tree._heap) < 50


def test_of_many_who_ask_at_once_none_sends_much_more_than_others():
    copies, first = Copies(), Location(b"first", 0, 4 * LAG)
    for number in range(2000):
        assert copies.begin(number.to_bytes(2, "big"), first, ())
    uploads = Counter(one.source for one in copies.copying.values())
    assert max(uploads.values()) <= 6
    assert max(one.hops for one in copies.copying.values()) <= 24
