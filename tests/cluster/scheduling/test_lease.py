"""One node's lease machine: what it grants to whom, and what it says when it cannot."""

import msgspec
import pytest

from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.lease_config import LeaseConfig
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.strategy import InBundle, NodeAffinity, Spread
from limelight.cluster.scheduling.worker_pool import PoolConfig

from .node_driver import NodeDriver, of, spec


def test_demand_is_granted_as_far_as_resources_go_and_the_rest_reported():
    node = NodeDriver()
    said = node.demand(6)
    assert [grant.lease_id for grant in of(m.Grant, said)] == [1, 2, 3, 4]
    assert of(m.NodeReport, said)[0].unmet[0].count == 2
    assert node.available() == 0


def test_who_waits_for_room_is_known():
    node = NodeDriver()
    node.demand(4)
    assert node.machine.waiting_callers == []
    node.demand(2, caller="b")
    assert node.machine.waiting_callers == ["b"]


def test_a_returned_lease_serves_who_waits_with_the_same_worker():
    node = NodeDriver()
    node.demand(4)
    node.demand(1, caller="b")
    worker = node.granted[2].worker_id
    (grant,) = of(m.Grant, node.tell(m.LeaseReturned(2)))
    assert (grant.caller, grant.worker_id) == ("b", worker)


def test_demand_is_absolute_and_old_versions_are_ignored():
    node = NodeDriver()
    node.demand(2, version=5)
    assert not of(m.Grant, node.demand(2, version=5))
    assert not of(m.Grant, node.demand(4, version=4))
    assert len(of(m.Grant, node.demand(3, version=6))) == 1


def test_demand_that_falls_before_workers_are_up_frees_the_resources():
    node = NodeDriver(start_workers=False)
    node.demand(4)
    assert node.available() == 0
    node.demand(1)
    assert node.available() == 3
    node.demand(0)
    assert node.available() == 4


def test_a_doubled_return_frees_nothing_twice():
    node = NodeDriver()
    node.demand(1)
    node.demand(0)
    node.tell(m.LeaseReturned(1))
    node.tell(m.LeaseReturned(1))
    node.tell(m.LeaseReturned(99))
    assert node.available() == 4


def test_a_worker_that_is_not_ok_is_stopped_and_one_that_held_a_gpu_too():
    node = NodeDriver({"CPU": 4, "GPU": 2})
    node.demand(1)
    node.demand(0)
    node.tell(m.LeaseReturned(1, worker_ok=False))
    assert not node.live
    (grant,) = of(m.Grant, node.demand(1, key=b"gpu", spec=spec(GPU=2)))
    assert grant.devices == {"GPU": [0, 1]}
    node.demand(0, key=b"gpu")
    node.tell(m.LeaseReturned(grant.lease_id))
    assert not node.live


def test_a_lost_worker_is_told_to_its_caller_and_replaced_as_demand_goes_on():
    node = NodeDriver()
    node.demand(1)
    node.live.discard("w1")
    said = node.tell(m.WorkerLost("w1", "signal 9"))
    assert of(m.LeaseLost, said) == [m.LeaseLost("a", b"k", 1, "signal 9")]
    assert node.held() == [2]
    assert not of(m.LeaseLost, node.tell(m.WorkerLost("w1", "signal 9")))


def test_a_lost_callers_workers_are_stopped_and_its_demand_forgotten():
    node = NodeDriver()
    node.demand(6)
    node.demand(1, caller="b")
    node.tell(m.CallerLost("a"))
    assert node.held("a") == []
    assert node.held("b")
    assert len(node.live) == 1
    assert node.available() == 3


def test_tasks_without_resources_get_workers_but_not_without_bound():
    node = NodeDriver()
    nothing = msgspec.structs.replace(spec(), resources=ResourceSet())
    assert len(of(m.Grant, node.demand(1000, spec=nothing))) == 4
    assert 1 <= len(of(m.Grant, node.wait(0.5))) <= 6
    assert node.available() == 4


