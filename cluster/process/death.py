"""From what was observed of a dead worker to the cause of its death: the one real cause, never a list of guesses."""

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from ...exceptions import DeathCause, DeathKind
from ...exceptions.trace import is_framework_file
from .log_batch import NAME_MARK, visible
from .spawn import ProcessExit

_TAIL_LINES = 20
_FAULT_START = re.compile(r"^(Fatal Python error: .*|Windows fatal exception: .*)$", re.MULTILINE)
# What faulthandler writes after its first line: heads of stacks, frames, and the list of extension modules.
_FAULT_LINE = re.compile(
    r"^(\s*|Current thread .*|Thread 0x.*|Stack \(most recent call first\):|  File .*|  <.*|  \.\.\.|"
    r"  \.\.\. \(truncated .*|Python runtime state: .*|Extension modules: .*|Current thread's C stack trace.*|"
    r"  Binary file .*)$"
)
_FRAME = re.compile(r'^  File "(.*)", line (?:\d+|\?\?\?) in ')
_AROUND_THE_FRAMEWORK = ("/pykka/_actor.py", "/threading.py", "<string>")
"""Files of the frames that run the framework's own."""


@dataclass(frozen=True, slots=True)
class KnownKill:
    """Why this node ended a worker on purpose; the node manager notes it before it sends the signal.

    Attributes:
        kind: such as OUT_OF_MEMORY (the memory monitor), KILLED, OUT_OF_SCOPE.
        explanation: one sentence: who and why.
    """

    kind: DeathKind
    explanation: str


class KernelOomWatch:
    """Tells whether the kernel's out-of-memory killer has struck, from the kernel's own count."""

    def __init__(self) -> None:
        self._counter, self._where = _oom_counter()
        self._seen = self._count()

    def take_one(self) -> str:
        """A sentence about one kill that nobody has asked about yet; "" when there was none.

        Ask only for a process that SIGKILL ended and that nobody here has killed.
        """
        if self._count() <= self._seen:
            return ""
        self._seen += 1
        return f"The kernel's out-of-memory killer struck in {self._where} when it ended"

    def _count(self) -> int:
        if self._counter is None:
            return 0
        try:
            match = re.search(r"^oom_kill (\d+)$", self._counter.read_text(encoding="ascii"), re.MULTILINE)
        except OSError:  # the cgroup is gone: nothing more can be said
            return 0
        return int(match[1]) if match else 0


def death_cause(
    exit_: ProcessExit,
    stderr: str,
    *,
    known: KnownKill | None = None,
    leaving: str = "",
    kernel_oom: str = "",
    node_id: str | None = None,
    ip: str | None = None,
) -> DeathCause:
    """Compose the cause of a worker's death.

    Args:
        exit_: how the process ended.
        stderr: the end of its stderr (`WorkerOutput.tail`, after `drain`).
        known: set when the node killed it.
        leaving: why it said that it would end by itself, such as "its task called sys.exit(3)".
        kernel_oom: what `KernelOomWatch.take_one` said.
        node_id: the node, hexadecimal.
        ip: its address.
    """
    words, dump = split_fault_dump(stderr)
    kind, explanation = _verdict(exit_, known, leaving, kernel_oom)
    return DeathCause(
        kind=kind,
        explanation=explanation,
        exit_code=exit_.exit_code,
        signal=exit_.signal,
        peak_memory=exit_.max_rss_bytes or None,
        stderr_tail=tuple(_lines(words)[-_TAIL_LINES:]),
        fault_dump=users_stacks(dump),
        pid=exit_.pid,
        node_id=node_id,
        ip=ip,
    )


def split_fault_dump(stderr: str) -> tuple[str, str]:
    """Part the last dump of `faulthandler` from the rest of a process's stderr: (the rest, the dump or "")."""
    starts = list(_FAULT_START.finditer(stderr))
    if not starts:
        return stderr, ""
    start = starts[-1].start()
    lines = [line + "\n" for line in stderr[start:].rstrip("\n").split("\n")]
    end = next((index for index, line in enumerate(lines[1:], 1) if not _FAULT_LINE.match(line.rstrip())), len(lines))
    return stderr[:start] + "".join(lines[end:]), "".join(lines[:end]).rstrip() + "\n"


