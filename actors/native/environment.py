"""Runtime environments on the caller's side: what a task asks for, merged with its job's and its parent's."""

import json
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import runtime_env
from ..contract import (
    HEAD,
    NODE,
    DefineEnvironment,
    EnvironmentDefinition,
    StorePackage,
    decoder_of,
    encode,
)
from ..package import build_package
from ..runtime_env import RuntimeEnv

if TYPE_CHECKING:
    from ...transport.address import ProcessAddress
    from .hub import Hub


class Environments:
    """Names environments by their content, and tells the head what the names stand for. Thread-safe.

    Args:
        hub: of the process.
        key: of the process's own environment; "" is the default one.
        definition: what it stands for, encoded.
    """

    def __init__(self, hub: "Hub", key: str = "", definition: bytes = b"") -> None:
        self._hub = hub
        self._key = key
        self._own = RuntimeEnv()
        self._homes: dict[str, ProcessAddress] = {}
        if definition:
            known: EnvironmentDefinition = decoder_of(EnvironmentDefinition).decode(definition)
            self._own = RuntimeEnv.deserialize(known.env)
            self._homes = dict(known.packages)
        self._keys: dict[str, str] = {}
        self._defined = {"", key}
        self._lock = threading.Lock()

    @property
    def own(self) -> Mapping[str, Any]:
        """The environment that this process runs in, and whatever it starts inherits."""
        return self._own

    def definition(self) -> bytes:
        """`own` for a process that shall inherit it: an encoded `EnvironmentDefinition`; b"" where it is empty."""
        with self._lock:
            return self._encoded(self._own) if self._own else b""

    def adopt(self, given: Mapping[str, Any]) -> None:
        """Make an environment the job's. Blocks until its packages are stored.

        Raises:
            ValueError, TypeError, NotImplementedError: it makes no sense; see `RuntimeEnv`.
            OSError: one of its files cannot be read.
        """
        with self._lock:
            self._own = runtime_env.packaged(RuntimeEnv.of(given), self._upload)
            self._key = self._define(self._own, eager=self._own.get("config", {}).get("eager_install", True))

    def key(self, given: Mapping[str, Any]) -> str:
        """The key of the environment that results for a task with this `runtime_env`; "" is the default environment.

        Errors as `adopt`.
        """
        if not given:
            return self._key
        given = runtime_env.portable(RuntimeEnv.of(given))
        asked = json.dumps(given, sort_keys=True)
        with self._lock:
            found = self._keys.get(asked)
            if found is None:
                own = runtime_env.packaged(given, self._upload)
                found = self._keys[asked] = self._define(runtime_env.merge(self._own, own))
            return found

    def _define(self, env: RuntimeEnv, *, eager: bool = False) -> str:
        key = runtime_env.key(env)
        if key not in self._defined:
            definition = self._encoded(env)
            self._hub.ask(self._hub.head, HEAD, DefineEnvironment(key, definition, eager))
            self._defined.add(key)
        return key

    def _encoded(self, env: RuntimeEnv) -> bytes:
        homes = {uri: self._homes.get(uri, self._hub.node) for uri in env.uris()}
        return encode(EnvironmentDefinition(env.serialize(), homes))

    def _upload(self, path: Path, excludes: list[str], keep_name: bool) -> str:
        """Store a package with the node manager, which is on the same machine, so that a path is enough."""
        with tempfile.TemporaryDirectory(prefix="package-", dir=self._hub.identity.session_folder) as folder:
            package = build_package(path, Path(folder), excludes=excludes, keep_name=keep_name)
            self._hub.ask(self._hub.node, NODE, StorePackage(package.uri, str(package.path)))
        self._homes[package.uri] = self._hub.node
        return package.uri
