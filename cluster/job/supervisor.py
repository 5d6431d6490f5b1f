"""A job's supervisor: an actor that runs the job's entrypoint on some node, and tells the head how it goes.

It is an actor in what it holds and where it lives; nobody calls it. What it says to the head waits while there is none.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path

from ...actors import runtime
from ...actors.contract import HEAD, decoder_of
from ...actors.native.runtime import NativeRuntime
from ...actors.session import ADDRESS_VARIABLES
from ...transport.error import DeadlineExceededError
from ..job_environment import JOB_VARIABLE, JobEnvironment
from .entrypoint import Entrypoint
from .job_details import JobErrorType
from .job_message import OUTPUT_FOLLOWS, STOP, AwaitJobStop, JobEnded, JobStarted, SupervisorOrder, log_name

_GRACE_VARIABLES = ("LIMELIGHT_JOB_STOP_WAIT_TIME_S", "RAY_JOB_STOP_WAIT_TIME_S")
_SIGNAL_VARIABLES = ("LIMELIGHT_JOB_STOP_SIGNAL", "RAY_JOB_STOP_SIGNAL")
_GRACE_S = 3.0
_MOST_TEXT = 20_000

_begun: set[bytes] = set()
"""The supervisors of this process, by actor id; there is one."""


class JobSupervisor:
    """Begins with its construction, in a worker that has the job's runtime environment.

    Args:
        order: an encoded `SupervisorOrder`.
    """

    def __init__(self, order: bytes) -> None:
        made = runtime.current()
        if not isinstance(made, NativeRuntime):
            raise TypeError("A supervisor runs in a worker of a cluster.")
        self._hub = made.hub
        self._order: SupervisorOrder = decoder_of(SupervisorOrder).decode(order)
        if self._order.actor_id not in _begun:  # else it is made again by a head that was restarted meanwhile
            _begun.add(self._order.actor_id)
            threading.Thread(target=self._run, name="entrypoint", daemon=True).start()

    def __repr__(self) -> str:
        return f"JobSupervisor({self._order.submission_id})"

    def _run(self) -> None:
        order = self._order
        try:
            ended = self._supervise()
        except Exception:  # noqa: BLE001 - whatever it is, the job's user must hear of it
            ended = JobEnded(
                order.submission_id,
                order.actor_id,
                None,
                text=f"The entrypoint could not be run.\n{traceback.format_exc()}",
                error_type=JobErrorType.JOB_ENTRYPOINT_COMMAND_START_ERROR,
            )
        self._say(ended)

    def _supervise(self) -> JobEnded:
        order, hub = self._order, self._hub
        log = Path(hub.identity.session_folder) / "logs" / log_name(order.submission_id)
        job = JobEnvironment(order.submission_id, order.metadata, hub.environments.definition())
        variables = environment(os.environ, job, hub.identity.cluster, hub.runtime_env.get("env_vars", {}))
        entrypoint = Entrypoint.start(order.entrypoint, variables, log)
        self._say(JobStarted(order.submission_id, order.actor_id, entrypoint.pid))
        threading.Thread(target=self._listen, args=(entrypoint,), name="stop", daemon=True).start()
        code = entrypoint.wait()
        if code == 0 or entrypoint.stopped:
            return JobEnded(order.submission_id, order.actor_id, code, entrypoint.stopped)
        tail = entrypoint.tail()
        shown = f"{OUTPUT_FOLLOWS}{tail}" if tail else " It printed nothing."
        return JobEnded(
            order.submission_id,
            order.actor_id,
            code,
            text=f"Job entrypoint command {entrypoint.ended_by}.{shown}"[:_MOST_TEXT],
            error_type=JobErrorType.JOB_ENTRYPOINT_COMMAND_ERROR,
        )

    def _listen(self, entrypoint: Entrypoint) -> None:
        """Wait until the head wants the job stopped."""
        while self._say(AwaitJobStop(self._order.submission_id, self._order.actor_id)) != STOP:
            pass
        entrypoint.stop(*stop_rule(os.environ))

    def _say(self, body: JobStarted | JobEnded | AwaitJobStop) -> bytes:
        """Tell the head something, and return its answer, however long it is away.

        Raises:
            LocalRayletDiedError: this process's node is gone, and so is the process in a moment.
        """
        while True:
            with contextlib.suppress(DeadlineExceededError):  # the head takes twice for once
                return self._hub.ask(self._hub.head, HEAD, body)


def environment(
    inherited: Mapping[str, str], job: JobEnvironment, cluster: str, chosen: Mapping[str, str]
) -> dict[str, str]:
    """The environment variables of an entrypoint.

    Args:
        inherited: the supervisor's own, with those of the job's runtime environment.
        job: what its programs need to know.
        cluster: the address that `init()` joins.
        chosen: variables of the job's runtime environment, which are left alone.
    """
    told = {ADDRESS_VARIABLES[0]: cluster, JOB_VARIABLE: job.variable(), "PYTHONUNBUFFERED": "1"}
    if "PATH" not in chosen:  # "python" in a command line means the one that the job's tasks run in
        told["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    return {**inherited, **told}


def stop_rule(variables: Mapping[str, str]) -> tuple[float, signal.Signals]:
    """How a job is stopped, as its environment variables say: patience in seconds, and the signal that asks."""
    seconds = next((variables[name] for name in _GRACE_VARIABLES if variables.get(name)), "")
    number = next((variables[name] for name in _SIGNAL_VARIABLES if variables.get(name)), "")
    try:
        grace = float(seconds)
    except ValueError:
        grace = _GRACE_S
    return grace, signal.SIGINT if number == "SIGINT" else signal.SIGTERM
