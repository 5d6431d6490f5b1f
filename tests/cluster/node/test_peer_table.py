"""What a node knows of the others, and what becomes of what they have left."""

from types import SimpleNamespace

import pytest

from limelight.actors.contract import NodesGone, encode
from limelight.cluster.cluster_message import PeerNodes
from limelight.cluster.node.peer_table import PeerTable
from limelight.transport.address import ProcessAddress
from limelight.transport.protocol import Call

HERE, FIRST, SECOND = (ProcessAddress(name, name) for name in ("here", "first", "second"))


class Process:
    """The node's process, with a channel to each of some others."""

    def __init__(self) -> None:
        self.address = HERE
        self.endpoint = self
        self.channels: dict[str, SimpleNamespace] = {}
        self.told: list[tuple[str, list[str]]] = []
        self.given_up: list[str] = []

    def connect(self, address: ProcessAddress, kind: str) -> None:
        self.channels[address.process_id] = SimpleNamespace(peer=address, peer_info={"kind": kind})

    def notify(self, address: ProcessAddress, actor: str, body: NodesGone) -> None:
        assert actor == "core"
        self.told.append((address.process_id, body.node_ids))

    def give_up(self, channel, reason: str) -> None:
        self.given_up.append(channel.peer.process_id)


@pytest.fixture
def process():
    return Process()


def tell(table: PeerTable, nodes: dict[str, ProcessAddress], **about) -> list[str]:
    return table.told(Call(0, "node", "PeerNodes", encode(PeerNodes(nodes, **about))))


def test_others_are_found_by_their_ids_and_the_node_itself_is_none_of_them(process):
    table = PeerTable(process)
    tell(table, {"h": HERE, "1": FIRST})
    assert (table.address_of("1"), table.address_of("2"), table.all()) == (FIRST, None, [FIRST])


def test_a_node_that_is_gone_is_given_up_by_all_here_and_its_address_remembered(process):
    table = PeerTable(process)
    tell(table, {"1": FIRST, "2": SECOND})
    process.connect(FIRST, "node")
    process.connect(SECOND, "node")
    process.connect(ProcessAddress("driver", "here"), "driver")
    assert tell(table, {}, gone=["1", "one that was never heard of"]) == ["first"]
    assert (process.told, process.given_up) == ([("driver", ["1"])], ["first"])
    assert (table.address_of("1"), table.last_address_of("1")) == (None, FIRST)


def test_a_whole_list_leaves_out_who_is_gone(process):
    table = PeerTable(process)
    tell(table, {"1": FIRST, "2": SECOND})
    assert tell(table, {"2": SECOND}, whole=True) == ["first"]
    assert table.all() == [SECOND]
