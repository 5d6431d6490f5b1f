"""How the head makes a supervisor: an actor's creation, put together from its parts. Nothing is unpickled for it."""

import pickle
import secrets

from ...actors import ids
from ...actors.contract import ActorSpec, Creation, Invocation, LeaseSpec, Template, encode
from ...actors.native.timeline import UNTRACED
from ...transport.address import ProcessAddress
from .job_message import SupervisorOrder
from .submission import SubmissionSpec
from .supervisor import JobSupervisor

NAMESPACE = "limelight-jobs"
_NAME = JobSupervisor.__name__
_TEMPLATE = encode(
    Template(
        template_id=1,
        kind="create",
        name=_NAME,
        function_id=b"limelight-job-supervisor",
        function=pickle.dumps(JobSupervisor, 5),  # by its name
        num_returns=1,
        options={"async": False, "max_concurrency": 1, "light": False, "name": "", "outline": b"", UNTRACED: True},
    )
)


def supervisor_spec(spec: SubmissionSpec, head: ProcessAddress, head_node: str) -> ActorSpec:
    """The actor that supervises a job: detached, never restarted.

    Args:
        spec: the job.
        head: its owner.
        head_node: where a job without wishes of its own runs, as in Ray, if there is room; "": anywhere.
    """
    order = SupervisorOrder(spec.submission_id, spec.actor_id, spec.entrypoint, spec.metadata)
    args = pickle.dumps(((encode(order),), {}), 5)
    invocation = Invocation(1, ids.IdSource().task_id(), args, actor_id=spec.actor_id)
    strategy = {} if spec.wants_resources or not head_node else _softly_on(head_node)
    job_id = secrets.token_bytes(ids.JOB_ID_SIZE)  # its worker belongs to no driver's job
    lease = LeaseSpec(spec.units, strategy, spec.label_selector, spec.environment, job_id, retriable=False)
    return ActorSpec(
        actor_id=spec.actor_id,
        class_name=_NAME,
        name="",
        namespace=NAMESPACE,
        detached=True,
        max_restarts=0,
        owner=head,
        placing=lease,
        running=lease,
        light=False,
        descriptor=b"",
        has_creation=True,
        creation=encode(Creation(_TEMPLATE, encode(invocation))),
    )


def _softly_on(node_id: str) -> dict[str, object]:
    return {"kind": "node", "node_id": node_id, "soft": True, "spill": True, "fail": False}