def test_a_blocked_worker_lends_its_cpu_and_not_its_gpu():
    node = NodeDriver({"CPU": 1, "GPU": 1})
    node.demand(1, spec=spec(CPU=1, GPU=1))
    node.demand(1, key=b"child")
    node.tell(m.WorkerBlocked(1, 1))
    assert len(node.held()) == 2
    assert node.available("GPU") == 0
    node.tell(m.WorkerUnblocked(1, 2))
    assert node.available() == -1
    node.tell(m.WorkerBlocked(1, 1))
    assert node.available() == -1, "a doubled, late message changes nothing"
    node.demand(0, key=b"child")
    node.tell(m.LeaseReturned(2))
    node.tell(m.LeaseReturned(1))
    node.demand(0)
    assert node.available() == 0  # the first demand of "a" was still there, and has it


def test_nesting_deeper_than_there_are_cpus_never_deadlocks():
    node = NodeDriver({"CPU": 1})
    for depth in range(10):
        (grant,) = of(m.Grant, node.demand(1, caller=f"task{depth}"))
        node.tell(m.WorkerBlocked(grant.lease_id, 1))
    assert node.available() == 1


def test_classes_that_need_other_things_do_not_wait_for_each_other():
    node = NodeDriver({"CPU": 2, "licence": 1})
    node.demand(2)
    node.demand(1, key=b"more")
    assert of(m.Grant, node.demand(1, key=b"other", spec=spec(licence=1)))


def test_waiting_demands_of_one_kind_take_turns():
    node = NodeDriver({"CPU": 1})
    node.demand(1, caller="first")
    node.demand(2, caller="a")
    node.demand(2, caller="b")
    order = []
    lease = 1
    node.demand(0, caller="first")
    for _ in range(4):
        (grant,) = of(m.Grant, node.tell(m.LeaseReturned(lease)))
        order.append(grant.caller)
        lease = grant.lease_id
    assert order == ["a", "b", "a", "b"]


def test_leases_are_asked_back_for_who_has_fewer():
    node = NodeDriver()
    node.demand(100)
    (reclaim,) = of(m.Reclaim, node.demand(100, caller="b"))
    assert reclaim.caller == "a"
    assert not of(m.Reclaim, node.wait(0.2)), "one is on its way"
    node.tell(m.LeaseReturned(reclaim.lease_id))
    assert len(node.held("b")) == 1
    (reclaim,) = of(m.Reclaim, node.wait(0.1))
    node.tell(m.LeaseReturned(reclaim.lease_id))
    assert (len(node.held("a")), len(node.held("b"))) == (2, 2)
    assert not of(m.Reclaim, node.wait(2)), "equals leave each other alone"


def test_more_demands_than_cpus_all_come_to_their_turn():
    node = NodeDriver({"CPU": 1})
    callers = [f"c{i}" for i in range(5)]
    for caller in callers:
        node.demand(100, caller=caller)
    served = set()
    for _ in range(200):
        for reclaim in of(m.Reclaim, node.wait(0.1)):
            node.tell(m.LeaseReturned(reclaim.lease_id))
        served |= {caller for caller in callers if node.held(caller)}
    assert served == set(callers)


def test_an_idle_lease_is_asked_back_at_once():
    node = NodeDriver({"CPU": 1})
    node.demand(1)
    node.demand(0)
    (reclaim,) = of(m.Reclaim, node.demand(1, caller="b"))
    assert reclaim.lease_id == 1


def test_a_large_request_comes_to_its_turn_among_many_small_ones():
    node = NodeDriver()
    node.demand(100)
    node.demand(1, caller="big", spec=spec(CPU=4))
    for _ in range(100):
        node.wait(0.1)
        for lease_id in node.held()[:1]:  # small tasks end one at a time
            node.tell(m.LeaseReturned(lease_id))
        if node.held("big"):
            return
    pytest.fail("the large request never ran")


