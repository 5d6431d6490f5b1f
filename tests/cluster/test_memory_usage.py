"""Reading memory limits: the machine's, and those of control groups."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from limelight.cluster.memory_usage import node_memory, private_memory
from limelight.transport.shm.arena import Arena

MIB = 1 << 20


def group(folder: Path, version, limit, used, cache):
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")


@pytest.mark.parametrize(("version", "line", "mount"), [(1, "4:memory:/jobs/a", "memory"), (2, "0::/jobs/a", "")])
def test_the_group_nearest_to_its_limit_counts_without_its_page_cache(tmp_path, version, line, mount):
    root = tmp_path / "cgroup"
    group(root / mount / "jobs" / "a", version, 1000 * MIB, 995 * MIB, 95 * MIB)
    group(root / mount / "jobs", version, 1010 * MIB, 1009 * MIB, 9 * MIB)
    group(root / mount, version, "max" if version == 2 else 9223372036854771712, 5000 * MIB, 0)
    (tmp_path / "proc").write_text(f"9:cpu:/x\n{line}\n")
    usage = node_memory(tmp_path / "proc", root)
    assert (usage.used, usage.limit, usage.source) == (1000 * MIB, 1010 * MIB, "control group /jobs")


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path):
    group(tmp_path / "cgroup", 2, 1000 * MIB, 999 * MIB, 0)
    (tmp_path / "proc").write_text("0::/docker/0123\n")
    assert node_memory(tmp_path / "proc", tmp_path / "cgroup").limit == 1000 * MIB


@pytest.mark.parametrize("proc", ["missing", "empty"])
def test_without_groups_the_machine_s_memory_counts(tmp_path, proc):
    (tmp_path / "empty").write_text("")
    usage = node_memory(tmp_path / proc, tmp_path)
    assert (usage.limit, usage.source) == (psutil.virtual_memory().total, "the machine")
    assert 0 < usage.fraction < 1


def test_this_machine_can_be_read():
    assert 0 < node_memory().fraction < 1


def test_a_process_s_share_of_the_store_is_not_its_own():
    arena = Arena.create(64 * MIB)
    before = private_memory(os.getpid())
    arena.write(0, 1, b"o" * 28, b"w" * 16, [bytes(48 * MIB)])
    assert private_memory(os.getpid()) - before < 24 * MIB
    arena.close()


def test_a_process_that_has_ended_has_none():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert private_memory(ended.pid) is None
