"""What the contract of node providers is tried on: for each of them, its service and how to make that misbehave."""

import asyncio
import inspect
import json
import os
import shutil
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from limelight.cluster.provider.kubernetes import KubernetesProvider, KubernetesSettings
from limelight.cluster.provider.local import LocalProvider
from limelight.cluster.provider.node_start import NodeStart
from limelight.cluster.provider.openstack import OpenStackProvider, OpenStackSettings
from limelight.cluster.provider.slurm import SlurmProvider, SlurmSettings
from limelight.cluster.provider.ssh import SshProvider, SshSettings

from . import fake_slurm
from .fake_kubernetes import FakeKubernetes
from .fake_openstack import PASSWORD, FakeOpenStack
from .sshd import HOSTS, Sshd, require_sshd

TOKEN = "ab" * 32
DEADLINE = 30.0
PROGRAM = Path(__file__).with_name("node_program.py")


class Ground:
    """A service, and what tests need to do to it."""

    failure = "the wheels came off"
    refusal = "quota"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports = folder / "reports"
        self.reports.mkdir()

    def provider(self, cluster="mine"):
        raise NotImplementedError

    def close(self):
        pass

    def fitted(self, node_type):
        """A node type with what the provider needs to know of a machine."""
        return node_type

    def start(self):
        return NodeStart(
            head="10.0.0.1:6379",
            token=TOKEN,
            setup=('greeting="it\'s"', 'export GREETING="$greeting set up"'),
            environment={"NODE_REPORTS": str(self.reports)},
            program=(sys.executable, str(PROGRAM)),
        )

    async def until(self, condition):
        """Wait until it holds; a deadline bounds it."""
        async with asyncio.timeout(DEADLINE):
            while not (held := condition()) or (inspect.isawaitable(held) and not await held):  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.02)

    async def report(self, name):
        """What a node has said of what it was told."""
        await self.until((self.reports / name).exists)
        return json.loads((self.reports / name).read_text())

    def is_gone(self, name):
        """Whether the machine has ended."""
        return not Path(f"/proc/{json.loads((self.reports / name).read_text())['pid']}").exists()

    def seen_command_lines(self):
        """What every user of the machine could see."""
        return "\n".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))

    def break_machines(self):
        """From now on machines fail."""
        (self.reports / "behaviour").write_text("fail")

    def limit(self, most):
        """Have the service make no more than so many; returns how many that are."""
        raise NotImplementedError

    def cut(self):
        """Have the service be away."""
        raise NotImplementedError

    def forget(self):
        """Much time passes after all has ended: names that were used may be used again."""
        for path in self.reports.iterdir():
            path.unlink()

    def heal(self):
        """Undo all of that."""
        (self.reports / "behaviour").unlink(missing_ok=True)


class LocalGround(Ground):
    """Processes of this machine."""

    def provider(self, cluster="mine"):
        return LocalProvider(cluster, self.folder / "instances")

    async def clear(self):
        """End what a test has made."""
        provider = self.provider()
        await provider.terminate([one.instance_id for one in await provider.instances()])

    def limit(self, most):
        pytest.skip("this machine refuses no process")

    def cut(self):
        """Something else is where its notes would be."""
        (self.folder / "instances").rename(self.folder / "aside")
        (self.folder / "instances").mkdir()
        (self.folder / "instances" / "mine").write_text("")

    def heal(self):
        super().heal()
        if (self.folder / "aside").exists():
            shutil.rmtree(self.folder / "instances")
            (self.folder / "aside").rename(self.folder / "instances")


class SshGround(Ground):
    """Two hosts of one real sshd."""

    refusal = "None of the 2 hosts for 'cpu' is free"

    def __init__(self, folder: Path) -> None:
        require_sshd()
        super().__init__(folder)
        self.sshd = Sshd(folder)

    def settings(self, **changes):
        sshd = self.sshd
        options = {
            "UserKnownHostsFile": str(sshd.folder / "known_hosts"),
            "IdentitiesOnly": "yes",
            "GlobalKnownHostsFile": "none",
        }
        about = {"hosts": HOSTS, "user": "root", "port": sshd.port, "identity_file": str(sshd.folder / "user_key")}
        return SshSettings(**{**about, "options": options, **changes})

    def provider(self, cluster="mine"):
        return SshProvider(cluster, self.settings())

    def limit(self, most):
        return len(HOSTS)

    def cut(self):
        self.sshd.stop()

    def heal(self):
        super().heal()
        self.sshd.go_on()

    def close(self):
        self.sshd.close()


