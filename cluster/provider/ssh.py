"""Machines that are listed: reached by `ssh`, one node on each.

The system's `ssh` is what carries it: keys, agents, jump hosts, Kerberos and `~/.ssh/config` then work as they do when
the user types `ssh`, and host keys are checked against the same file. (Considered: asyncssh, which would bring its own
idea of all that.) One connection to a host serves all that is done there (ControlMaster).
"""

import asyncio
import contextlib
import shlex
import shutil
import tempfile
from collections.abc import Sequence

import msgspec

from .host_script import BUSY, as_instance, end_script, list_script, read_listing, start_script
from .instance import Instance, NodeType, Role
from .node_provider import NodeProvider, ProviderError, run_here
from .node_start import NodeStart

_CONNECT_S = 10
_KEEP_S = 60
_SCRIPT_S = 60.0
_FRESH_S = 2.0
_AT_A_TIME = 32


class SshSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to get to the hosts.

    Attributes:
        hosts: names or addresses, each for one node, in the order in which they are used.
        user: whom to log in as; "": as ssh's own configuration says.
        port: of sshd; 0: likewise.
        identity_file: the private key; "": likewise.
        accept_new_hosts: trust a host that is not known yet, on first sight. A host whose key has changed is refused
            in any case. Otherwise unknown hosts are refused, too: put their keys into ~/.ssh/known_hosts first.
        options: further options of ssh_config(5), such as {"ProxyJump": "bastion"}.
    """

    hosts: list[str]
    user: str = ""
    port: int = 0
    identity_file: str = ""
    accept_new_hosts: bool = False
    options: dict[str, str] = {}


class SshMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What a node type's `machine` may say: hosts of its own."""

    hosts: list[str] = []


