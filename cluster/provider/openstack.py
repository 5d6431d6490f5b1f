"""Machines from OpenStack: each instance is a server.

Credentials come from clouds.yaml or the OS_* variables, as for the `openstack` command. What an instance is stands in
its server's metadata. Nova makes a new server whenever it is asked, so this looks for one of the name before it asks;
that is safe because names are unique for all time, and one provider makes a name once at a time.

The token comes with the user data, which cloud-init runs as root at the first boot: it goes into a file that only the
node's user reads. User data can be read back from the metadata service by whatever runs on that very machine, and by
those who administer the cloud: the same who could read the file.
"""

import asyncio
import base64
import contextlib
import shlex
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import msgspec

from .instance import Instance, InstanceState, NodeType, Role
from .node_provider import NodeProvider, ProviderError
from .node_start import NodeStart, node_script, token_lines

_CLUSTER = "limelight-cluster"
_TYPE = "limelight-type"
_ROLE = "limelight-role"
_REQUEST_S = 60.0
"""How long the cloud may take to answer a request; the library itself waits without end."""

_STATES: dict[str, InstanceState] = {
    "BUILD": "starting",
    "REBUILD": "starting",
    "ACTIVE": "running",
    "REBOOT": "running",
    "HARD_REBOOT": "running",
    "PASSWORD": "running",
    "MIGRATING": "running",
    "DELETED": "ending",
    "SOFT_DELETED": "ending",
}
"""Source: "Server Status" in the Compute API's guide. All others (ERROR, SHUTOFF, SHELVED ...) are of no use here."""

Result = TypeVar("Result")


class OpenStackSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all servers have in common; node types say their `flavor`, and may say any of the others for themselves.

    Attributes:
        cloud: of clouds.yaml; "": the OS_* variables.
        image: name or id.
        network: name or id; "": Nova's choice, where the project has but one.
        key_name: the key pair that lets `ssh` in.
        security_groups: names; they must let the cluster's machines reach each other.
        availability_zone: "": any.
        user: the image's own user, whom the node runs as ("ubuntu", "cloud-user", "almalinux" ...).
        identity_file: the private key of `key_name`, for `cluster exec` and `attach`.
        folder: where on the machine the node's files lie.
    """

    cloud: str = ""
    image: str = ""
    network: str = ""
    key_name: str = ""
    security_groups: list[str] = []
    availability_zone: str = ""
    user: str = "ubuntu"
    identity_file: str = ""
    folder: str = "/var/lib/limelight"


class OpenStackMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What a node type's `machine` may say: its `flavor`, and other values than `OpenStackSettings` has."""

    flavor: str = ""
    image: str = ""
    network: str = ""
    key_name: str = ""
    security_groups: list[str] = []
    availability_zone: str = ""


