"""A head on another machine takes over from one that fails in whichever way: a program notices a pause, no more."""

import pytest

from tests.chaos.standby_takeover import take_over_under_load
from tests.cluster.network import why_not

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.slow,
    pytest.mark.timeout(240),
]


@pytest.mark.parametrize(
    ("state", "way"),
    [("redis", "power-cut"), ("redis", "cut-off-from-nodes"), ("postgresql", "paused")],
)
def test_a_takeover_fails_nothing(state, way):
    load, _, _ = take_over_under_load(state, way)
    load.check()
