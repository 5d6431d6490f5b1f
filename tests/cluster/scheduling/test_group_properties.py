"""Placement groups over real lease machines: whatever is late, doubled or lost with its node, reservations add up."""

from collections import Counter, deque
from typing import get_args

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from limelight.cluster.scheduling import group_table as t
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.placement_group import PlacementGroups
from limelight.cluster.scheduling.scheduler import NodeLost

from .node_driver import NodeDriver, of
from .test_placement_group import GroupDriver, cpus

IDS = [bytes([n]) * 18 for n in range(3)]
NODES = ["n0", "n1", "n2"]


class GroupRules(RuleBasedStateMachine):
    """Messages to and from a node wait until a rule delivers them, in order, some of them twice.

    A node that dies takes those on their way with it; another comes in its place, of another name.
    """

    def __init__(self):
        super().__init__()
        self.head = GroupDriver()
        self.down: dict[str, deque[m.LeaseEvent]] = {}
        self.up: dict[str, deque[m.LeaseCommand]] = {}
        self.born = 0
        for _ in NODES:
            self.join()

    def join(self):
        name = f"n{self.born}"
        self.born += 1
        node = NodeDriver({"CPU": 3})
        node.machine.node_id = name
        self.head.nodes[name], self.down[name], self.up[name] = node, deque(), deque()
        self.say(name, node.wait(0.1))
        self.listen(name)

    def order(self, commands):
        for command in commands:
            if isinstance(command, t.GroupToNode) and command.node_id in self.down:
                self.down[command.node_id].append(command.event)

    def say(self, name, said):
        self.up[name].extend(message for message in said if isinstance(message, (m.Reserved, m.NodeReport)))

    def listen(self, name):
        """The head hears all that a node has said."""
        while self.up[name]:
            self.hear(name, self.up[name].popleft())

    def hear(self, name, message):
        if isinstance(message, m.Reserved):
            self.order(self.head.groups.handle(t.GroupFromNode(name, message), self.head.now))
        else:
            self.head.scheduler.handle(message, self.head.now)

    def follow(self, name, *, twice=False):
        """A node gets the oldest order."""
        event = self.down[name].popleft()
        for _ in range(1 + twice):
            self.say(name, self.head.nodes[name].tell(event))

    def quiet(self):
        """Everything arrives, until nothing happens any more."""
        for _ in range(40):
            for name in list(self.down):
                while self.down[name]:
                    self.follow(name)
                self.head.nodes[name].now = self.head.now
                self.say(name, self.head.nodes[name].wait(0.1))
                self.listen(name)
            self.head.now += 0.1
            self.order(self.head.groups.handle(t.PlaceGroups(), self.head.now))

    @rule(
        group_id=st.sampled_from(IDS),
        amounts=st.lists(st.integers(1, 3), min_size=1, max_size=3),
        strategy=st.sampled_from(get_args(t.GroupStrategy)),
    )
    def create(self, group_id, amounts, strategy):
        spec = t.GroupSpec(group_id, cpus(*amounts), strategy, "driver")
        self.order(self.head.groups.handle(t.CreateGroup(spec), self.head.now))

    @rule(group_id=st.sampled_from(IDS))
    def remove(self, group_id):
        self.order(self.head.groups.handle(t.RemoveGroup(group_id), self.head.now))

    @precondition(lambda self: any(self.down.values()))
    @rule(data=st.data(), twice=st.booleans())
    def an_order_arrives(self, data, twice):
        self.follow(data.draw(st.sampled_from([name for name, waiting in self.down.items() if waiting])), twice=twice)

    @precondition(lambda self: any(self.up.values()))
    @rule(data=st.data(), twice=st.booleans())
    def an_answer_arrives(self, data, twice):
        name = data.draw(st.sampled_from([name for name, waiting in self.up.items() if waiting]))
        message = self.up[name].popleft()
        for _ in range(1 + twice):
            self.hear(name, message)

    @rule(data=st.data())
    def a_node_dies_and_another_comes(self, data):
        name = data.draw(st.sampled_from(sorted(self.head.nodes)))
        del self.head.nodes[name], self.down[name], self.up[name]
        self.head.scheduler.handle(NodeLost(name), self.head.now)
        self.order(self.head.groups.handle(t.GroupNodeLost(name), self.head.now))
        self.join()

    @rule(seconds=st.sampled_from([0.1, 1.5, 11.0]))
    def time_passes(self, seconds):
        self.head.now += seconds
        for name, node in self.head.nodes.items():
            node.now = self.head.now - min(seconds, 0.5)
            self.say(name, node.wait(0.5))
        self.order(self.head.groups.handle(t.PlaceGroups(), self.head.now))

    @rule()
    def the_head_is_restarted(self):
        stored = msgspec.msgpack.encode(self.head.groups.table)
        self.head.scheduler.view.groups.clear()
        self.head.groups = PlacementGroups(self.head.scheduler.view)
        self.order(self.head.groups.restore(msgspec.msgpack.decode(stored, type=t.GroupTable), self.head.now))

    @invariant()
    def a_reserved_group_is_whole_and_keeps_its_strategy(self):
        for record in self.head.groups.table.groups.values():
            if record.state != "CREATED":
                continue
            assert set(record.nodes) == set(range(len(record.spec.bundles)))
            assert set(record.nodes.values()) <= set(self.head.nodes)
            apart = len(set(record.nodes.values()))
            assert record.spec.strategy != "STRICT_PACK" or apart == 1
            assert record.spec.strategy != "STRICT_SPREAD" or apart == len(record.nodes)

    @invariant()
    def no_node_holds_more_than_it_has(self):
        for node in self.head.nodes.values():
            assert node.available() >= 0

    def teardown(self):
        """When all has arrived, nodes hold what the head believes, and nothing once the groups are gone."""
        self.quiet()
        for group_id, record in self.head.groups.table.groups.items():
            if record.state != "CREATED":  # there is no room for it; it would go on asking for some
                self.order(self.head.groups.handle(t.RemoveGroup(group_id), self.head.now))
        self.quiet()
        believed = Counter()
        for record in self.head.groups.table.groups.values():
            for index, node_id in record.nodes.items():
                believed[node_id] += record.spec.bundles[index].get("CPU")
        for name, node in self.head.nodes.items():
            assert node.machine.ledger.total.get("CPU") - node.machine.ledger.available["CPU"] == believed[name]
            reports = of(m.NodeReport, node.said)[-1].bundles
            assert sum(bundle.total.get("CPU") for bundle in reports) == believed[name], "all are open"
        for record in self.head.groups.table.groups.values():
            assert record.state in {"CREATED", "REMOVED"}
        for group_id in IDS:
            self.order(self.head.groups.handle(t.RemoveGroup(group_id), self.head.now))
        self.quiet()
        for node in self.head.nodes.values():
            assert node.available() == 3
        assert not self.head.groups._index._at_node
        assert not self.head.groups._index._owned


GroupRules.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_groups = GroupRules.TestCase