def test_small_requests_still_run_beside_a_large_one_that_waits_for_a_task_without_end():
    node = NodeDriver()
    node.demand(1, caller="endless")
    node.demand(1, caller="big", spec=spec(CPU=4))
    runs = 0
    node.demand(100, caller="small")
    for _ in range(400):
        node.wait(0.1)
        for lease_id in node.held("small"):
            node.tell(m.LeaseReturned(lease_id))
            runs += 1
    assert runs > 100


def test_resources_that_actors_hold_do_not_hold_anybody_back():
    node = NodeDriver()
    node.tell(m.RequestWorker("actor", spec(CPU=2)))
    node.demand(1, caller="big", spec=spec(CPU=4))
    node.wait(3)
    assert len(of(m.Grant, node.demand(2))) == 2


# Beyond this node


def test_alone_a_node_fills_up_and_among_others_it_asks_first_when_half_busy():
    node = NodeDriver(peers=1)
    assert len(of(m.Grant, node.demand(4))) == 2
    assert len(of(m.Grant, node.wait(0.2))) == 2, "no answer came, so it serves all"


def test_a_place_elsewhere_becomes_a_redirect_and_is_not_counted_twice():
    node = NodeDriver()
    said = node.demand(10)
    ask = of(m.NodeReport, said)[0].unmet[0]
    assert ask.count == 6
    assert of(m.Redirect, node.tell(m.Place(ask.ask_id, "there", 4))) == [m.Redirect("a", b"k", "there", 4)]
    assert not of(m.Redirect, node.tell(m.Place(ask.ask_id, "there", 4)))
    assert not of(m.Redirect, node.tell(m.Place(ask.ask_id, "there", 3)))
    (report,) = of(m.NodeReport, node.wait(0.1))
    assert (report.unmet[0].count, report.unmet[0].seen) == (2, 4)
    (report,) = of(m.NodeReport, node.demand(6, seen_redirects=4))
    assert report.unmet[0].count == 2


def test_a_redirect_that_its_caller_does_not_know_of_is_repeated():
    node = NodeDriver()
    ask = of(m.NodeReport, node.demand(10))[0].unmet[0]
    node.tell(m.Place(ask.ask_id, "there", 4))
    assert not of(m.Redirect, node.demand(11))
    node.now += 1
    assert of(m.Redirect, node.demand(12)) == [m.Redirect("a", b"k", "there", 4)]


def test_no_more_is_redirected_than_is_still_wanted():
    node = NodeDriver()
    ask = of(m.NodeReport, node.demand(6))[0].unmet[0]
    node.demand(5)
    (redirect,) = of(m.Redirect, node.tell(m.Place(ask.ask_id, "there", 2)))
    assert redirect.total == 1
    assert not of(m.Redirect, node.tell(m.Place(ask.ask_id, "there", 3))), "the ask is over"


def test_a_place_here_lets_the_node_go_beyond_the_threshold():
    node = NodeDriver(peers=1)
    ask = of(m.NodeReport, node.demand(4))[0].unmet[0]
    assert len(of(m.Grant, node.tell(m.Place(ask.ask_id, "here", 1)))) == 1


def test_demand_that_was_sent_here_is_served_without_asking():
    node = NodeDriver(peers=1)
    assert len(of(m.Grant, node.demand(4, placed=True))) == 4


@pytest.mark.parametrize("strategy", [Spread(), NodeAffinity("there")])
def test_strategies_that_look_elsewhere_await_the_scheduler(strategy):
    node = NodeDriver(peers=1)
    said = node.demand(1, spec=spec(strategy))
    assert not of(m.Grant, said)
    assert of(m.NodeReport, said)[0].unmet[0].count == 1


