"""Calls about runtime environments and their packages."""

from ...transport.address import ProcessAddress
from .body import Body


class EnvironmentDefinition(Body, frozen=True):
    """A runtime environment beside its key, which says nothing about its content: that may be secret.

    Attributes:
        env: a packaged `RuntimeEnv`, in JSON.
        packages: the node manager that has each of its packages, by URI.
    """

    env: str
    packages: dict[str, ProcessAddress]


class DefineEnvironment(Body, frozen=True):
    """To the head: what a key stands for, before anybody asks for a worker of it. Answered with an empty body.

    `eager`: all nodes set it up now.
    """

    key: str
    definition: bytes
    eager: bool = False


class PrepareEnvironment(Body, frozen=True):
    """To a node manager, from the head: this environment will be wanted soon, as long as the job is not over."""

    key: str
    job_id: bytes


class DescribeEnvironment(Body, frozen=True):
    """To the head, from a node manager. Answered with an `EnvironmentDefinition`; empty where it is unknown."""

    key: str


class StorePackage(Body, frozen=True):
    """To the own node manager: take in the archive that lies at `path`. Answered with an empty body."""

    uri: str
    path: str


class ReadPackage(Body, frozen=True):
    """To a node manager: a part of the archive of a package it has. Answered with the bytes; none at its end."""

    uri: str
    offset: int
    size: int
