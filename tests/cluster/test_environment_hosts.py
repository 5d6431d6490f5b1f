"""Runtime environments on two hosts that share nothing but a network cable: what they need travels to them."""

import secrets
import sys
import textwrap

import pytest

from tests.cluster import network as hosts
from tests.cluster.wheel import make_wheel

pytestmark = pytest.mark.skipif(bool(hosts.why_not()), reason=hosts.why_not())

DRIVER = textwrap.dedent(
    """
    import os, socket, sys
    from pathlib import Path
    import limelight as ll
    from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def hook():
        os.environ["HOOKED"] = socket.gethostname()

    def look():
        import tiny
        context = ll.get_runtime_context()
        size = Path("large.bin").stat().st_size
        return socket.gethostname(), tiny.VERSION, size, os.environ["HOOKED"], sys.prefix

    ll.init(
        address="auto",
        runtime_env={
            "working_dir": sys.argv[1],
            "uv": {
                "packages": ["${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/tiny-1.0-py3-none-any.whl"],
                "uv_pip_install_options": ["--no-index"],
            },
            "worker_process_setup_hook": hook,
        },
    )
    for node in ll.nodes():
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        print(*ll.get(ll.remote(look).options(scheduling_strategy=place).remote(), timeout=50))
    """
)


@pytest.fixture
def network():
    made = hosts.Network()
    yield made
    made.close()


def test_packages_and_installed_ones_are_there_on_every_host(network):
    head, other = network.add_host(), network.add_host()
    token = {"LIMELIGHT_TOKEN": secrets.token_hex(32)}
    cluster = [sys.executable, "-m", "limelight.cluster.command.main"]
    started = head.run([*cluster, "start", "--head", "--host", head.address], env=token)
    assert started.returncode == 0, started.stderr
    joined = other.run([*cluster, "join", head.address], env=token)
    assert joined.returncode == 0, joined.stderr
    work = head.folder / "work"  # which the other host cannot see
    work.mkdir()
    make_wheel(work, "tiny")
    (work / "large.bin").write_bytes(secrets.token_bytes(9 << 20))
    (head.folder / "driver.py").write_text(DRIVER)
    ran = head.run([sys.executable, str(head.folder / "driver.py"), str(work)], env=token)
    assert ran.returncode == 0, ran.stderr
    found = sorted(line.split() for line in ran.stdout.splitlines())
    assert [line[:4] for line in found] == [[host.name, "1.0", str(9 << 20), host.name] for host in (head, other)]
    assert [line[4].startswith(str(host.home)) for line, host in zip(found, (head, other), strict=True)] == [True, True]
