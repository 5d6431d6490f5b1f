"""How much memory a node and its processes use, as the limit that would end them counts it."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

_UNLIMITED = 1 << 60
"""Version 1 control groups say "no limit" with a number near 2**63."""


class MemoryUsage(msgspec.Struct, frozen=True):
    """Memory used against a limit, in bytes. `source` says whose limit, for people."""

    used: int
    limit: int
    source: str

    @property
    def fraction(self) -> float:
        """Used share of the limit."""
        return self.used / self.limit


def node_memory(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> MemoryUsage:
    """The node's memory: the machine's, or that of the control group (container) nearest to its limit.

    Page cache that the kernel can drop does not count as used. Blocks for some file reads, under a millisecond.

    Args:
        proc: the file that names this process's control groups (cgroups(7)).
        root: where control groups are mounted.
    """
    import psutil  # at the first look, for it would take 8 ms of a node's start

    machine = psutil.virtual_memory()
    usages = [MemoryUsage(machine.total - machine.available, machine.total, "the machine")]
    usages += [usage for usage in _control_groups(proc, root) if usage.limit < machine.total]
    return max(usages, key=lambda usage: usage.fraction)


def private_memory(pid: int) -> int | None:
    """Bytes that would come free if the process ended (so not the store's); None where there is no such process."""
    import psutil

    try:
        info = psutil.Process(pid).memory_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return max(0, info.rss - getattr(info, "shared", 0))


def _control_groups(proc: Path, root: Path) -> Iterator[MemoryUsage]:
    try:
        lines = proc.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            yield from _walk(root, path, "memory.max", "memory.current", "inactive_file")
            yield from _walk(root / "unified", path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _walk(root / "memory", path, *names)


def _walk(mount: Path, path: str, limit_name: str, used_name: str, cache_name: str) -> Iterator[MemoryUsage]:
    """The group and those above it. Inside a container the path may be the host's and the mount the group itself."""
    group = PurePosixPath(path)
    for relative in (group, *group.parents):
        folder = mount / str(relative).lstrip("/")
        try:
            limit = (folder / limit_name).read_text().strip()
            used = int((folder / used_name).read_text())
            stat = (folder / "memory.stat").read_text()
        except OSError:  # this level has no limit, or is not visible from here
            continue
        if limit == "max" or int(limit) >= _UNLIMITED or int(limit) == 0:
            continue
        cache = next((int(line.split()[1]) for line in stat.splitlines() if line.split()[0] == cache_name), 0)
        yield MemoryUsage(max(0, used - cache), int(limit), f"control group {relative}")