class SshProvider(NodeProvider):
    """Instances are node processes on listed hosts. What a node type's `machine` has is said by `SshMachine`.

    Args:
        cluster: names the cluster.
        settings: see there.
        ssh: the program.
    """

    def __init__(self, cluster: str, settings: SshSettings, ssh: str = "ssh") -> None:
        super().__init__(cluster)
        self._settings = settings
        self._ssh = ssh
        self._folder = tempfile.mkdtemp(prefix="lls")  # a socket's path has room for 107 bytes
        self._sessions = asyncio.Semaphore(_AT_A_TIME)
        self._choosing = asyncio.Lock()
        self._claimed: set[str] = set()
        self._known: dict[str, list[Instance]] = {}
        self._problems: dict[str, str] = {}
        self._looked_at = float("-inf")
        self._hosts = dict.fromkeys(settings.hosts)

    async def instances(self) -> list[Instance]:
        """See `NodeProvider.instances`. What was on a host that cannot be reached is taken to be there still.

        Raises:
            ProviderError: no host can be reached.
        """
        results = await asyncio.gather(*(self._on(host) for host in self._hosts), return_exceptions=True)
        found: list[Instance] = []
        problems: list[str] = []
        for host, result in zip(self._hosts, results, strict=True):
            if isinstance(result, ProviderError):
                problems.append(f"{host}: {result}")
                text = f"the host cannot be reached: {result}"
                found += [msgspec.structs.replace(one, text=text) for one in self._known.get(host, [])]
            elif isinstance(result, BaseException):
                raise result
            else:
                found += result
        if problems and len(problems) == len(self._hosts):
            raise ProviderError(f"None of the {len(self._hosts)} hosts can be reached. {problems[0]}")
        self.unseen = "; ".join(problems)
        return found

    def shell_command(self, instance: Instance, command: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        """See `NodeProvider.shell_command`."""
        return self._command(
            instance.address, [shlex.join(command)] if command else [], terminal=terminal, shared=False
        )

    async def close(self) -> None:
        """See `NodeProvider.close`."""
        await super().close()
        for host in self._known:
            with contextlib.suppress(ProviderError):  # there is no connection to be ended
                await run_here([*self._command(host, [])[:-1], "-O", "exit", host], timeout=_CONNECT_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _on(self, host: str) -> list[Instance]:
        output = await self._run(host, list_script(self.cluster))
        self._known[host] = [as_instance(one, f"{host}/{one.about.name}", host) for one in read_listing(output)]
        return self._known[host]

    async def _make(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> Instance:
        hosts = _hosts_of(node_type) or self._settings.hosts
        self._hosts.update(dict.fromkeys(hosts))
        while True:
            async with self._choosing:
                problems = await self._look(hosts)
                for one in (one for host in hosts for one in self._known.get(host, [])):
                    if one.name == name:
                        return one
                free = [host for host in hosts if host not in problems and not self._known[host]]
                host = next((host for host in free if host not in self._claimed), None)
                if host is None:
                    raise ProviderError(_none_free(node_type, hosts, problems))
                self._claimed.add(host)
            try:
                if await self._claim(host, node_type, name, start, role):
                    made = Instance(name, f"{host}/{name}", node_type.name, "starting", host, role=role)
                    self._known[host] = [made]
                    return made
                self._looked_at = float("-inf")  # somebody else was faster
            finally:
                self._claimed.discard(host)

    async def _look(self, hosts: Sequence[str]) -> dict[str, str]:
        """Find out what is on the hosts, unless that was done a moment ago; returns why some cannot be reached."""
        loop = asyncio.get_running_loop()
        if loop.time() > self._looked_at + _FRESH_S or not all(h in self._known or h in self._problems for h in hosts):
            results = await asyncio.gather(*(self._on(host) for host in hosts), return_exceptions=True)
            for host, result in zip(hosts, results, strict=True):
                self._problems.pop(host, None)
                if isinstance(result, ProviderError):
                    self._problems[host] = str(result)
                elif isinstance(result, BaseException):
                    raise result
            self._looked_at = loop.time()
        return self._problems

    async def _claim(self, host: str, node_type: NodeType, name: str, start: NodeStart, role: Role) -> bool:
        """Start the instance there; false where somebody else was faster."""
        if role == "head" and not start.host:
            start = msgspec.structs.replace(start, host=host)
        script = start_script(self.cluster, node_type, name, start, role, alone=True)
        said = await self._run(host, script, secret=start.token)
        return not said.startswith(BUSY)

    async def _end(self, instance_id: str) -> None:
        host, _, name = instance_id.rpartition("/")
        await self._run(host, end_script(self.cluster, name))
        self._known[host] = [one for one in self._known.get(host, []) if one.name != name]

    async def _run(self, host: str, script: str, secret: str = "") -> str:
        try:
            async with self._sessions:
                return await run_here(self._command(host, ["sh"]), stdin=script, timeout=_SCRIPT_S, secret=secret)
        except ProviderError as error:
            raise ProviderError(_explain(host, str(error))) from error

    def _command(self, host: str, command: Sequence[str], *, terminal: bool = False, shared: bool = True) -> list[str]:
        """The words that reach a host. `shared`: over the connection that this provider keeps while it is open."""
        settings = self._settings
        options = {
            "BatchMode": "no" if terminal else "yes",
            "ConnectTimeout": str(_CONNECT_S),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "StrictHostKeyChecking": "accept-new" if settings.accept_new_hosts else "yes",
            "ControlMaster": "auto" if shared else "no",
            "ControlPath": f"{self._folder}/%C" if shared else "none",
            "ControlPersist": str(_KEEP_S),
            **settings.options,
        }
        words = [self._ssh, "-tt" if terminal else "-T"]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        words += ["-l", settings.user] if settings.user else []
        words += ["-p", str(settings.port)] if settings.port else []
        words += ["-i", settings.identity_file] if settings.identity_file else []
        return [*words, host, *command]


def _none_free(node_type: NodeType, hosts: Sequence[str], problems: dict[str, str]) -> str:
    unreachable = [f"{host} ({problems[host]})" for host in hosts if host in problems]
    why = f" Cannot be reached: {'; '.join(unreachable)}" if unreachable else ""
    return (
        f"None of the {len(hosts)} hosts for {node_type.name!r} is free: list more of them, or lower max_workers.{why}"
    )


def _hosts_of(node_type: NodeType) -> list[str]:
    hosts = node_type.machine.get("hosts")
    return [str(host) for host in hosts] if isinstance(hosts, list) else []


def _explain(host: str, error: str) -> str:
    """What to do, where that is known."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in error:
        return f"{host} shows another host key than it did before. If it was installed anew, type: ssh-keygen -R {host}"
    if "Host key verification failed" in error:
        return (
            f"The host key of {host} is not known. Log in once by hand (ssh {host}) and check its fingerprint, or set "
            "accept_new_hosts: true in the provider's section."
        )
    if "Permission denied" in error:
        return f"{host} does not let this user in: `ssh {host}` must work without a password. ({error[-200:]})"
    return error