def test_what_can_never_be_served_is_told_with_the_reason_and_fatally_ends_the_demand():
    node = NodeDriver()
    ask = of(m.NodeReport, node.demand(1, spec=spec(CPU=64)))[0].unmet[0]
    assert of(m.Infeasible, node.tell(m.Unplaceable(ask.ask_id, "too big"))) == [
        m.Infeasible("a", b"k", "too big", False)
    ]
    assert len(node.machine.queue) == 1
    node.tell(m.Unplaceable(ask.ask_id, "gone", fatal=True))
    assert len(node.machine.queue) == 0


def test_reports_come_at_once_then_not_too_often_then_now_and_then():
    node = NodeDriver()
    assert of(m.NodeReport, node.demand(1))
    assert not of(m.NodeReport, node.demand(2))
    assert node.machine.wake_at() == pytest.approx(0.05)
    assert of(m.NodeReport, node.wait(0.05))
    assert not of(m.NodeReport, node.wait(0.5))
    assert of(m.NodeReport, node.wait(1.0))


def test_the_head_may_have_reports_come_less_often_until_another_one_is_there():
    node = NodeDriver()
    node.tell(m.ReportPace(4))
    node.wait(0.3)
    node.demand(1)
    node.wait(0.15)
    assert not of(m.NodeReport, node.demand(2))
    (report,) = of(m.NodeReport, node.wait(0.1))
    assert report.pace == 4
    node.tell(m.ReportPace(1024))
    node.demand(3)
    assert of(m.NodeReport, node.wait(1.05)), "the sign of life comes in any case"
    (report,) = of(m.NodeReport, [*node.tell(m.HeadConnected()), *node.wait(0.05)])
    assert report.pace == 1


def test_a_draining_node_grants_nothing_and_reports_what_waits():
    node = NodeDriver()
    said = node.tell(m.Drain())
    assert of(m.NodeReport, said)[0].draining
    said = node.demand(1) + node.wait(0.1)
    assert not of(m.Grant, said)
    assert of(m.NodeReport, said)[-1].unmet[0].count == 1


def test_a_node_that_begins_to_drain_asks_leases_back_and_ends_idle_workers():
    node = NodeDriver()
    node.demand(2)
    node.demand(1)
    node.tell(m.LeaseReturned(1))  # its worker idles
    assert len(node.live) == 2
    said = node.tell(m.Drain())
    assert [reclaim.lease_id for reclaim in of(m.Reclaim, said)] == node.held() == [2]
    assert len(node.live) == 1
    assert node.machine.busy
    node.tell(m.LeaseReturned(2))
    assert not node.live
    assert not node.machine.busy
    node.wait(1.0)
    assert not node.live, "none is started ahead of need"


def test_a_draining_node_refuses_actors_but_keeps_those_it_has():
    node = NodeDriver()
    node.tell(m.RequestWorker("r", spec()))
    said = node.tell(m.Drain())
    assert not of(m.RequestedWorkerLost, said)
    assert node.machine.busy
    assert of(m.WorkerRefused, node.tell(m.RequestWorker("s", spec())))
    node.tell(m.ReleaseWorker("r"))
    assert not node.machine.busy


# Actors


def test_a_requested_worker_is_granted_once_and_the_answer_repeated():
    node = NodeDriver()
    first = of(m.WorkerGranted, node.tell(m.RequestWorker("r", spec())))
    assert len(first) == 1
    assert of(m.WorkerGranted, node.tell(m.RequestWorker("r", spec()))) == first
    assert node.available() == 3


def test_a_request_without_room_waits_a_while_and_is_refused():
    node = NodeDriver()
    node.demand(4)
    said = node.tell(m.RequestWorker("r", spec(), patience=1.0))
    assert len(of(m.Reclaim, said)) == 1
    assert not of(m.WorkerRefused, node.wait(0.9))
    assert of(m.WorkerRefused, node.wait(0.2))
    node.tell(m.LeaseReturned(1))
    assert not of(m.WorkerGranted, node.said)


