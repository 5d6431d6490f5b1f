"""What the head asks for when it has a job's supervisor made."""

import msgspec
import pytest

from limelight.cluster.job.creation import supervisor_spec
from limelight.cluster.job.submission import SubmissionSpec
from limelight.transport.address import ProcessAddress

HEAD = ProcessAddress("ab" * 16, "head:6379")
NODE = "cd" * 28
JOB = SubmissionSpec("job", "true", b"x" * 16, environment="key", units={"CPU": 20_000})


def lease(job: SubmissionSpec, head_node: str = NODE):
    made = supervisor_spec(job, HEAD, head_node)
    assert made.placing == made.running
    return made.running


def test_it_holds_what_the_job_asked_for_where_the_job_asked_for_it():
    asked = lease(msgspec.structs.replace(JOB, num_cpus=2.0, label_selector={"zone": "far"}))
    assert (asked.resources, asked.labels, asked.environment) == ({"CPU": 20_000}, {"zone": "far"}, "key")
    assert asked.strategy == {}


def test_a_job_without_wishes_runs_beside_the_head_if_there_is_room():
    strategy = lease(JOB).strategy
    assert (strategy["node_id"], strategy["soft"], strategy["fail"]) == (NODE, True, False)
    assert lease(JOB, head_node="").strategy == {}


@pytest.mark.parametrize(
    "wish",
    [{"num_cpus": 1.0}, {"num_gpus": 1.0}, {"memory": 1}, {"resources": {"a": 1}}, {"label_selector": {"a": "b"}}],
)
def test_any_wish_decides(wish):
    assert lease(msgspec.structs.replace(JOB, **wish)).strategy == {}


def test_a_job_runs_once_whoever_goes():
    made = supervisor_spec(JOB, HEAD, NODE)
    assert (made.actor_id, made.max_restarts, made.detached, made.running.retriable) == (JOB.actor_id, 0, True, False)
    assert made.has_creation
