"""What a cluster's file says: see docs/cluster-yaml.md."""

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec

from ...actors import option_rule
from ..autoscaler.config import ScalingConfig
from ..byte_size import parse_bytes
from ..provider.instance import NodeType, check_name
from ..provider.kubernetes import KubernetesMachine, KubernetesProvider, KubernetesSettings
from ..provider.local import LocalProvider
from ..provider.node_provider import NodeProvider
from ..provider.node_start import NodeStart
from ..provider.openstack import OpenStackMachine, OpenStackProvider, OpenStackSettings
from ..provider.slurm import SlurmProvider, SlurmSettings
from ..provider.ssh import SshMachine, SshProvider, SshSettings
from ..scheduling.labels import check_labels
from ..scheduling.resources import BYTES, ResourceSet
from .document import Document, DocumentError, read_text

EXAMPLES = {
    "": (
        "cluster_name: mine\nprovider: {type: local}\nhead_node_type: small\n"
        "node_types:\n  small: {resources: {CPU: 2}, max_workers: 4}"
    ),
    "cluster_name": "cluster_name: mine",
    "provider": "provider: {type: openstack, cloud: pouta}",
    "idle_timeout_minutes": "idle_timeout_minutes: 5",
    "launch_timeout_minutes": "launch_timeout_minutes: 10",
    "upscaling_speed": "upscaling_speed: 1.0",
    "head_port": "head_port: 6379",
    "program": "program: [/opt/venv/bin/cluster]",
    "environment": 'environment: {OMP_NUM_THREADS: "4"}',
    "head_setup_commands": 'head_setup_commands: ["pip install limelight"]',
    "worker_setup_commands": 'worker_setup_commands: ["nvidia-smi"]',
    "type": "type: openstack",
    "node_types": "node_types: {small: {resources: {CPU: 4}, max_workers: 10}}",
    "head_node_type": "head_node_type: small",
    "resources": "resources: {CPU: 4, GPU: 1, memory: 8GiB}",
    "labels": "labels: {disk: nvme}",
    "min_workers": "min_workers: 0",
    "max_workers": "max_workers: 10",
    "setup_commands": 'setup_commands: ["pip install limelight"]',
    "hosts": "hosts: [node1.example.org, node2.example.org]",
    "machine": "machine: {flavor: standard.medium}",
    "options": 'options: {qos: high, gres: "gpu:1"}',
    "security_groups": "security_groups: [default]",
    "port": "port: 22",
    "accept_new_hosts": "accept_new_hosts: true",
}


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """For node processes on this machine. `base`: the folder that they are noted in."""

    base: str = "~/.limelight/instances"


class LocalMachine(msgspec.Struct, frozen=True, kw_only=True):
    """This machine, of which there is nothing to be said."""


class TypeSection(msgspec.Struct, frozen=True, kw_only=True):
    """A node type, as it is written. See `NodeType`. Resources that are bytes may have a unit: "8GiB"."""

    resources: dict[str, float | str] = {}
    labels: dict[str, str] = {}
    min_workers: int = 0
    max_workers: int | None = None
    machine: dict[str, Any] = {}


