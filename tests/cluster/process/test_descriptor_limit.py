"""How many files a process can have open."""

import resource
import subprocess
import sys

import psutil

import limelight as ll

_PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 2000))
from limelight.cluster.process.descriptor_limit import raise_descriptor_limit
raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_is_raised_as_far_as_it_may() -> None:
    assert (
        subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True).stdout
        == "(2000, 2000)\n"
    )


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return ""


def test_a_node_manager_has_more_and_what_runs_users_code_as_many_as_the_driver(ll_local) -> None:
    @ll.task
    def limit() -> tuple[int, int]:
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert ll.get(limit.remote()) == own
    nodes = [one for one in psutil.Process().children() if title(one).startswith("limelight: node")]
    assert [node.rlimit(psutil.RLIMIT_NOFILE)[0] for node in nodes] == [max(own[0], min(own[1], 65_536))]
