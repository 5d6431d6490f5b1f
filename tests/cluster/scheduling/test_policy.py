"""Which node a request goes to."""

from collections import Counter
from random import Random

import pytest
from msgspec.structs import replace

from limelight.cluster.scheduling.cluster_view import ClusterView, GroupStanding
from limelight.cluster.scheduling.labels import LabelCondition, parse_selector
from limelight.cluster.scheduling.lease_message import BundleReport, NodeReport
from limelight.cluster.scheduling.policy import WAIT, Chosen, Never, Policy
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.strategy import InBundle, LeaseSpec, NodeAffinity, NodeLabels, Spread

ONE = ResourceSet.parse({"CPU": 1})


def report(node_id, version=1, cpus=4.0, free=None, labels=None, **more):
    total = ResourceSet.parse({"CPU": cpus, **more})
    available = total.units() | {"CPU": int((cpus if free is None else free) * 10_000)}
    devices = {kind: dict.fromkeys(range(int(n)), 10_000) for kind, n in more.items() if kind == "GPU"}
    return NodeReport(node_id, version, total, available, devices, labels or {})


def policy_over(*reports, seed=0):
    view = ClusterView(Random(seed))
    view.groups |= dict.fromkeys((b"g", b"pending"), GroupStanding())
    for one in reports:
        view.update(one)
    return Policy(view)


def test_home_is_preferred_until_it_is_half_busy():
    assert policy_over(report("home", free=3), report("b")).decide(LeaseSpec(ONE), "home") == Chosen("home")
    assert policy_over(report("home", free=2), report("b")).decide(LeaseSpec(ONE), "home") == Chosen("b")


def test_nodes_under_a_half_are_packed_and_busier_ones_filled_evenly():
    assert policy_over(report("a", free=4), report("b", free=3)).decide(LeaseSpec(ONE)) == Chosen("b")
    assert policy_over(report("a", free=1), report("b", free=2)).decide(LeaseSpec(ONE)) == Chosen("b")


def test_tasks_that_need_no_gpu_leave_nodes_with_gpus_to_others():
    policy = policy_over(report("gpu", GPU=1), report("plain", free=1))
    assert policy.decide(LeaseSpec(ResourceSet.parse({"GPU": 1}))) == Chosen("gpu")
    assert policy_over(report("gpu", GPU=1), report("plain", free=3)).decide(LeaseSpec(ONE), "gpu") == Chosen("plain")


FALLBACK = LeaseSpec(
    ONE,
    label_selector=parse_selector({"zone": "a"}),
    fallback=(parse_selector({"zone": "in(b)"}), parse_selector({"zone": "!in(a, b)"})),
)


@pytest.mark.parametrize(
    ("free", "chosen"),
    [
        ({"a": 1, "b": 1, "c": 1}, Chosen("a")),
        ({"a": 0, "b": 1, "c": 1}, Chosen("b")),
        ({"b": 1, "c": 1}, Chosen("b")),
        ({"a": 0, "c": 1}, Chosen("c")),
        ({"a": 0, "b": 0, "c": 0}, WAIT),
        ({"b": 0}, WAIT),
    ],
)
def test_a_fallback_serves_while_nothing_better_has_room(free, chosen):
    policy = policy_over(*(report(zone, free=cpus, labels={"zone": zone}) for zone, cpus in free.items()))
    assert policy.decide(FALLBACK) == chosen


def test_where_no_fallback_can_serve_all_that_was_asked_for_is_said():
    spec = LeaseSpec(ONE, label_selector=parse_selector({"zone": "a"}), fallback=(parse_selector({"zone": "b"}),))
    assert "zone in (a); or zone in (b)" in policy_over(report("c", labels={"zone": "c"})).decide(spec).text


def test_spread_goes_round():
    policy = policy_over(*(report(name) for name in "abcd"))
    chosen = Counter(policy.decide(LeaseSpec(ONE, Spread())).node_id for _ in range(8))
    assert chosen == dict.fromkeys("abcd", 2)


