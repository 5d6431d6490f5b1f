"""Options made in a loop: what caller and worker keep of them does not grow with the calls."""

import pytest

import limelight as ll
from limelight.actors import runtime

DEADLINE = 60
CALLS = 3000
MOST = 1024 + 16


@ll.remote
def known():
    """How many templates this worker keeps."""
    return sum(len(templates) for templates in runtime.current().hub.executor._templates.values())


@ll.remote
class Counter:
    def add(self, number):
        return number

    def known(self):
        return sum(len(templates) for templates in runtime.current().hub.executor._templates.values())


@pytest.fixture(scope="module", autouse=True)
def session():
    ll.init(num_cpus=1, log_to_driver=False)
    yield
    ll.shutdown()


def test_options_that_say_the_same_share_a_template():
    before = ll.get(known.remote())
    counts = ll.get([known.options(name="again").remote() for _ in range(200)], timeout=DEADLINE)
    assert counts[-1] <= before + 1
    kept = known._descriptor.pickled
    assert len({template.wire.template_id for _, template in kept.templates.values()}) == 2


def test_a_name_for_each_call_is_not_kept_for_ever():
    counts = ll.get([known.options(name=f"call {number}").remote() for number in range(CALLS)], timeout=DEADLINE)
    assert max(counts) <= MOST
    assert len(known._descriptor.pickled.templates) <= MOST
    assert len(known._descriptor.pickled.alike) <= MOST


def test_methods_options_are_not_kept_for_ever():
    counter = Counter.remote()
    same = [counter.add.options(name="again").remote(number) for number in range(CALLS)]
    refs = [counter.add.options(name=f"call {number}").remote(number) for number in range(CALLS)]
    assert ll.get(same, timeout=DEADLINE) == ll.get(refs, timeout=DEADLINE) == list(range(CALLS))
    templates = runtime.current().templates
    assert len(templates._methods) <= MOST
    assert len(templates._methods_alike) <= MOST
    assert ll.get(counter.known.remote()) <= MOST


def test_a_host_of_light_actors_forgets_how_each_was_made():
    light = Counter.options(isolation="shared").remote()
    before = ll.get(light.known.remote(), timeout=DEADLINE)
    others = [Counter.options(isolation="shared", name=f"light {number}").remote() for number in range(50)]
    assert ll.get([other.add.remote(1) for other in others], timeout=DEADLINE) == [1] * 50
    assert ll.get(light.known.remote(), timeout=DEADLINE) <= before + 1