class FileSection(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, as it is written.

    Attributes:
        cluster_name: part of all that is made for the cluster.
        provider: `type`, and that provider's settings.
        head_node_type: the type of the head's machine, which is not counted by `max_workers`.
        node_types: by name.
        max_workers: machines of all types together; None: as many as the types allow.
        upscaling_speed, idle_timeout_minutes, launch_timeout_minutes: see `ScalingConfig`.
        head_port: where the head listens.
        program: what the `cluster` command is called on the machines.
        environment: variables for the nodes' processes.
        setup_commands: run by the shell of each machine before its node; then those of the head's or of workers.
    """

    cluster_name: str
    provider: dict[str, Any]
    head_node_type: str
    node_types: dict[str, TypeSection]
    max_workers: int | None = None
    upscaling_speed: float = 1.0
    idle_timeout_minutes: float = 5.0
    launch_timeout_minutes: float = 10.0
    head_port: int = 6379
    program: list[str] = msgspec.field(default_factory=lambda: ["cluster"])
    environment: dict[str, str] = {}
    setup_commands: list[str] = []
    head_setup_commands: list[str] = []
    worker_setup_commands: list[str] = []


_SETTINGS: dict[str, type[msgspec.Struct]] = {
    "kubernetes": KubernetesSettings,
    "local": LocalSettings,
    "openstack": OpenStackSettings,
    "slurm": SlurmSettings,
    "ssh": SshSettings,
}
_MACHINE: dict[str, Any] = {
    "kubernetes": KubernetesMachine,
    "local": LocalMachine,
    "openstack": OpenStackMachine,
    "slurm": dict[str, str | int | float],
    "ssh": SshMachine,
}
"""What `machine` may have; of Slurm any option of sbatch."""
_NEEDED: dict[str, tuple[str, ...]] = {"kubernetes": ("image",), "openstack": ("flavor", "image"), "ssh": ("hosts",)}
"""What must be said for each type: by its `machine`, or for all by `provider`."""

_variable = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ClusterFile(msgspec.Struct, frozen=True):
    """A checked file, and its text."""

    text: str
    section: FileSection
    node_types: dict[str, NodeType]
    settings: Any

    @property
    def name(self) -> str:
        """The cluster's."""
        return self.section.cluster_name

    @property
    def kept(self) -> str:
        """Where the head's machine keeps the file, as its shell writes it."""
        return f'"$HOME/.limelight/clusters/{self.name}.yaml"'

    def is_elastic(self) -> bool:
        """Whether there may be more machines at one time than at another."""
        return any(one.max_workers > one.min_workers for one in self.node_types.values())

    def head_type(self) -> NodeType:
        """What the head's machine is."""
        return self.node_types[self.section.head_node_type]

    def scaling(self) -> ScalingConfig:
        """What an autoscaler of the cluster goes by."""
        section = self.section
        most = sum(one.max_workers for one in self.node_types.values())
        return ScalingConfig(
            node_types=self.node_types,
            max_workers=most if section.max_workers is None else section.max_workers,
            upscaling_speed=section.upscaling_speed,
            idle_timeout=60 * section.idle_timeout_minutes,
            launch_timeout=60 * section.launch_timeout_minutes,
        )

    def provider(self) -> NodeProvider:
        """A new provider of the cluster's machines."""
        match self.settings:
            case KubernetesSettings():
                return KubernetesProvider(self.name, self.settings)
            case OpenStackSettings():
                return OpenStackProvider(self.name, self.settings)
            case SlurmSettings():
                return SlurmProvider(self.name, self.settings)
            case SshSettings():
                return SshProvider(self.name, self.settings)
            case _:
                return LocalProvider(self.name, self.settings.base)

    def head_start(self, token: str) -> NodeStart:
        """How the head's machine starts."""
        section = self.section
        commands = (*section.setup_commands, *section.head_setup_commands)
        arguments: tuple[str, ...] = ()
        if self.is_elastic():
            keep = f"printf '%s' {shlex.quote(self.text)} >{self.kept}"
            commands = ('mkdir -p "$HOME/.limelight/clusters"', keep, *commands)
            arguments = ("--autoscaling", f"~/.limelight/clusters/{self.name}.yaml")
        return NodeStart(
            token=token, port=section.head_port, setup=commands, environment=section.environment,
            program=tuple(section.program), arguments=arguments,
        )  # fmt: skip

    def worker_start(self, token: str, head: str) -> NodeStart:
        """How the others start. `head`: the head's "host:port"."""
        section = self.section
        commands = (*section.setup_commands, *section.worker_setup_commands)
        return NodeStart(
            token=token, head=head, setup=commands, environment=section.environment, program=tuple(section.program)
        )


def read_cluster_file(path: str | Path) -> ClusterFile:
    """Read and check a file.

    Raises:
        DocumentError: it cannot be read, or has faults; the message has a line for each.
    """
    path = Path(path)
    return parse_cluster_file(str(path), read_text(path))


def parse_cluster_file(path: str, text: str) -> ClusterFile:
    """Check the text of a file. `path`: shown in messages; raises as `read_cluster_file`."""
    document = Document(path, text, EXAMPLES)
    section = document.read(document.root, FileSection)
    if not isinstance(section, FileSection):
        document.check()
        raise DocumentError(f"{path}:1:1: the file must be a mapping of keys to values.")
    document.guarded(
        document.find("cluster_name"), lambda: check_name(section.cluster_name, "a cluster"), "cluster_name"
    )
    kind, settings = _provider(document)
    node_types = _node_types(document, section, kind)
    _check_section(document, section)
    document.check()
    for name, one in node_types.items():
        for key in _NEEDED.get(kind, ()):
            if not one.machine.get(key) and not getattr(settings, key, ""):
                text = f"the node type {name!r} has no {key!r}: say it in its 'machine'"
                common = ", or in 'provider' for all types" if hasattr(settings, key) else ""
                document.fault(document.find("node_types", name, name=True), f"{text}{common}.")
    document.check()
    return ClusterFile(text, section, node_types, settings)


def _check_section(document: Document, section: FileSection) -> None:
    """What types alone do not say of the file's own keys."""
    if not section.node_types:
        document.fault(document.find("node_types"), "'node_types' names no type.", "node_types")
    elif section.head_node_type not in section.node_types:
        problem = f"head_node_type: there is no node type {section.head_node_type!r}"
        words = option_rule.unknown_name(problem, section.head_node_type, section.node_types)
        document.fault(document.find("head_node_type"), words)
    for key in ("upscaling_speed", "idle_timeout_minutes", "launch_timeout_minutes", "max_workers"):
        value = getattr(section, key)
        if value is not None and not value >= 0:  # which NaN is not, either
            why = "cannot be negative" if value < 0 else "is no number"
            document.fault(document.find(key), f"{key!r} is {value}, and {why}.", key)
    least = sum(one.min_workers for one in section.node_types.values() if isinstance(one, TypeSection))
    if section.max_workers is not None and least > section.max_workers >= 0:
        text = f"'max_workers' is {section.max_workers}, but the min_workers of all types together are {least}."
        document.fault(document.find("max_workers"), text)
    if not 0 < section.head_port < 1 << 16:
        text = f"'head_port' is {section.head_port}: ports go from 1 to 65535."
        document.fault(document.find("head_port"), text, "head_port")
    if not section.program:
        document.fault(document.find("program"), "'program' has no word.", "program")
    for name in section.environment:
        if not _variable.fullmatch(name):
            text = f"{name!r} is no name of a variable: letters, digits and '_', and no digit at first."
            document.fault(document.find("environment", name, name=True), text, "environment")


def _provider(document: Document) -> tuple[str, Any]:
    where = document.find("provider")
    given = document.plain(where)
    kind = given.get("type") if isinstance(given, dict) else None
    if kind not in _SETTINGS:
        problem = f"'provider' has no type {kind!r}" if kind else "'provider' needs the key 'type'"
        document.fault(
            document.find("provider", "type"), option_rule.unknown_name(problem, str(kind), _SETTINGS), "type"
        )
        return "", None
    return kind, document.read(_without(where, "type"), _SETTINGS[kind], "provider")


def _amounts(written: dict[str, float | str]) -> ResourceSet:
    amounts: dict[str, float] = {}
    for kind, amount in written.items():
        if isinstance(amount, str):
            if kind not in BYTES:
                raise ValueError(f"The amount of {kind!r} must be a number, not {amount!r}.")
            try:
                amounts[kind] = parse_bytes(amount)
            except ValueError as error:
                raise ValueError(f"{kind!r}: {error}") from None
        else:
            amounts[kind] = amount
    return ResourceSet.parse(amounts)


def _without(node: Any, key: str) -> Any:
    """A mapping's node, but for one of its keys."""
    pairs = [(name, value) for name, value in node.value if name.value != key]
    return type(node)(node.tag, pairs, node.start_mark, node.end_mark)


def _node_types(document: Document, section: FileSection, kind: str) -> dict[str, NodeType]:
    found: dict[str, NodeType] = {}
    for name, one in section.node_types.items():
        if not isinstance(one, TypeSection):
            continue  # a fault, and noted
        here = ("node_types", name)
        document.guarded(document.find(*here, name=True), lambda name=name: check_name(name, "a node type"))
        resources = document.guarded(
            document.find(*here, "resources"), lambda one=one: _amounts(one.resources), "resources"
        )
        document.guarded(document.find(*here, "labels"), lambda one=one: check_labels(one.labels), "labels")
        most = one.max_workers if one.max_workers is not None else one.min_workers
        if not 0 <= one.min_workers <= most:
            text = (
                f"min_workers is {one.min_workers} and max_workers {most}: 0 <= min_workers <= max_workers must hold."
            )
            document.fault(document.find(*here, "min_workers"), text, "max_workers")
        if one.machine and kind:
            document.read(document.find(*here, "machine"), _MACHINE[kind], "machine")
        found[name] = NodeType(
            name=name,
            resources=resources or ResourceSet(),
            labels=one.labels,
            min_workers=one.min_workers,
            max_workers=most,
            machine=one.machine,
        )
    return found
