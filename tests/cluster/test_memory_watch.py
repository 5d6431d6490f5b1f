"""The memory monitor in a session: a worker is stopped in time, with the reason, and its work done again."""

import re
import time

import pytest


@pytest.fixture
def start():
    import limelight as ll

    def init(threshold):
        ll.init(
            num_cpus=2,
            object_store_memory=100e6,
            log_to_driver=False,
            _system_config={"memory_usage_threshold": threshold, "memory_monitor_refresh_ms": 50},
        )
        return ll

    yield init
    ll.shutdown()


def used_share():
    from limelight.cluster.memory_usage import node_memory

    return node_memory().fraction


def test_a_task_that_is_stopped_for_lack_of_memory_says_so(start):
    ll = start(used_share() / 2)  # so memory is short for as long as the session lives

    @ll.remote(max_retries=0)
    def hog():
        held = bytearray(100 << 20)
        time.sleep(60)
        return len(held)

    with pytest.raises(ll.exceptions.OutOfMemoryError) as caught:
        ll.get(hog.remote(), timeout=30)
    told = str(caught.value)
    assert "hog was stopped" in told
    assert "memory was nearly used up" in told
    workers, others = told[told.index("Workers that held the most") :].split("Other processes that held the most")
    assert re.search(r"GiB +pid \d+  \w+", workers)
    assert re.search(r"GiB +pid \d+  \w+", others), "what is short of memory may be none of the workers"
    assert "none of the work can be retried" in told
    assert "What to do: run fewer tasks" in told
    assert caught.value.cause.peak_memory


def test_a_task_that_may_be_retried_runs_again(start, tmp_path):
    ll = start(used_share() / 2)
    mark = tmp_path / "ran"

    @ll.remote(max_retries=-1)
    def hog():
        if mark.exists():
            return "again"
        mark.touch()
        held = bytearray(100 << 20)
        time.sleep(60)
        return len(held)

    assert ll.get(hog.remote(), timeout=30) == "again"


def test_an_actor_that_is_stopped_for_lack_of_memory_says_so(start):
    ll = start(used_share() / 2)

    @ll.remote
    class Hog:
        def grow(self):
            self.held = bytearray(100 << 20)
            time.sleep(60)

    hog = Hog.remote()
    for call in (hog.grow.remote(), hog.grow.remote()):
        with pytest.raises(ll.exceptions.OutOfMemoryError, match="memory was nearly used up") as caught:
            ll.get(call, timeout=30)
        assert isinstance(caught.value, ll.exceptions.ActorDiedError), "whoever catches that has caught this so far"
        for part in ("Actor Hog", "before Hog.grow() ended", "Workers that held the most", "What to do: run fewer"):
            assert part in str(caught.value)
        assert caught.value.cause.peak_memory


def test_nothing_is_stopped_while_there_is_memory(start):
    ll = start(0.9999)

    @ll.remote(max_retries=0)
    def fill():
        time.sleep(0.3)
        return len(bytearray(100 << 20))

    assert ll.get(fill.remote(), timeout=30) == 100 << 20


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"memory_usage_treshold": 0.5}, "no setting memory_usage_treshold; there are memory_usage_threshold"),
        ({"memory_usage_threshold": 95}, "above 0 and up to 1, not 95"),
        ({"memory_usage_threshold": "much"}, "is a number, at least 0, not 'much'"),
        ({"memory_monitor_refresh_ms": -1}, "is a number, at least 0, not -1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings, told):
    from limelight.cluster.node.setting import NodeSettings

    with pytest.raises(ValueError, match=told):
        NodeSettings.read(settings, {})


def test_settings_come_from_the_environment_where_they_are_not_given():
    from limelight.cluster.node.setting import NodeSettings

    environment = {"LIMELIGHT_memory_usage_threshold": "0.5", "LIMELIGHT_oom_grace_period_s": "3"}
    settings = NodeSettings.read({"oom_grace_period_s": 4}, environment)
    assert settings == NodeSettings(memory_usage_threshold=0.5, oom_grace_period_s=4)
