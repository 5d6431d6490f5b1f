"""The allocator: ranges never overlap, sums are exact, neighbours are joined, warm memory comes first."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from limelight.cluster.store.address_space import NOBODY, AddressSpace

PAGES = 64
WRITERS = ["a", "b", NOBODY]


class Allocator(RuleBasedStateMachine):
    """Random use, against a map of every page."""

    held = Bundle("held")

    def __init__(self):
        super().__init__()
        self.space = AddressSpace(PAGES)
        self.pages = [None] * PAGES  # None: cold; a name: populated by; "held": not free

    @rule(target=held, size=st.integers(1, 20), process=st.sampled_from(["a", "b"]), budget=st.integers(0, PAGES))
    def allocate(self, size, process, budget):
        place = self.space.allocate(size, process, budget)
        runs = self.runs()
        fits = {writer: [run for run in runs if run[2] == writer and run[1] >= size] for writer in ["a", "b", "", None]}
        if place is None:
            assert not fits["a"] + fits["b"] + fits[""]
            assert size > budget or not fits[None]
            return (0, 0)
        start, populated = place
        assert start + size <= PAGES
        kinds = set(self.pages[start : start + size])
        assert len(kinds) == 1, "a range of one kind"
        kind = kinds.pop()
        assert kind != "held"
        assert populated == (kind is not None)
        if fits[process]:
            assert kind == process, "what the process wrote itself is preferred"
        elif not populated:
            assert size <= budget
            assert not fits["a"] + fits["b"] + fits[""]
        self.pages[start : start + size] = ["held"] * size
        return (start, size)

    @rule(part=consumes(held), writer=st.sampled_from([*WRITERS, None]))
    def free(self, part, writer):
        start, size = part
        if size:
            self.space.free(start, size, writer)
            self.pages[start : start + size] = [writer] * size

    @rule(amount=st.integers(1, PAGES), spare=st.sampled_from(["a", "b"]))
    def punch(self, amount, spare):
        before = self.space.populated_free
        taken = self.space.take_populated(amount, spare)
        assert sum(size for _, size in taken) == min(amount, before)
        for start, size in taken:
            assert all(self.pages[page] not in {None, "held"} for page in range(start, start + size))
            self.pages[start : start + size] = ["held"] * size
        for start, size in taken:
            self.space.free(start, size, None)
            self.pages[start : start + size] = [None] * size

    @rule(process=st.sampled_from(["a", "b"]))
    def forget(self, process):
        self.space.forget_writer(process)
        self.pages = [NOBODY if page == process else page for page in self.pages]

    def runs(self):
        """Maximal runs of free pages of one kind: (start, size, kind)."""
        runs = []
        for number, kind in enumerate(self.pages):
            if kind == "held":
                continue
            if runs and runs[-1][2] == kind and runs[-1][0] + runs[-1][1] == number:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1, kind)
            else:
                runs.append((number, 1, kind))
        return runs

    @invariant()
    def free_ranges_are_exactly_the_free_pages_joined(self):
        assert [(free.start, free.size, free.writer) for free in self.space.ranges()] == self.runs()
        assert self.space.populated_free == sum(page not in {None, "held"} for page in self.pages)


TestAllocator = Allocator.TestCase
TestAllocator.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_the_smallest_fitting_range_is_taken(sizes):
    space = AddressSpace(1000)
    space.allocate(1000, "a", 1000)
    start = 0
    for size in sizes:
        space.free(start, size, "a")
        start += size + 1
    wanted = min(sizes)
    place = space.allocate(wanted, "a", 0)
    assert place is not None
    remaining = sorted(free.size for free in space.ranges())
    expected = sorted(sizes)
    expected.remove(wanted)
    assert remaining == expected