def test_the_node_that_has_the_arguments_is_preferred_while_it_has_room():
    policy = policy_over(report("home"), report("data", free=1), report("full", free=0))
    assert policy.decide(LeaseSpec(ONE), "home", (("full", 9), ("data", 5))) == Chosen("data")


def test_nothing_free_means_waiting_and_nothing_big_enough_means_saying_so():
    policy = policy_over(report("a", free=0), report("b", free=0))
    assert policy.decide(LeaseSpec(ONE)) == WAIT
    verdict = policy.decide(LeaseSpec(ResourceSet.parse({"CPU": 64})))
    assert isinstance(verdict, Never)
    assert not verdict.fatal
    assert "the most that any node has: CPU 4" in verdict.text


def test_the_reason_names_labels_that_no_node_has():
    verdict = policy_over(report("a")).decide(LeaseSpec(ONE, label_selector=parse_selector({"zone": "b"})))
    assert isinstance(verdict, Never)
    assert "zone in (b)" in verdict.text


def test_the_reason_tells_when_no_one_node_has_everything():
    verdict = policy_over(report("a", cpus=8), report("b", GPU=1)).decide(
        LeaseSpec(ResourceSet.parse({"CPU": 8, "GPU": 1}))
    )
    assert isinstance(verdict, Never)
    assert "no one node has all of them" in verdict.text


def test_an_empty_cluster_is_said_to_be_empty():
    assert "no node yet" in policy_over().decide(LeaseSpec(ONE)).text


@pytest.mark.parametrize(
    ("strategy", "verdict"),
    [
        (NodeAffinity("free"), Chosen("free")),
        (NodeAffinity("full"), Chosen("full", queue=True)),
        (NodeAffinity("full", soft=True), Chosen("full", queue=True)),
        (NodeAffinity("full", soft=True, spill_on_unavailable=True), Chosen("free")),
        (NodeAffinity("gone", soft=True), Chosen("free")),
    ],
)
def test_node_affinity(strategy, verdict):
    assert policy_over(report("free"), report("full", free=0)).decide(LeaseSpec(ONE, strategy)) == verdict


@pytest.mark.parametrize(
    ("strategy", "request_", "says"),
    [
        (NodeAffinity("gone"), {"CPU": 1}, "not in the cluster"),
        (NodeAffinity("full"), {"CPU": 8}, "cannot hold {CPU: 8}"),
        (NodeAffinity("full", fail_on_unavailable=True), {"CPU": 1}, "free now"),
    ],
)
def test_hard_affinity_to_a_node_that_cannot_do_it_is_fatal(strategy, request_, says):
    verdict = policy_over(report("full", free=0)).decide(LeaseSpec(ResourceSet.parse(request_), strategy))
    assert isinstance(verdict, Never)
    assert verdict.fatal
    assert says in verdict.text


def test_node_labels_hard_and_soft():
    policy = policy_over(
        report("a", labels={"zone": "x"}), report("b", labels={"zone": "x", "disk": "ssd"}), report("c")
    )
    hard = (LabelCondition("zone", "exists"),)
    soft = (LabelCondition("disk", "in", ("ssd",)),)
    for _ in range(5):
        assert policy.decide(LeaseSpec(ONE, NodeLabels(hard, soft)), "a") == Chosen("b")
    full = policy_over(report("a", labels={"zone": "x"}), report("b", free=0, labels={"zone": "x", "disk": "ssd"}))
    assert full.decide(LeaseSpec(ONE, NodeLabels(hard, soft))) == Chosen("a")


def test_a_draining_node_gets_nothing():
    view = ClusterView(Random(0))
    first = report("a")
    view.update(first)
    view.update(NodeReport("a", 2, first.total, first.available, {}, {}, draining=True))
    assert isinstance(Policy(view).decide(LeaseSpec(ONE)), Never)


def bundle(group, index, total=2.0, free=None):
    resources = ResourceSet.parse({"CPU": total})
    return BundleReport(group, index, resources, {"CPU": int((total if free is None else free) * 10_000)}, {})


