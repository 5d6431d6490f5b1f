"""Machines from a Slurm cluster: each instance is a batch job that runs a node for as long as it is given time.

Slurm's own commands (`sbatch`, `squeue`, `scancel`, `srun`) do the work, so it goes wherever they do: on a login node,
or on a compute node, with the rights and the accounts of the user. An instance's name is its job's name, and what it is
stands in the job's comment.

The job's script is read by sbatch from its standard input, and kept by Slurm where only the user and root read it. The
token is not in it all the same: it lies in a private file in the user's home folder, which the compute nodes share.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..token_file import write_token
from .instance import Instance, InstanceState, NodeType, Role
from .node_provider import NodeProvider, ProviderError, run_here
from .node_start import NodeStart, node_script

_FIELDS = "%i|%T|%N|%j|%k|%r"
_STATES: dict[str, InstanceState] = {
    "PENDING": "starting",
    "CONFIGURING": "starting",
    "REQUEUED": "starting",
    "REQUEUE_HOLD": "starting",
    "RESIZING": "running",
    "RUNNING": "running",
    "SUSPENDED": "running",
    "STAGE_OUT": "ending",
    "SIGNALING": "ending",
    "STOPPED": "ending",
    "COMPLETING": "ending",
}
"""Source: "Job state codes" in squeue(1). All others that are asked for are ways of failing."""

_ENDED = ("Invalid job id", "already completing or completed")
_SHOWN = "PD,CF,R,CG,S,RQ,RH,RS,SI,SO,ST,F,TO,NF,OOM,BF,DL,PR"


class SlurmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all jobs have in common.

    Attributes:
        partition: "": Slurm's default.
        account: "": the user's default.
        time: the longest a job may take, as sbatch writes it ("12:00:00"); "": the partition's default.
        options: further long options of sbatch, such as {"qos": "high", "gres": "gpu:1"}. A node type's
            `machine: {...}` has options of its own, which come after these.
        token_folder: shared with the compute nodes, and the user's own.
    """

    partition: str = ""
    account: str = ""
    time: str = ""
    options: dict[str, str] = {}
    token_folder: str = "~/.limelight/slurm"  # noqa: S105 - a folder, not a secret


class _Comment(msgspec.Struct, frozen=True):
    cluster: str
    node_type: str
    role: Role


class SlurmProvider(NodeProvider):
    """Instances are batch jobs.

    Args:
        cluster: names the cluster.
        settings: see there.
    """

    def __init__(self, cluster: str, settings: SlurmSettings | None = None) -> None:
        super().__init__(cluster)
        self._settings = settings or SlurmSettings()
        self._cleared: set[str] = set()

    async def instances(self) -> list[Instance]:
        """See `NodeProvider.instances`. Jobs that have ended are listed for as long as Slurm remembers them."""
        return await self._list([])

    def shell_command(self, instance: Instance, command: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        """See `NodeProvider.shell_command`: a step of the job, beside the node."""
        step = ["srun", f"--jobid={instance.instance_id}", "--overlap", "--quiet", *(["--pty"] if terminal else [])]
        return [*step, *(command or ["bash", "-l"])]

    async def _list(self, options: Sequence[str]) -> list[Instance]:
        output = await run_here(["squeue", "--me", "--noheader", f"--states={_SHOWN}", f"--format={_FIELDS}", *options])
        found: list[Instance] = []
        for line in output.splitlines():
            job_id, state, nodes, name, rest = line.split("|", 4)
            text, _, reason = rest.rpartition("|")
            try:
                comment = msgspec.json.decode(text, type=_Comment)
            except msgspec.DecodeError:
                continue  # another's job
            if comment.cluster == self.cluster and job_id not in self._cleared:
                known = _STATES.get(state, "failed")
                told = "" if known == "running" else f"Slurm says {state} ({reason.strip('()')})"
                found.append(Instance(name, job_id, comment.node_type, known, nodes.strip(), told, comment.role))
        return found

    async def _make(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> Instance:
        for one in await self._list([f"--name={name}"]):
            return one
        token_file = self._keep_token(start)
        comment = msgspec.json.encode(_Comment(self.cluster, node_type.name, role)).decode()
        script = "#!/bin/sh\n" + node_script(node_type, name, start, role, shlex.quote(token_file))
        command = ["sbatch", "--parsable", f"--job-name={name}", f"--comment={comment}", "--no-requeue"]
        command.append(f"--output={Path(token_file).parent}/{name}.log")
        output = await run_here([*command, *self._options(node_type)], stdin=script, secret=start.token)
        job_id = output.strip().partition(";")[0]
        if not job_id.isdecimal():
            raise ProviderError(f"sbatch answered {output.strip()!r} instead of a job's number.")
        return Instance(name, job_id, node_type.name, "starting", role=role)

    async def _end(self, instance_id: str) -> None:
        try:
            await run_here(["scancel", "--quiet", instance_id])
        except ProviderError as error:
            if not any(text in str(error) for text in _ENDED):
                raise
            self._cleared.add(instance_id)  # Slurm shows it for some minutes more

    def _options(self, node_type: NodeType) -> list[str]:
        settings = self._settings
        common = {"partition": settings.partition, "account": settings.account, "time": settings.time}
        amounts = node_type.resources.floats()
        asked = {"nodes": "1", "ntasks": "1"}
        if "CPU" in amounts:
            asked["cpus-per-task"] = f"{max(1.0, amounts['CPU']):.0f}"
        if "GPU" in amounts:
            asked["gres"] = f"gpu:{amounts['GPU']:.0f}"
        if "memory" in amounts:
            asked["mem"] = f"{-int(-amounts['memory'] // (1 << 20))}M"
        own = {name: str(value) for name, value in node_type.machine.items()}
        chosen = {**asked, **{name: value for name, value in common.items() if value}, **settings.options, **own}
        return [f"--{name}={value}" for name, value in chosen.items()]

    def _keep_token(self, start: NodeStart) -> str:
        path = Path(self._settings.token_folder).expanduser() / f"{self.cluster}.token"
        try:
            write_token(path, start.token)
        except OSError as error:
            raise ProviderError(f"The cluster's token cannot be put into {path}: {error.strerror}.") from error
        return str(path)
