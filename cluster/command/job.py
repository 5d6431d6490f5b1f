"""`cluster job submit|status|logs|stop|list|delete`: jobs, which run on the cluster whoever submitted them may go."""

import argparse
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..client.failure import CommandError
from .job_page import describe, job_table
from .job_submit import add_submit_options, submission

if TYPE_CHECKING:
    from ..job.submission_client import JobSubmissionClient

_LOOK_S = 0.2
_STATUS_CODE = re.compile(r"^Request failed with status code \d+: ")
"""Of use to programs; people read what follows."""


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    text = "run programs on a cluster, and watch them"
    parser: argparse.ArgumentParser = verbs.add_parser("job", help=text, description=f"{text.capitalize()}.")
    jobs = parser.add_subparsers(metavar="VERB", required=True)
    submit = _verb(jobs, "submit", "run a command on the cluster, and show what it prints", _submit)
    submit.set_defaults(on_unknown="What is the command's own stands after `--`: cluster job submit -- python x.py -v")
    add_submit_options(submit)
    status = _verb(jobs, "status", "say how a job goes", _status)
    logs = _verb(jobs, "logs", "show what a job has printed", _logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job is over")
    stop = _verb(jobs, "stop", "end a job", _stop)
    stop.add_argument("--no-wait", action="store_true", help="do not wait until it has ended")
    delete = _verb(jobs, "delete", "forget a job that is over; its log stays", _delete)
    listed = _verb(jobs, "list", "show all jobs, the newest first", _list)
    for verb in (status, listed):
        verb.add_argument("--json", action="store_true", help="all that is known, as JSON")
    for verb in (status, logs, stop, delete):
        verb.add_argument("job", metavar="JOB", help="its submission id")


def _verb(
    jobs: Any, name: str, text: str, run: "Callable[[JobSubmissionClient, argparse.Namespace], int]"
) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = jobs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    verb.add_argument(
        "--address",
        help="of the dashboard (http://host:8265) or the head (host:6379); default: LIMELIGHT_ADDRESS, or this "
        "machine's cluster",
    )
    verb.add_argument("--verify", default=True, metavar="FILE", help="the authority that the dashboard's TLS has")
    verb.set_defaults(run=lambda options: _run(run, options))
    return verb


def _run(run: "Callable[[JobSubmissionClient, argparse.Namespace], int]", options: argparse.Namespace) -> int:
    from ...exceptions import RayError
    from ..job.submission_client import JobSubmissionClient

    try:
        return run(JobSubmissionClient(options.address, verify=options.verify), options)
    except (RuntimeError, OSError, ValueError, TypeError, RayError) as error:
        raise CommandError(_STATUS_CODE.sub("", str(error))) from None


def _submit(client: "JobSubmissionClient", options: argparse.Namespace) -> int:
    asked = submission(options)
    name = client.submit_job(**asked)
    if options.no_wait:
        sys.stdout.write(
            f"Job {name} is submitted.\n\n"
            f"  to see how it goes  cluster job status {name}\n"
            f"  to see its output   cluster job logs --follow {name}\n"
            f"  to end it           cluster job stop {name}\n"
        )
        return 0
    sys.stderr.write(f"Job {name} is submitted; Ctrl-C leaves it running, `cluster job stop {name}` ends it.\n")
    return _follow(client, name)


def _follow(client: "JobSubmissionClient", name: str) -> int:
    """Show what a job prints until it is over; returns its exit code."""
    from .job_stream import show_output

    try:
        show_output(client, name)
    except RuntimeError as error:  # the log is gone, with its node for example: what became of the job is known
        sys.stderr.write(_STATUS_CODE.sub("", f"{error}\n"))
    details = client.get_job_info(name)
    sys.stderr.write(describe(details, brief=True) + "\n")
    if details.status == "SUCCEEDED":
        return 0
    return details.driver_exit_code or 1


def _status(client: "JobSubmissionClient", options: argparse.Namespace) -> int:
    details = client.get_job_info(options.job)
    sys.stdout.write((_json(details) if options.json else describe(details)) + "\n")
    return 0


def _logs(client: "JobSubmissionClient", options: argparse.Namespace) -> int:
    if options.follow:
        client.get_job_info(options.job)  # it exists
        _follow(client, options.job)
    else:
        sys.stdout.write(client.get_job_logs(options.job))
    return 0


def _stop(client: "JobSubmissionClient", options: argparse.Namespace) -> int:
    if not client.stop_job(options.job):
        sys.stdout.write(f"Job {options.job} was over already.\n")
        return 0
    while not options.no_wait and not client.get_job_status(options.job).is_terminal():
        time.sleep(_LOOK_S)
    sys.stdout.write(describe(client.get_job_info(options.job)) + "\n")
    return 0


def _delete(client: "JobSubmissionClient", options: argparse.Namespace) -> int:
    client.delete_job(options.job)
    sys.stdout.write(f"Job {options.job} is forgotten.\n")
    return 0


def _list(client: "JobSubmissionClient", options: argparse.Namespace) -> int:
    jobs = sorted(client.list_jobs(), key=lambda job: job.start_time or 0, reverse=True)
    sys.stdout.write((_json(jobs) if options.json else job_table(jobs)) + "\n")
    return 0


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
