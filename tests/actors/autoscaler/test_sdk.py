"""`request_resources`: what it accepts, and that the cluster hears of it. Machines are in tests/cluster/launch."""

import pytest

import limelight as ll
from limelight.autoscaler.sdk import request_resources


def test_it_is_accepted_where_there_is_no_autoscaler(ll_shared):
    request_resources(num_cpus=4, bundles=[{"GPU": 1}], bundle_label_selectors=[{"zone": "in(a, b)"}])
    request_resources(num_cpus=0)
    request_resources()
    assert ll.cluster_resources()["CPU"] == 4


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_cpus": -1}, TypeError, "num_cpus is a whole number"),
        ({"num_cpus": 1.5}, TypeError, "num_cpus is a whole number"),
        ({"bundles": [3]}, TypeError, "bundle 0 is 3"),
        ({"bundles": [{"CPU": "many"}]}, TypeError, "has 'CPU': 'many'"),
        ({"bundles": [{"CPU": -1}]}, ValueError, "asks for -1 of 'CPU'"),
        ({"bundles": [{"CPU": 1}], "bundle_label_selectors": []}, ValueError, "0 selectors for 1 bundles"),
        (
            {"bundles": [{"CPU": 1}], "bundle_label_selectors": [{"a b": "c"}]},
            ValueError,
            r"bundle_label_selectors\[0\]",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(ll_shared, arguments, error, words):
    with pytest.raises(error, match=words):
        request_resources(**arguments)
