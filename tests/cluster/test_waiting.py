"""Whoever waits for what does not come is told why, once: tasks, actors and placement groups alike."""

import logging
import time

import pytest

import limelight as ll
from limelight.util.placement_group import placement_group, remove_placement_group

DEADLINE = 30.0


@pytest.fixture(scope="module", autouse=True)
def session():
    ll.init(num_cpus=2)
    yield
    ll.shutdown()


@ll.remote
def task():
    return "done"


@ll.remote
class Holder:
    def answer(self):
        return "here"


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "waits until" in record.getMessage()]


def wait_for(condition) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.02)


def test_what_no_node_can_hold_is_told_at_once(caplog):
    with caplog.at_level(logging.WARNING, "limelight"):
        kept = [
            task.options(num_cpus=7).remote(),
            Holder.options(num_cpus=8).remote(),
            (group := placement_group([{"CPU": 9}], name="large")).ready(),
        ]
        wait_for(lambda: len(warnings(caplog)) == 3)
    told = sorted(warnings(caplog))
    assert told[0].startswith("Actor Holder waits until the cluster has room: {CPU: 8} is asked for")
    assert told[1].startswith("Placement group 'large' (")
    assert "no nodes can hold its 1 bundle ({CPU: 9} in all) as PACK" in told[1]
    assert told[2].startswith("task waits until the cluster has room: {CPU: 7} is asked for")
    assert all("The cluster has CPU 2 on 1 node" in text and "ask for less" in text for text in told)
    ll.cancel(kept[0])
    remove_placement_group(group)


def test_what_others_hold_for_long_is_told_after_a_while_and_runs_when_they_end(caplog):
    holders = [Holder.options(num_cpus=1).remote() for _ in range(2)]
    assert ll.get([holder.answer.remote() for holder in holders]) == ["here"] * 2
    late = Holder.options(num_cpus=1).remote()
    refs = [task.remote(), late.answer.remote()]
    group = placement_group([{"CPU": 1}])
    ready = group.ready()
    with caplog.at_level(logging.WARNING, "limelight"):
        wait_for(lambda: len(warnings(caplog)) == 3)
    told = sorted(warnings(caplog))
    assert told[0].startswith("Actor Holder waits until the cluster has room: {CPU: 1} is asked for")
    assert told[1].startswith("Placement group (")
    assert told[2].startswith("task waits until the cluster has room: {CPU: 1} is asked for")
    assert all("CPU 2 (2 in use, 2 of it by actors and placement groups)" in text for text in told)
    assert ll.available_resources()["CPU"] == 0
    del holders
    assert ll.get(refs, timeout=DEADLINE) == ["done", "here"]
    assert ll.get(ready, timeout=DEADLINE) == group
    remove_placement_group(group)
    assert len(warnings(caplog)) == 3
