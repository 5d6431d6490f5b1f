"""A cluster of two nodes, for all tests of a module."""

from collections.abc import Iterator

import pytest

from limelight.cluster_utils import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of two CPUs: the head's, on which the driver is, and "east"."""
    made = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 2, "labels": {"side": "west"}})
    try:
        made.east = made.add_node(num_cpus=2, resources={"east": 8}, labels={"side": "east"})
        yield made
    finally:
        made.shutdown()


@pytest.fixture
def doomed(cluster):
    """A third node, which the test may remove."""
    node = cluster.add_node(num_cpus=2, resources={"doomed": 8})
    yield node
    if node in cluster.list_all_nodes():
        cluster.remove_node(node)
    cluster.wait_for_nodes()
