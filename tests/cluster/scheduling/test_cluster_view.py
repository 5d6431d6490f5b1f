"""What the scheduler knows of all nodes."""

from random import Random

from limelight.cluster.scheduling.cluster_view import ClusterView
from limelight.cluster.scheduling.lease_message import BundleReport, NodeReport
from limelight.cluster.scheduling.resources import ResourceSet


def test_the_groups_of_a_node_come_in_the_order_of_its_report_whatever_the_seed_of_hashes():
    view = ClusterView(Random(1))
    groups = [bytes([number]) * 18 for number in range(20, 0, -1)]
    bundles = tuple(BundleReport(group_id, 0, ResourceSet.parse({"CPU": 1}), {}, {}) for group_id in groups)
    view.update(NodeReport("n", 1, ResourceSet.parse({"CPU": 40}), {}, {}, {}, bundles=bundles))
    assert list(view.groups_on("n")) == groups
