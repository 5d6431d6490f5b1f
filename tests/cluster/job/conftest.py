"""A cluster for all tests of a module, and a client of it."""

import pytest

from limelight.job_submission import JobSubmissionClient

from .running_cluster import RunningCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = RunningCluster(tmp_path_factory.mktemp("home"))
    yield made
    made.stop()


@pytest.fixture
def client(cluster):
    return JobSubmissionClient(cluster.url, token=cluster.token)
