"""What a node's processes say to the head is said until a head has answered, and answers find their way back."""

from typing import NamedTuple

import pytest

from limelight.actors.contract import ActorUnreferenced, FindActor, HeadReplaced, encode
from limelight.cluster.cluster_message import FromProcess, ToProcess
from limelight.cluster.node.head_relay import HeadRelay
from limelight.cluster.system_process import Arrived, Lost
from limelight.transport.address import ProcessAddress
from limelight.transport.error import PeerLostError
from limelight.transport.protocol import Call, Reply

FIRST, SECOND = ProcessAddress("first", "h"), ProcessAddress("second", "h")
LOST = PeerLostError("the link was cut")


class Asked(NamedTuple):
    """A question that the relay has sent to a head."""

    head: str
    said: FromProcess
    answer: object


class Channel:
    """To one of the node's processes, or to a head."""

    def __init__(self, process_id: str) -> None:
        self.peer = ProcessAddress(process_id, "h")
        self.replies: list[tuple[int, bytes, bool]] = []
        self.told: list[str] = []

    def reply(self, call_id: int, body: bytes, failed: bool = False) -> None:
        self.replies.append((call_id, body, failed))

    def notify(self, actor: str, method: str, body: bytes) -> None:
        self.told.append(method)


class Process:
    """The node's process: what the relay sends, and to whom."""

    def __init__(self) -> None:
        self.links = self.endpoint = self
        self.asked: list[Asked] = []
        self.notified: list[tuple[str, object]] = []
        self.channels: dict[str, Channel] = {}

    def ask(self, address, actor, body, answer) -> None:
        self.asked.append(Asked(address.process_id, body, answer))

    def notify(self, address, actor, body) -> None:
        self.notified.append((address.process_id, body))

    def channel(self, process_id: str) -> Channel | None:
        return self.channels.get(process_id)

    def sent(self) -> list[tuple[str, str, str]]:
        """To which head, of whom and what, since this was last asked."""
        said = [(one.head, one.said.sender.process_id, one.said.method) for one in self.asked]
        self.asked = []
        return said


@pytest.fixture
async def node():
    process = Process()
    return process, HeadRelay(process)


def say(relay: HeadRelay, channel: Channel, body, call_id: int = 0) -> None:
    relay.on_receive(Arrived(channel, Call(call_id, "head", type(body).__name__, encode(body))))


async def test_what_is_said_while_no_head_is_there_waits_and_keeps_its_order(node):
    process, relay = node
    driver, worker = Channel("driver"), Channel("worker")
    say(relay, driver, FindActor("a", ""), 7)
    say(relay, worker, ActorUnreferenced(b"x", calls_pending=False))
    assert process.sent() == []
    relay.connected(FIRST)
    assert process.sent() == [("first", "driver", "FindActor"), ("first", "worker", "ActorUnreferenced")]


async def test_an_answer_goes_to_the_process_that_asked_and_the_question_is_over(node):
    process, relay = node
    driver, worker = Channel("driver"), Channel("worker")
    relay.connected(FIRST)
    say(relay, driver, FindActor("a", ""), 7)
    say(relay, worker, FindActor("b", ""), 7)
    process.asked[1].answer(Reply(1, False, b"of b"))
    process.asked[0].answer(Reply(2, True, b"no"))
    assert (driver.replies, worker.replies) == ([(7, b"no", True)], [(7, b"of b", False)])
    process.sent()
    relay.connected(FIRST)
    assert process.sent() == []


async def test_what_a_head_left_unanswered_is_said_to_the_next_before_all_else(node):
    process, relay = node
    driver = Channel("driver")
    relay.connected(FIRST)
    say(relay, driver, ActorUnreferenced(b"x", calls_pending=False))
    say(relay, driver, FindActor("a", ""), 7)
    for asked in process.asked:
        asked.answer(LOST)
    relay.disconnected()
    process.sent()
    say(relay, driver, FindActor("b", ""), 8)
    relay.connected(SECOND)
    said = process.sent()
    assert said[:3] == [
        ("second", "driver", "ActorUnreferenced"),
        ("second", "driver", "FindActor"),
        ("second", "driver", "FindActor"),
    ]
    assert said[3:] == [("second", "driver", "ProcessHere")]


async def test_a_question_that_was_answered_twice_is_answered_once(node):
    process, relay = node
    driver = Channel("driver")
    relay.connected(FIRST)
    say(relay, driver, FindActor("a", ""), 7)
    relay.connected(SECOND)
    first, second = process.asked[:2]
    first.answer(Reply(1, False, b"late"))
    second.answer(Reply(1, False, b"again"))
    assert driver.replies == [(7, b"late", False)]


async def test_a_head_learns_of_a_process_that_ended_while_there_was_none(node):
    process, relay = node
    driver = Channel("driver")
    relay.connected(FIRST)
    say(relay, driver, ActorUnreferenced(b"x", calls_pending=False))
    process.asked[0].answer(Reply(1, False, b""))
    relay.disconnected()
    process.sent()
    relay.on_receive(Lost(driver, LOST))
    relay.on_receive(Lost(Channel("one that never spoke"), LOST))
    relay.connected(SECOND)
    assert process.sent() == [("second", "driver", "ProcessGone")]
    assert process.notified == []


async def test_processes_are_told_of_another_head_and_not_of_the_same(node):
    process, relay = node
    relay.connected(FIRST)
    say(relay, Channel("driver"), ActorUnreferenced(b"x", calls_pending=False))
    relay.disconnected()
    relay.connected(FIRST)
    assert process.notified == []
    relay.disconnected()
    relay.connected(SECOND)
    assert process.notified == [("driver", HeadReplaced())]


async def test_only_the_head_that_is_followed_reaches_processes(node):
    process, relay = node
    driver = process.channels["driver"] = Channel("driver")
    relay.connected(FIRST)
    word = ToProcess("driver", "core", "ActorChanged", b"")
    say(relay, Channel("first"), word)
    relay.connected(SECOND)
    say(relay, Channel("first"), word)
    assert driver.told == ["ActorChanged"]
    relay.disconnected()
    say(relay, Channel("second"), word)  # it was on its way when the link was lost
    assert driver.told == ["ActorChanged"] * 2
    say(relay, Channel("second"), ToProcess("one that has ended", "core", "ActorChanged", b""))


async def test_nothing_is_kept_of_what_is_over(node):
    process, relay = node
    relay.connected(FIRST)
    for number in range(100):
        channel = Channel(str(number))
        say(relay, channel, FindActor("a", ""), 7)
        relay.on_receive(Lost(channel, LOST))
    for asked in process.asked:
        asked.answer(Reply(1, False, b""))
    assert not relay._unanswered
    assert not relay._speakers
