"""`timeline()` on every runtime; see conftest.py."""

import json
import time

import pytest


@pytest.fixture(scope="module")
def spans(ll):
    """Runs one of each kind, and gives the bars of the timeline by name."""

    @ll.remote
    def doze(seconds):
        time.sleep(seconds)

    @ll.remote
    def fail():
        raise ValueError("bad")

    @ll.remote
    def parent():
        return ll.get(child.remote())

    @ll.remote
    def child():
        return 1

    @ll.remote(enable_task_events=False)
    def hidden():
        return 1

    @ll.remote
    class Worker:
        def work(self):
            return 1

    @ll.remote(enable_task_events=False)
    class Hidden:
        def hide(self):
            return 1

    worker = Worker.remote()
    ll.get([doze.remote(0.05), parent.remote(), hidden.remote(), worker.work.remote(), Hidden.remote().hide.remote()])
    with pytest.raises(ValueError, match="bad"):
        ll.get(fail.remote())
    return {event["name"]: event for event in ll.timeline()}


@pytest.fixture(autouse=True)
def _ours(better_than_ray):
    """Ray's bars come some seconds later, and under other names."""


def test_tasks_methods_and_constructors_have_bars(spans):
    assert {"doze", "fail", "parent", "child", "Worker.__init__", "Worker.work"} <= set(spans)


def test_a_bar_lies_where_and_when_it_ran(spans):
    bar = spans["doze"]
    assert bar["ph"] == "X"
    assert 0.05e6 <= bar["dur"] < 20e6
    assert abs(bar["ts"] / 1e6 - time.time()) < 60
    assert bar["args"]["status"] == "ok"
    assert spans["fail"]["args"]["status"] == "error"
    assert spans["Worker.work"]["args"]["actor_id"] == spans["Worker.__init__"]["args"]["actor_id"]


def test_a_parents_bar_holds_its_childs(spans):
    parent, child = spans["parent"], spans["child"]
    assert parent["ts"] <= child["ts"]
    assert child["ts"] + child["dur"] <= parent["ts"] + parent["dur"]


def test_what_is_not_to_be_shown_has_none(spans):
    assert not {"hidden", "Hidden.__init__", "Hidden.hide"} & set(spans)


def test_it_outlives_the_processes(ll):
    @ll.remote(max_calls=1)
    def last():
        return 1

    @ll.remote
    class Leaver:
        def leave(self):
            return 1

    leaver = Leaver.remote()
    ll.get([last.remote() for _ in range(5)] + [leaver.leave.remote()])
    del leaver
    names = [event["name"] for event in ll.timeline()]
    assert names.count("last") == 5
    assert names.count("Leaver.leave") == 1


def test_it_can_be_written_to_a_file(ll, spans, tmp_path):
    file = tmp_path / "timeline.json"
    assert ll.timeline(filename=file) is None
    assert {event["name"] for event in json.loads(file.read_text())} >= set(spans)