class OpenStackProvider(NodeProvider):
    """Instances are servers. What a node type's `machine` has is said by `OpenStackMachine`.

    Args:
        cluster: names the cluster.
        settings: see there.
    """

    def __init__(self, cluster: str, settings: OpenStackSettings) -> None:
        super().__init__(cluster)
        self._settings = settings
        self._own = threading.local()
        self._idle: list[Any] = []
        self._found: dict[tuple[str, str], str] = {}

    async def instances(self) -> list[Instance]:
        """See `NodeProvider.instances`."""
        return await self._in_thread(self._list)

    def shell_command(self, instance: Instance, command: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        """See `NodeProvider.shell_command`: `ssh` to the server's address, with host keys trusted on first sight.

        A new server's host key cannot be known; one that changes is refused.
        """
        settings = self._settings
        words = ["ssh", "-tt" if terminal else "-T", "-o", "StrictHostKeyChecking=accept-new"]
        words += ["-i", settings.identity_file] if settings.identity_file else []
        words += ["-l", settings.user] if settings.user else []
        return [*words, instance.address, *([shlex.join(command)] if command else [])]

    async def close(self) -> None:
        """See `NodeProvider.close`."""
        await super().close()
        while self._idle:
            self._idle.pop().close()

    async def _make(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> Instance:
        return await self._in_thread(lambda: self._make_now(node_type, name, start, role))

    async def _end(self, instance_id: str) -> None:
        await self._in_thread(lambda: self._connection().compute.delete_server(instance_id, ignore_missing=True))

    # --- in threads: the library blocks, and a connection serves one thread ---

    def _list(self, name: str = "") -> list[Instance]:
        query = {"name": f"^{name}$"} if name else {}
        servers = self._connection().compute.servers(details=True, **query)
        return [_instance_of(one) for one in servers if (one.metadata or {}).get(_CLUSTER) == self.cluster]

    def _make_now(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> Instance:
        for one in self._list(name):
            return one
        machine = {**msgspec.structs.asdict(self._settings), **node_type.machine}
        for needed in ("flavor", "image"):
            if not machine.get(needed):
                raise ProviderError(
                    f"Node type {node_type.name!r} has no {needed}: `openstack {needed} list` shows them."
                )
        network = machine["network"]
        compute = self._connection().compute
        server = compute.create_server(
            name=name,
            flavor_id=self._id_of("flavor", machine["flavor"]),
            image_id=self._id_of("image", machine["image"]),
            networks=[{"uuid": self._id_of("network", network)}] if network else "auto",
            user_data=base64.b64encode(self._user_data(node_type, name, start, role).encode()).decode(),
            metadata={_CLUSTER: self.cluster, _TYPE: node_type.name, _ROLE: role},
            **({"key_name": machine["key_name"]} if machine["key_name"] else {}),
            **({"availability_zone": machine["availability_zone"]} if machine["availability_zone"] else {}),
            **(
                {"security_groups": [{"name": n} for n in machine["security_groups"]]}
                if machine["security_groups"]
                else {}
            ),
        )
        return Instance(name, server.id, node_type.name, "starting", role=role)

    def _id_of(self, kind: str, name: Any) -> str:
        """The id of a flavour, image or network, by its name or id."""
        key = (kind, str(name))
        if key not in self._found:
            connection = self._connection()
            finders: dict[str, Callable[..., Any]] = {
                "flavor": connection.compute.find_flavor,
                "image": connection.image.find_image,
                "network": connection.network.find_network,
            }
            try:
                self._found[key] = finders[kind](str(name), ignore_missing=False).id
            except _library().exceptions.NotFoundException as error:
                text = f"The cloud has no {kind} {name!r}: `openstack {kind} list` shows those there are."
                raise ProviderError(text) from error
        return self._found[key]

    def _user_data(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> str:
        """A script for cloud-init: keeps the token private, and has systemd (where it is) keep the node's output."""
        folder, user = shlex.quote(self._settings.folder), shlex.quote(self._settings.user)
        token_file = f"{folder}/token"
        node = node_script(node_type, name, start, role, token_file)
        owner = f"chown -R {user} {folder}\n" if self._settings.user else ""
        home = f"$(getent passwd {user} | cut -d: -f6)" if self._settings.user else "$HOME"
        as_user = f"setpriv --reuid {user} --regid {user} --init-groups " if self._settings.user else ""
        unit = f"systemd-run --unit=limelight-node {f'--uid={user} ' if self._settings.user else ''}"
        return (
            f"#!/bin/sh\nset -eu\nmkdir -p -m 755 {folder}\n{token_lines(start, token_file)}"
            f"printf '%s' {shlex.quote(node)} >{folder}/start\n{owner}"
            f"export HOME={home}\n"
            "if [ -d /run/systemd/system ]; then\n"
            f'  {unit}--setenv=HOME="$HOME" sh {folder}/start\n'
            "else\n"
            f"  {as_user}setsid sh {folder}/start >{folder}/log 2>&1 </dev/null &\n"
            "fi\n"
        )

    def _connection(self) -> Any:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._idle.pop() if self._idle else self._connect()
            self._own.connection = connection
        return connection

    def _connect(self) -> Any:
        return _library().connect(cloud=self._settings.cloud or None, app_name="limelight", api_timeout=_REQUEST_S)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Do something with the library, whose errors become a provider's.

        In a daemon thread: a process that ends does not wait for a cloud that says nothing.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()

        def settle(result: Result | None, error: ProviderError | None) -> None:
            if answer.done():
                return  # nobody waits any more
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(cast("Result", result))

        def run() -> None:
            result, failure = None, None
            try:
                result = work()
            except ProviderError as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - it has many classes without a common base
                failure = ProviderError(_explain(error))
                failure.__cause__ = error
            if (connection := getattr(self._own, "connection", None)) is not None:
                self._idle.append(connection)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, result, failure)

        threading.Thread(target=run, name="openstack", daemon=True).start()
        return await answer


def _library() -> Any:
    try:
        import openstack
    except ImportError as error:
        raise ProviderError('OpenStack needs a package: pip install "limelight[openstack]"') from error
    return openstack


def _explain(error: Exception) -> str:
    """The library's error for people. It has many classes without a common base, keystoneauth's and requests' too."""
    text = getattr(error, "details", None) or str(error)
    if type(error).__name__ in {"Unauthorized", "HttpUnauthorized"}:
        return f"OpenStack does not accept the credentials: {text} Does `openstack server list` work?"
    if type(error).__name__ in {"ConfigException", "MissingRequiredOptions", "MissingAuthPlugin", "NoMatchingPlugin"}:
        return (
            f"There are no usable credentials: {text} Name a cloud of clouds.yaml, or source the project's openrc file."
        )
    return f"OpenStack: {text} ({type(error).__name__})"


def _instance_of(server: Any) -> Instance:
    metadata = server.metadata or {}
    state = _STATES.get(server.status, "failed")
    if server.task_state == "deleting":
        state = "ending"
    fault = (server.fault or {}).get("message", "") if state == "failed" else ""
    text = f"the server is {server.status}{f': {fault}' if fault else ''}" if state != "running" else ""
    addresses = [one for network in (server.addresses or {}).values() for one in network]
    fixed = [one["addr"] for one in addresses if one.get("version") == 4] or [one["addr"] for one in addresses]  # noqa: PLR2004 - IPv4
    floating = [one["addr"] for one in addresses if one.get("OS-EXT-IPS:type") == "floating"]
    role: Role = "head" if metadata.get(_ROLE) == "head" else "worker"
    address = (floating or fixed or [""])[0]
    return Instance(server.name, server.id, metadata.get(_TYPE, ""), state, address, text, role)
