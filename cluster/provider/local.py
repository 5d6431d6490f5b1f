"""Machines that are none: node processes on this one, to try a cluster.yaml and to test with.

They outlive who starts them, as machines do, and end with the head, or when they are told to.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .host_script import as_instance, end_script, list_script, read_listing, start_script
from .instance import Instance, NodeType, Role
from .node_provider import NodeProvider, run_here
from .node_start import NodeStart

ADDRESS = "127.0.0.1"


class LocalProvider(NodeProvider):
    """Instances are processes of this user on this machine.

    Args:
        cluster: names the cluster.
        base: the folder that its instances are noted in; made private.
    """

    def __init__(self, cluster: str, base: str | Path = "~/.limelight/instances") -> None:
        super().__init__(cluster)
        self._base = str(Path(base).expanduser())

    async def instances(self) -> list[Instance]:
        """See `NodeProvider.instances`."""
        output = await run_here(["sh"], stdin=list_script(self.cluster, self._base))
        return [as_instance(listed, listed.about.name, ADDRESS) for listed in read_listing(output)]

    def shell_command(self, instance: Instance, command: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        """See `NodeProvider.shell_command`: just the command, for there is here."""
        del instance, terminal
        return list(command) or [os.environ.get("SHELL", "sh")]

    async def _make(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> Instance:
        if role == "head" and not start.host:
            start = msgspec.structs.replace(start, host=ADDRESS)
        script = start_script(self.cluster, node_type, name, start, role, alone=False, base=self._base)
        await run_here(["sh"], stdin=script, secret=start.token)
        return Instance(name, name, node_type.name, "starting", ADDRESS, role=role)

    async def _end(self, instance_id: str) -> None:
        await run_here(["sh"], stdin=end_script(self.cluster, instance_id, self._base))
