"""A cluster of several hosts, disturbed: what a program sees, and what is left afterwards. See cluster.py for more."""

import pytest

from ..cluster.network import why_not
from .cluster_world import run_chaos

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

SECONDS = 20.0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_result_is_right_and_nothing_is_left():
    report = run_chaos(1, SECONDS, print)
    assert report.wrong == []
    assert report.left == []
    assert report.counts["tasks"] > 0
    assert report.counts["actor calls"] > 0
    assert report.counts["placement groups"] > 0
    assert sum(report.disturbances.values()) > 2