def users_stacks(dump: str) -> str:
    """A dump of `faulthandler` without what says nothing to people.

    That is the framework's frames, threads that have no others, and the list of extension modules. The whole dump where
    nothing else would be left.
    """
    head, *stacks = re.split(r"\n(?=Current thread |Thread 0x|Extension modules: |Current thread's C stack)", dump)
    kept = [head.rstrip()]
    for stack in stacks:
        title, *lines = stack.rstrip().split("\n")
        frames = _users_frames([line for line in lines if line.strip()])
        if frames and not title.startswith("Extension modules"):
            kept += ["", title, *frames]
    return "\n".join(kept) + "\n" if len(kept) > 1 else dump


def _users_frames(lines: list[str]) -> list[str]:
    """The frames of one stack but the framework's, and but the threading or `python -c` that runs the framework."""
    kept: list[str] = []
    under_framework = False
    for line in lines:
        match = _FRAME.match(line)
        path = match[1] if match is not None else ""
        under_framework = is_framework_file(path) or (under_framework and path.endswith(_AROUND_THE_FRAMEWORK))
        if not under_framework:
            kept.append(line)
    return kept


def _lines(text: str) -> list[str]:
    """Lines as a terminal shows them: without the names of tasks that the worker's streams put between them."""
    lines = [visible(line) for line in text.strip("\n").split("\n")] if text.strip("\n") else []
    return [line for line in lines if not line.startswith(NAME_MARK)]


def _verdict(exit_: ProcessExit, known: KnownKill | None, leaving: str, kernel_oom: str) -> tuple[DeathKind, str]:
    # A process that ended in another way was dying before the node's signal reached it.
    if known is not None and exit_.exit_code is None and exit_.signal in {None, signal.SIGKILL}:
        return known.kind, known.explanation
    if leaving and exit_.exit_code is not None:
        return DeathKind.INTENDED_EXIT, leaving
    if exit_.signal is not None:
        return _signalled(exit_, kernel_oom)
    if exit_.exit_code is None:
        return (
            DeathKind.SIGNALLED,
            "The process that starts this node's workers died, and the kernel ended them with it",
        )
    kind = DeathKind.EXITED if exit_.exit_code else DeathKind.INTENDED_EXIT
    return kind, "It ended itself, by os._exit() or in native code"


def _signalled(exit_: ProcessExit, kernel_oom: str) -> tuple[DeathKind, str]:
    if exit_.signal == signal.SIGKILL and kernel_oom:
        return DeathKind.OUT_OF_MEMORY, kernel_oom
    if exit_.signal in {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}:
        core = "; a core file was written" if exit_.core_dumped else ""
        return DeathKind.SIGNALLED, f"Native code in the process crashed{core}"
    if exit_.signal == signal.SIGXCPU:
        return DeathKind.SIGNALLED, "It used more CPU time than its limit (ulimit -t) allows"
    return DeathKind.SIGNALLED, "Limelight did not send the signal, and it was not the kernel for lack of memory"


def _oom_counter() -> tuple[Path | None, str]:
    """Where the kernel counts its kills ("oom_kill <n>" in each case), and a name for what is counted there."""
    try:
        entries = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        entries = []
    for entry in entries:
        _, controllers, path = entry.split(":", 2)
        if not controllers:
            counter = Path("/sys/fs/cgroup", path.lstrip("/"), "memory.events")
        elif "memory" in controllers.split(","):
            counter = Path("/sys/fs/cgroup/memory", path.lstrip("/"), "memory.oom_control")
        else:
            continue
        if counter.exists():
            return counter, "this node's memory cgroup"
    machine = Path("/proc/vmstat")
    return (machine if machine.exists() else None), "this machine"
