"""Why a process died: facts that were observed, never guesses."""

import signal
from enum import StrEnum

import msgspec

from .error import describe_place


class DeathKind(StrEnum):
    """What ended a worker process or an actor, as far as its node saw."""

    EXITED = "exited"
    """It ended by itself, with an exit code."""
    SIGNALLED = "signalled"
    """A signal ended it."""
    OUT_OF_MEMORY = "out of memory"
    """The node's memory monitor stopped it."""
    KILLED = "killed"
    """`kill()`, `cancel(force=True)` or the end of its job."""
    INTENDED_EXIT = "intended exit"
    """It asked for it: `exit_actor()`, `sys.exit()`."""
    OUT_OF_SCOPE = "out of scope"
    """The last handle to the actor was gone."""
    INIT_FAILED = "init failed"
    """The actor's constructor raised."""
    OWNER_DIED = "owner died"
    """The process that created the actor, and so owned it, died."""
    UNSCHEDULABLE = "unschedulable"
    """It never started: no node can ever give what it asks for."""
    ENVIRONMENT_FAILED = "environment failed"
    """It never started: its runtime environment could not be set up."""
    GROUP_REMOVED = "placement group removed"
    """The placement group it ran in was removed."""
    NODE_LOST = "node lost"
    """Its node stopped answering."""
    UNREACHABLE = "unreachable"
    """Its connection was lost for longer than the grace period; its node says no more."""


_VERDICTS = {
    DeathKind.EXITED: "exited",
    DeathKind.INTENDED_EXIT: "exited at its own request",
    DeathKind.OUT_OF_MEMORY: "was stopped because its node ran out of memory",
    DeathKind.KILLED: "was killed on request",
    DeathKind.OUT_OF_SCOPE: "was ended because no handle to it was left",
    DeathKind.INIT_FAILED: "ended because the constructor raised",
    DeathKind.OWNER_DIED: "was ended because the process that created it died",
    DeathKind.UNSCHEDULABLE: "never started, because no node can give what it asks for",
    DeathKind.ENVIRONMENT_FAILED: "never started, because its runtime environment could not be set up",
    DeathKind.GROUP_REMOVED: "was ended with its placement group",
    DeathKind.NODE_LOST: "was lost with its node, which stopped answering",
    DeathKind.UNREACHABLE: "could not be reached within the grace period",
}
_ADVICE = {
    DeathKind.OUT_OF_MEMORY: (
        "What to do: run fewer tasks at a time on a node (ask for more num_cpus, or for memory=<bytes>, in their "
        "options), make them use less memory, or use a node with more."
    ),
    DeathKind.NODE_LOST: "Allow retries (max_retries, max_restarts) to have it run again on another node.",
    DeathKind.UNREACHABLE: "Look at the node with `cluster status`, and at the network between the two.",
    DeathKind.OWNER_DIED: "Make it detached (lifetime='detached') to have it outlive its creator.",
    DeathKind.UNSCHEDULABLE: "Compare what it asks for with what `cluster status` shows.",
    DeathKind.OUT_OF_SCOPE: "Keep a handle while the actor is needed, or make it detached (lifetime='detached').",
}


class DeathCause(msgspec.Struct, frozen=True):
    """What is known about the end of a process or an actor. Travels between processes as it is.

    Attributes:
        kind: what ended it.
        explanation: one sentence for people: who did it and why, where that is known.
        exit_code: of a process that exited.
        signal: number of the signal that ended it.
        peak_memory: most resident memory it had, in bytes.
        stderr_tail: the last lines it wrote to stderr, oldest first.
        fault_dump: the stacks that `faulthandler` wrote at the crash.
        pid: process id on its node.
        node_id: its node, in hexadecimal.
        ip: its node's address.
    """

    kind: DeathKind
    explanation: str = ""
    exit_code: int | None = None
    signal: int | None = None
    peak_memory: int | None = None
    stderr_tail: tuple[str, ...] = ()
    fault_dump: str = ""
    pid: int | None = None
    node_id: str | None = None
    ip: str | None = None

    def summary(self) -> str:
        """One line: "pid 12 on node 3f2a91c0 was killed by signal 9 (SIGKILL), peak memory 1.2 GiB"."""
        place = describe_place(self.node_id, self.ip, self.pid)
        if not self.pid:
            place = f"its process on {place}" if place else "its process"
        line = f"{place} {self._verdict()}"
        return f"{line}, peak memory {format_bytes(self.peak_memory)}" if self.peak_memory else line

    def render(self) -> str:
        """The whole story for an error message: summary, explanation, last output, stacks, what to do."""
        parts = [f"{self.summary()}."]
        if self.explanation:
            parts[0] += f" {self.explanation[0].upper()}{self.explanation[1:].rstrip('.')}."
        if self.stderr_tail:
            parts.append("Last lines of its stderr:\n" + _indent("\n".join(self.stderr_tail)))
        if self.fault_dump:
            parts.append("Stacks when it crashed:\n" + _indent(self.fault_dump.rstrip()))
        advice = _ADVICE.get(self.kind)
        if advice:
            parts.append(advice)
        return "\n".join(parts)

    def _verdict(self) -> str:
        if self.kind is DeathKind.SIGNALLED:
            return f"was ended by signal {describe_signal(self.signal)}"
        if self.exit_code is not None and self.kind in (DeathKind.EXITED, DeathKind.INTENDED_EXIT):
            return f"exited with code {self.exit_code}"
        return _VERDICTS[self.kind]


def describe_signal(number: int | None) -> str:
    """A signal's number and name: "9 (SIGKILL)"."""
    try:
        return f"{number} ({signal.Signals(number or 0).name})"
    except ValueError:
        return str(number)


def format_bytes(count: int) -> str:
    """A size for people, in binary units: "1.2 GiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004  # binary units
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