def test_a_request_is_granted_when_a_task_makes_room():
    node = NodeDriver()
    node.demand(4)
    (reclaim,) = of(m.Reclaim, node.tell(m.RequestWorker("r", spec())))
    assert of(m.WorkerGranted, node.tell(m.LeaseReturned(reclaim.lease_id)))


def test_a_request_that_never_fits_is_refused_at_once():
    (refused,) = of(m.WorkerRefused, NodeDriver().tell(m.RequestWorker("r", spec(CPU=64))))
    assert "cannot hold {CPU: 64}" in refused.text


def test_a_released_worker_is_stopped_and_a_lost_one_told():
    node = NodeDriver()
    node.tell(m.RequestWorker("r", spec()))
    node.tell(m.ReleaseWorker("r"))
    node.tell(m.ReleaseWorker("r"))
    assert not node.live
    (granted,) = of(m.WorkerGranted, node.tell(m.RequestWorker("s", spec())))
    node.live.discard(granted.worker_id)
    said = node.tell(m.WorkerLost(granted.worker_id, "exit code 3"))
    assert of(m.RequestedWorkerLost, said) == [m.RequestedWorkerLost("s", granted.worker_id, "exit code 3")]
    assert node.available() == 4


def test_a_head_that_connects_is_told_of_the_workers_that_run_and_of_everything_else():
    node = NodeDriver()
    node.tell(m.RequestWorker("r", spec()))
    node.demand(1)
    said = node.tell(m.HeadConnected()) + node.wait(0.01)
    assert of(m.WorkersHeld, said) == [m.WorkersHeld(("r",))]
    assert of(m.NodeReport, said)


# Environments


def test_an_environment_that_cannot_be_made_fails_its_classes_only():
    node = NodeDriver(start_workers=False)
    node.demand(2, spec=spec(env_key="bad"))
    node.demand(1, key=b"good")
    node.tell(m.RequestWorker("r", spec(env_key="bad")))
    bad = next(start for start in node.starts if start.env_key == "bad")
    said = node.tell(m.WorkerStartFailed(bad.start_id, "no such package", environment=True))
    assert of(m.EnvironmentFailed, said) == [m.EnvironmentFailed("a", b"k", "no such package")]
    assert of(m.WorkerRefused, said) == [m.WorkerRefused("r", "no such package", permanent=True)]
    assert node.available() == 3
    assert not of(m.EnvironmentFailed, node.tell(m.Tick()))


def test_a_start_that_failed_is_tried_again():
    node = NodeDriver(start_workers=False)
    node.demand(1)
    node.tell(m.WorkerStartFailed(node.starts.pop().start_id, "fork failed"))
    assert len(node.starts) == 1
    node.now = 61.0
    node.tell(m.Tick())
    assert len(node.starts) == 2, "the second one never answered"


# Placement groups

ONE_CPU = ResourceSet.parse({"CPU": 1})


def reserve(node, group=b"g", attempt=1, bundles=None, patience=0.0):
    return of(m.Reserved, node.tell(m.ReservePrepare(group, attempt, bundles or {0: ONE_CPU, 1: ONE_CPU}, patience)))


def test_bundles_are_held_all_or_none_and_serve_their_own_only():
    node = NodeDriver()
    assert reserve(node)[0].ok
    assert node.available() == 2
    inside = spec(InBundle(b"g", 0))
    assert not of(m.Grant, node.demand(1, spec=inside)), "not committed yet"
    assert of(m.Grant, node.tell(m.ReserveCommit(b"g", 1)))
    assert not of(m.Grant, node.demand(2, spec=inside)), "the other bundle is not its"
    assert of(m.Grant, node.demand(1, key=b"any", spec=spec(InBundle(b"g"))))
    assert not reserve(node, b"h", bundles={0: ONE_CPU, 1: ONE_CPU, 2: ONE_CPU})[0].ok
    assert node.available() == 2


