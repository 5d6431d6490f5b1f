"""A node follows one head at a time: the one with the highest term, and whatever an earlier one says is not done."""

import socket
from types import SimpleNamespace

from limelight.actors.contract import NODE
from limelight.cluster.cluster_message import KnownHeads, NodeDrained, NodeExpired, PeerNodes
from limelight.cluster.node import head_joining, head_link
from limelight.cluster.scheduling import lease_message as m
from tests.waiting import until

from .link_world import JOB, settled


async def test_a_node_does_what_its_head_orders_and_nothing_that_another_does(world):
    head, stranger = await world.head(1), await world.head(1)
    node = await world.node(head)
    head.order(JOB, node.process.address)
    await until(lambda: node.orders == [JOB.event])
    for order in (JOB, PeerNodes({"x": head.process.address}), NodeExpired("no"), KnownHeads(["127.0.0.1:1"])):
        stranger.order(order, node.process.address)
    for method in ("StartActor", "TerminateActor", "RequestLightWorker", "ReleaseLightWorker", "DrainOrder"):
        stranger.process.links.notify(node.process.address, NODE, type(method, (NodeDrained,), {}, frozen=True)(b""))
    await settled(stranger, node)
    assert node.orders == [JOB.event]
    assert node.manager.ended == []
    assert node.link.peers.address_of("x") is None


async def test_a_node_follows_a_head_that_has_begun_to_lead_and_the_one_before_no_more(world):
    old, new = await world.head(1), await world.head(2)
    node = await world.node(old)
    new.order(new.leads, node.process.address)
    await until(lambda: new.registered)
    assert new.registered[0].back
    await until(lambda: node.moved_to == [new.process.address.tcp])
    await until(lambda: m.HeadConnected() in node.manager.fed[1:])
    old.order(NodeExpired("it was silent"), node.process.address)
    old.order(JOB, node.process.address)
    await settled(old, node)
    assert (node.orders, node.manager.ended) == ([], [])
    new.order(JOB, node.process.address)
    await until(lambda: node.orders == [JOB.event])


async def test_a_head_that_was_replaced_does_not_get_a_node_back(world):
    old, new = await world.head(1), await world.head(2)
    node = await world.node(old)
    new.order(new.leads, node.process.address)
    await until(lambda: new.registered)
    old.order(old.leads, node.process.address)
    new.order(KnownHeads([new.process.address.tcp, old.process.address.tcp]), node.process.address)
    await settled(old, node)
    await settled(new, node)
    await new.process.close()
    third = await world.head(3, port=int(new.process.address.tcp.rpartition(":")[2]))
    await until(lambda: third.registered)
    assert len(old.registered) == 1


async def test_a_head_of_another_session_is_not_followed_on_its_own_word(world):
    head, other = await world.head(1), await world.head(9, session="another")
    node = await world.node(head)
    other.order(other.leads, node.process.address)
    await settled(other, node)
    head.order(JOB, node.process.address)
    await until(lambda: node.orders == [JOB.event])
    assert not other.registered


async def test_a_head_that_has_lost_its_state_takes_the_node_back_to_tell_it_to_begin_anew(world):
    head = await world.head(7)
    node = await world.node(head)
    await head.process.close()
    fresh = await world.head(1, session="a new one", port=int(head.process.address.tcp.rpartition(":")[2]))
    await until(lambda: fresh.registered)
    fresh.order(NodeExpired("it has not registered"), node.process.address)
    await until(lambda: node.manager.ended == [("it has not registered", False)])


async def test_a_head_that_goes_while_it_takes_a_node_back_is_waited_for_once(world):
    head = await world.head(1)
    port = int(head.process.address.tcp.rpartition(":")[2])
    node = await world.node(head)
    await head.process.close()
    second = await world.head(2, port=port)
    second.answers = False
    await until(lambda: second.registered)
    await second.process.close()
    third = await world.head(3, port=port)
    await until(lambda: third.registered)
    await until(lambda: node.link._waiting is None)
    assert len(third.registered) == 1
    third.order(JOB, node.process.address)
    await until(lambda: node.orders == [JOB.event])


async def test_a_head_that_is_there_and_says_why_it_answers_nothing_is_not_asked_again_and_again(world, monkeypatch):
    monkeypatch.setattr(head_link, "_BACK_S", 0.2)
    head = await world.head(1)
    node = await world.node(head)
    await head.process.close()
    second = await world.head(2, port=int(head.process.address.tcp.rpartition(":")[2]))
    second.answers, second.trouble = False, "the disk is full"
    await until(lambda: second.registered and node.link._waiting is None)
    second.order(JOB, node.process.address)
    await until(lambda: node.orders == [JOB.event])


async def test_an_address_that_is_silent_does_not_keep_a_node_from_the_next(world, monkeypatch):
    """As that of a host without power: it does not even refuse."""
    monkeypatch.setattr(head_link, "_GREET_S", 0.3)
    monkeypatch.setattr(head_joining, "_FIRST_GREET_S", 1e6)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        head, third = await world.head(1), await world.head(2)
        node = await world.node(head)
        gone = head.process.address.tcp
        addresses = [gone, f"127.0.0.1:{silent.getsockname()[1]}", third.process.address.tcp]
        head.order(KnownHeads(addresses), node.process.address)
        await settled(head, node)
        await head.process.close()
        await until(lambda: third.registered)


async def test_a_node_that_was_drained_while_the_head_was_away_says_so_to_the_next(world):
    head = await world.head(1)
    node = await world.node(head)
    await head.process.close()
    node.link.drained()
    second = await world.head(2, port=int(head.process.address.tcp.rpartition(":")[2]))
    await until(lambda: "NodeDrained" in second.said)


async def test_a_head_that_ends_with_its_cluster_is_not_dialled_anew_when_it_says_goodbye(world):
    head = await world.head(1)
    node = await world.node(head)
    head.order(NodeExpired("the cluster was stopped", over=True), node.process.address)
    await until(lambda: node.manager.ended == [("the cluster was stopped", True)])
    lost: list[str] = []
    node.manager.link = SimpleNamespace(
        process_lost=lambda *told: (node.link.process_lost(*told), lost.append(told[0]))
    )
    await head.process.close()
    await until(lambda: lost == [head.process.address.process_id])
    assert node.link._waiting is None


async def test_a_defect_while_a_node_looks_for_its_head_does_not_keep_it_away(world, monkeypatch):
    head = await world.head(1)
    node = await world.node(head)
    greet, failed = node.link.greet, []

    async def fails_once():
        if not failed:
            failed.append(True)
            raise LookupError("a defect")
        await greet()

    monkeypatch.setattr(node.link, "greet", fails_once)
    await head.process.close()
    again = await world.head(2, port=int(head.process.address.tcp.rpartition(":")[2]))
    await until(lambda: again.registered)
    assert failed