class StandInGround(Ground):
    """Programs that stand in for a service's own, before all others in the path."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.variables = pytest.MonkeyPatch()
        self.variables.setenv("PATH", str(self.programs), prepend=os.pathsep)

    def add_program(self, name, text):
        program = self.programs / name
        program.write_text(text)
        program.chmod(0o755)

    def close(self):
        self.variables.undo()


class ServiceGround(StandInGround):
    """A fake of a service's API."""

    def __init__(self, folder: Path, service) -> None:
        super().__init__(folder)
        self.service = service

    def limit(self, most):
        self.service.quota = most
        return most

    def cut(self):
        self.service.stop()

    def heal(self):
        super().heal()
        self.service.quota = None
        self.service.go_on()

    def close(self):
        super().close()
        self.service.close()


class SlurmGround(StandInGround):
    """Slurm's commands, of which a folder keeps the jobs."""

    failure = "Slurm says FAILED"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "slurm").mkdir()
        fake_slurm.install(self.programs)
        self.variables.setenv("FAKE_SLURM", str(folder / "slurm"))

    def provider(self, cluster="mine"):
        return SlurmProvider(cluster, SlurmSettings(partition="batch", token_folder=str(self.folder / "tokens")))

    def weather(self, **weather):
        """What goes wrong: see fake_slurm.py."""
        (self.folder / "slurm" / "weather").write_text(json.dumps(weather))

    def limit(self, most):
        self.weather(most=most)
        return most

    def cut(self):
        self.weather(down=True)

    def heal(self):
        super().heal()
        self.weather()

    def forget(self):
        super().forget()
        shutil.rmtree(self.folder / "slurm" / "jobs", ignore_errors=True)


class KubernetesGround(ServiceGround):
    """A fake of Kubernetes's API; `kubectl exec` is one that runs the command here."""

    failure = "Error (exit code 3)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, FakeKubernetes(folder))
        self.add_program("kubectl", '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')

    def provider(self, cluster="mine"):
        settings = KubernetesSettings(image="limelight:1", kubeconfig=str(self.service.kubeconfig))
        return KubernetesProvider(cluster, settings)

    def heal(self):
        super().heal()
        self.service.unschedulable = self.service.expired = self.service.mute = False


class OpenStackGround(ServiceGround):
    """A fake of OpenStack's APIs; `ssh` is one that runs the command here."""

    failure = "No valid host was found"
    refusal = "Quota exceeded"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, FakeOpenStack(folder))
        self.add_program("ssh", '#!/bin/sh\nwhile [ "$1" != 127.0.0.1 ]; do shift; done\nshift\nexec sh -c "$1"\n')
        login = {"auth_url": f"{self.service.url}/identity/v3", "username": "u", "password": PASSWORD}
        names = {"project_name": "p", "user_domain_name": "d", "project_domain_name": "d"}
        cloud = {"auth": {**login, **names}, "region_name": "R"}
        (folder / "clouds.yaml").write_text(json.dumps({"clouds": {"pouta": cloud}}))
        self.variables.setenv("OS_CLIENT_CONFIG_FILE", str(folder / "clouds.yaml"))

    def provider(self, cluster="mine"):
        return OpenStackProvider(
            cluster, OpenStackSettings(cloud="pouta", image="Ubuntu-24.04", network="project_1", user="")
        )

    def fitted(self, node_type):
        return msgspec.structs.replace(node_type, machine={"flavor": "standard.medium"})

    def break_machines(self):
        self.service.broken = True

    def heal(self):
        super().heal()
        self.service.broken = False


GROUNDS = {
    "local": LocalGround,
    "ssh": SshGround,
    "slurm": SlurmGround,
    "kubernetes": KubernetesGround,
    "openstack": OpenStackGround,
}