def test_removed_bundles_end_what_runs_in_them():
    node = NodeDriver()
    reserve(node)
    node.tell(m.ReserveCommit(b"g", 1))
    node.demand(1, spec=spec(InBundle(b"g")))
    node.tell(m.RequestWorker("r", spec(InBundle(b"g"))))
    said = node.tell(m.ReserveCancel(b"g", 1))
    assert len(of(m.LeaseLost, said)) == len(of(m.RequestedWorkerLost, said)) == 1
    assert not node.live
    assert node.available() == 4
    assert not reserve(node)[0].ok, "a late prepare of a cancelled attempt holds nothing"
    assert reserve(node, attempt=2)[0].ok


def test_a_doubled_prepare_holds_nothing_twice():
    node = NodeDriver()
    reserve(node)
    assert reserve(node)[0].ok
    assert node.available() == 2


def test_room_is_made_for_bundles_within_the_time_given():
    node = NodeDriver()
    node.demand(100)
    said = node.tell(m.ReservePrepare(b"g", 1, {0: ONE_CPU, 1: ONE_CPU}, patience=1.0))
    assert not of(m.Reserved, said)
    reclaims = of(m.Reclaim, said + node.wait(0.6))
    assert len(reclaims) == 2
    for reclaim in reclaims:
        node.tell(m.LeaseReturned(reclaim.lease_id))
    assert of(m.Reserved, node.said)[0].ok
    assert len(node.held()) == 2


def test_an_attempt_given_up_while_it_waits_holds_nothing():
    node = NodeDriver()
    node.demand(4)
    node.tell(m.ReservePrepare(b"g", 1, {0: ONE_CPU}, patience=1.0))
    node.tell(m.ReserveCancel(b"g", 1))
    node.demand(0)
    node.tell(m.LeaseReturned(1))
    assert node.available() == 1


@pytest.mark.parametrize(
    "ends",
    [m.ReleaseWorker("r"), m.CallerLost("a"), m.DemandChanged("a", b"k", spec(env_key="made"), 0, 100)],
    ids=["its actor is dead", "its caller is dead", "its caller wants none"],
)
def test_an_environment_is_not_made_for_nobody(ends):
    node = NodeDriver(start_workers=False)
    if isinstance(ends, m.ReleaseWorker):
        node.tell(m.RequestWorker("r", spec(env_key="made")))
    else:
        node.tell(m.DemandChanged("a", b"k", spec(env_key="made"), 1, 1))
    (start,) = [start for start in node.starts if start.env_key]
    assert of(m.CancelStart, node.tell(ends)) == [m.CancelStart(start.start_id)]
    assert not of(m.EnvironmentFailed, node.tell(m.WorkerStartFailed(start.start_id, "late", environment=True)))


def test_idle_workers_are_stopped_after_a_while_and_the_machine_says_when():
    node = NodeDriver(config=LeaseConfig(pool=PoolConfig(idle_timeout=5), refresh_interval=1000))
    node.demand(1)
    node.demand(0)
    node.tell(m.LeaseReturned(1))
    node.wait(1)
    assert node.machine.wake_at() == 5.0
    node.wait(5)
    assert not node.live


@pytest.mark.parametrize(
    "message",
    [
        m.DemandChanged("a", b"k", spec(InBundle(b"g", 2), GPU=0.5), 3, 1, True, 2, (("n", 5),)),
        m.ReservePrepare(b"g", 1, {0: ONE_CPU}, 1.0),
        m.NodeReport(
            "n", 1, ONE_CPU, {"CPU": -1}, {"GPU": {0: 5}}, {"a": "b"}, unmet=(m.UnmetDemand(1, spec(), 2, 0),)
        ),
    ],
)
def test_messages_survive_the_wire(message):
    kinds = m.LeaseEvent | m.LeaseCommand
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=kinds) == message