def with_bundles(node_id, *bundles):
    plain = report(node_id)
    return NodeReport(node_id, 1, plain.total, plain.available, {}, {}, bundles=bundles)


def test_a_bundle_is_found_where_it_is():
    policy = policy_over(with_bundles("a", bundle(b"g", 0, free=0)), with_bundles("b", bundle(b"g", 1)))
    assert policy.decide(LeaseSpec(ONE, InBundle(b"g", 0))) == Chosen("a", queue=True)
    assert policy.decide(LeaseSpec(ONE, InBundle(b"g", 1))) == Chosen("b")
    assert policy.decide(LeaseSpec(ONE, InBundle(b"g"))) == Chosen("b")
    assert policy.decide(LeaseSpec(ONE, InBundle(b"pending"))) == WAIT
    removed = policy.decide(LeaseSpec(ONE, InBundle(b"removed")))
    assert isinstance(removed, Never)
    assert (removed.fatal, removed.kind) == (True, "group")
    too_big = policy.decide(LeaseSpec(ResourceSet.parse({"CPU": 3}), InBundle(b"g", 1)))
    assert isinstance(too_big, Never)
    assert too_big.fatal


def test_late_and_doubled_reports_are_ignored():
    view = ClusterView(Random(0))
    assert view.update(report("a", 2, free=0))
    assert not view.update(report("a", 1, free=4))
    assert not view.update(report("a", 2, free=4))
    assert Policy(view).decide(LeaseSpec(ONE)) == WAIT
    assert view.update(report("a", 3, free=1))
    assert Policy(view).decide(LeaseSpec(ONE)) == Chosen("a")


def test_a_lease_that_its_node_has_granted_is_in_transit_no_more():
    view = ClusterView(Random(0), transit_time=1.0)
    told = replace(report("a"), granted=7)
    view.update(told)
    for _ in range(3):
        view.reserve("a", ONE, 0.0, leases=1)
    free = told.available["CPU"]
    assert view.nodes["a"].available["CPU"] == free - 3 * 10_000
    view.update(replace(told, version=2, granted=9))
    assert view.nodes["a"].available["CPU"] == free - 10_000, "two have come and gone"
    view.update(replace(told, version=3, granted=11))
    view.reserve("a", ONE, 0.0, leases=1)
    assert view.nodes["a"].available["CPU"] == free - 10_000, "what was granted before it was sent does not count"
    view.expire(2.0)
    assert view.nodes["a"].available["CPU"] == free


def test_what_is_in_transit_counts_as_taken_until_it_expires():
    view = ClusterView(Random(0), transit_time=1.0)
    view.update(report("a", free=1))
    view.reserve("a", ONE, 0.0)
    view.update(report("a", 2, free=1))
    assert Policy(view).decide(LeaseSpec(ONE)) == WAIT
    assert view.next_expiry() == 1.0
    assert view.expire(0.9) == []
    assert view.expire(1.0) == ["a"]
    assert Policy(view).decide(LeaseSpec(ONE)) == Chosen("a")


def test_a_lost_node_is_forgotten_with_its_bundles():
    view = ClusterView(Random(0))
    view.update(with_bundles("a", bundle(b"g", 0)))
    view.shape(ONE, ())
    view.remove("a")
    view.remove("a")
    assert not view.nodes
    assert not view.bundles
    assert isinstance(Policy(view).decide(LeaseSpec(ONE)), Never)


def test_equal_seeds_decide_equally_among_many_nodes():
    runs = []
    for _ in range(2):
        policy = policy_over(*(report(f"n{i}", free=i % 5) for i in range(200)), seed=7)
        runs.append([policy.decide(LeaseSpec(ONE)).node_id for _ in range(50)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 5


def test_of_many_nodes_only_those_with_room_are_chosen():
    policy = policy_over(*(report(f"n{i}", free=1 if i == 137 else 0) for i in range(300)))
    assert policy.decide(LeaseSpec(ONE)) == Chosen("n137")
