"""A caller's runtime environments: made into packages once, however many tasks and options name them."""

from types import SimpleNamespace

import pytest

from limelight.actors.contract import DefineEnvironment, EnvironmentDefinition, StorePackage, decoder_of, encode
from limelight.actors.native.environment import Environments
from limelight.transport.address import ProcessAddress

NODE, HEAD, FIRST = (ProcessAddress(name * 16, f"{name}:1") for name in ("aa", "bb", "cc"))


class Hub:
    """Takes down what is said to whom."""

    def __init__(self, folder) -> None:
        self.node, self.head = NODE, HEAD
        self.identity = SimpleNamespace(session_folder=str(folder))
        self.said = []

    def ask(self, address, _, body) -> bytes:
        self.said.append((address, body))
        return b""

    def count(self, kind) -> int:
        return sum(isinstance(body, kind) for _, body in self.said)


@pytest.fixture
def hub(tmp_path):
    return Hub(tmp_path)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "text").write_text("content")
    return str(folder)


def test_a_folder_is_packed_stored_and_described_once(hub, project):
    environments = Environments(hub)
    keys = {environments.key({"working_dir": project, "env_vars": {"A": "1"}}) for _ in range(3)}
    assert len(keys) == 1
    assert (hub.count(StorePackage), hub.count(DefineEnvironment)) == (1, 1)
    assert environments.key({}) == ""


def test_what_is_inherited_is_still_to_be_had_where_it_came_from(hub, project):
    """A worker's node may not have what its tasks' nodes will be asked for."""
    first = Environments(hub)
    first.adopt({"working_dir": project})
    [(_, defined)] = [said for said in hub.said if isinstance(said[1], DefineEnvironment)]
    described = decoder_of(EnvironmentDefinition).decode(defined.definition)
    assert set(described.packages.values()) == {NODE}
    moved = EnvironmentDefinition(described.env, dict.fromkeys(described.packages, FIRST))
    child = Environments(hub, defined.key, encode(moved))
    child.key({"env_vars": {"A": "1"}})
    described = decoder_of(EnvironmentDefinition).decode(hub.said[-1][1].definition)
    assert set(described.packages.values()) == {FIRST}
