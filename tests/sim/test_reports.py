"""The head takes a bounded number of reports, and hears of each change soon while there are few."""

import pytest

from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.report_budget import SLOWEST, ReportBudget
from limelight.cluster.scheduling.scheduler import Scheduler

from .reports import ONE, BusyCluster
from .test_cluster import build, check_runs, finish, load
from .world import Faults

NODES, BUDGET = 60, 120.0


@pytest.fixture
def cluster():
    return BusyCluster(NODES, BUDGET)


def test_many_busy_nodes_report_no_more_than_the_head_bears(cluster):
    cluster.run_for(0.5)
    cluster.keep_busy(list(cluster.nodes))
    cluster.run_for(0.5)
    assert cluster.budget.factor > 1
    cluster.run_for(4.0)
    assert cluster.rate(2.0) <= 1.2 * (NODES + BUDGET)
    last = {node_id: at for at, node_id in cluster.reports}
    assert min(last.values()) > cluster.world.now - 1.1, "each gives a sign of life every second"


def test_the_pace_settles(cluster):
    cluster.keep_busy(list(cluster.nodes))
    cluster.run_for(10.0)
    factors = set()
    for _ in range(12):
        cluster.run_for(0.5)
        factors.add(cluster.budget.factor)
        assert cluster.rate(0.5) <= 1.5 * (NODES + BUDGET)
    assert len(factors) == 1, factors


def test_few_busy_nodes_of_many_report_each_change_soon(cluster):
    cluster.run_for(0.5)
    cluster.keep_busy(["n1", "n2", "n3"])
    cluster.run_for(3.0)
    assert cluster.budget.factor == 1
    reports = [at for at, node_id in cluster.reports if node_id == "n1" and at > cluster.world.now - 1.0]
    assert len(reports) >= 9, "as often as they are configured to"


def test_what_was_asked_of_nodes_is_taken_back_when_they_have_less_to_say(cluster):
    cluster.keep_busy(list(cluster.nodes))
    cluster.run_for(3.0)
    assert cluster.budget.factor > 1
    cluster.busy.clear()
    cluster.run_for(20.0)
    assert cluster.budget.factor == 1
    assert {machine.pace for machine in cluster.nodes.values()} == {1}


def test_a_change_after_a_quiet_second_is_told_at_once_at_any_pace(cluster):
    cluster.run_for(0.5)
    machine = cluster.nodes["n1"]
    cluster._node_event("n1", m.ReportPace(SLOWEST))
    quiet = max(at for at, node_id in cluster.reports if node_id == "n1") + 1.0
    said = machine.handle(m.RequestWorker("r", ONE), quiet)
    assert any(isinstance(command, m.NodeReport) for command in said)


def test_a_head_that_is_restarted_learns_the_pace_of_the_nodes_from_their_reports(cluster):
    cluster.keep_busy(list(cluster.nodes))
    cluster.run_for(3.0)
    cluster.busy.clear()
    cluster.budget.factor = 1  # as a new head's
    cluster.run_for(2.0)
    assert {machine.pace for machine in cluster.nodes.values()} == {1}


def test_a_pace_that_got_lost_is_told_again():
    lossy = BusyCluster(NODES, BUDGET)
    lossy.world.faults = Faults(lost=0.3)
    lossy.keep_busy(list(lossy.nodes))
    lossy.run_for(5.0)
    assert lossy.rate(2.0) <= 1.2 * (NODES + BUDGET)


def test_tasks_run_once_though_reports_are_rare():
    cluster = build(15, 40)
    cluster.scheduler = Scheduler(cluster.scheduler.view, reports=ReportBudget(20.0))
    total = load(cluster, 4, 300)
    finish(cluster, within=120)
    check_runs(cluster, total)
