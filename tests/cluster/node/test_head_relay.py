"""What a node's processes say to the head is said until a head has answered, and answers find their way back."""

from typing import NamedTuple

import pytest

from limelight.actors.contract import (
    ActorUnreferenced,
    FindActor,
    HeadNotice,
    HeadReplaced,
    HoldSubmissions,
    SetCreation,
    encode,
)
from limelight.actors.serialization import deserialize_error
from limelight.cluster.cluster_message import FromProcess, ToProcess
from limelight.cluster.node import head_relay
from limelight.cluster.node.head_patience import HeadPatience
from limelight.cluster.node.head_relay import MOST_KEPT, WINDOW, HeadRelay
from limelight.cluster.system_process import Arrived, Lost
from limelight.exceptions import RpcError
from limelight.transport.address import ProcessAddress
from limelight.transport.error import PeerLostError
from limelight.transport.protocol import Call, Reply
from tests.waiting import until

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
        self.peer_info = {"kind": "driver"}
        self.replies: list[tuple[int, bytes, bool]] = []
        self.told: list[str] = []
        self.notices: list[str] = []

    def reply(self, call_id: int, body: bytes, failed: bool = False) -> None:
        self.replies.append((call_id, body, failed))

    def notify(self, actor: str, method: str, body: bytes) -> None:
        self.told.append(method)


class Process:
    """The node's process: what the relay sends, and to whom."""

    def __init__(self) -> None:
        self.links = self.endpoint = self
        self.address = ProcessAddress("node", "h")
        self.asked: list[Asked] = []
        self.notified: list[tuple[str, object]] = []
        self.channels: dict[str, Channel] = {}

    def ask(self, address, actor, body, answer) -> None:
        self.asked.append(Asked(address.process_id, body, answer))

    def connected(self, address, then) -> None:
        then(self.channels[address.process_id])

    def notify(self, address, actor, body) -> None:
        if isinstance(body, HeadNotice):
            self.channels[address.process_id].notices.append(body.text)
        else:
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


BIG = SetCreation(b"x", bytes(64 * 1024))
"""Something to say that is large."""


def answer(process: Process) -> int:
    """The head answers all that it has heard; how much that was."""
    asked, process.asked = process.asked, []
    for one in asked:
        one.answer(Reply(1, False, b""))
    return len(asked)


async def test_a_head_that_answers_nothing_hears_no_more_than_it_can_keep(node):
    process, relay = node
    driver = Channel("driver")
    relay.connected(FIRST)
    for _ in range(200):
        say(relay, driver, BIG)
    assert WINDOW <= sum(len(one.said.body) for one in process.asked) < WINDOW + 2 * 64 * 1024
    heard = 0
    while process.asked:
        heard += answer(process)
    assert heard == 200
    assert (relay._bytes, relay._in_flight) == (0, 0)


async def test_what_the_window_held_back_is_said_in_order_to_the_head_that_comes_next(node):
    process, relay = node
    driver = Channel("driver")
    relay.connected(FIRST)
    for _ in range(100):
        say(relay, driver, BIG)
    say(relay, driver, FindActor("last", ""), 7)
    for asked in process.asked[10:20]:
        asked.answer(Reply(1, False, b""))  # out of order, as none promises an order
    relay.disconnected()
    process.asked = []
    relay.connected(FIRST)
    said = []
    while process.asked:
        said += [one.said.method for one in process.asked]
        answer(process)
    assert said == ["SetCreation"] * 90 + ["FindActor"]
    assert (relay._bytes, relay._in_flight) == (0, 0)


async def test_questions_do_not_wait_for_answers_that_come_late(node):
    process, relay = node
    relay.connected(FIRST)
    for number in range(1000):
        say(relay, Channel("driver"), FindActor("x" * 10_000, ""), number + 1)
    assert len(process.asked) == 1000


async def test_processes_are_asked_to_wait_while_too_much_waits_for_the_head(node):
    process, relay = node
    driver = Channel("driver")
    for _ in range(MOST_KEPT // (64 * 1024) + 1):
        say(relay, driver, BIG)
    assert process.notified == [("driver", HoldSubmissions(True))]
    say(relay, Channel("one that comes later"), BIG)
    assert process.notified[1:] == [("one that comes later", HoldSubmissions(True))]
    process.notified = []
    relay.connected(FIRST)
    while relay._bytes > MOST_KEPT // 2:
        assert not process.notified
        answer(process)
    assert process.notified == [
        ("driver", HoldSubmissions(False)),
        ("one that comes later", HoldSubmissions(False)),
    ]


@pytest.fixture
async def hasty(monkeypatch):
    """A node whose programs are told soon, and whose questions wait for half a second."""
    monkeypatch.setattr(head_relay, "_LOOK_S", 0.01)
    process = Process()
    made = HeadRelay(process, HeadPatience(0.5, 0.05), lambda: "10.0.0.1:6379")
    yield process, made
    made.close()


async def test_who_waits_for_a_head_that_is_away_is_told_once_and_when_it_is_back(hasty):
    process, relay = hasty
    driver = process.channels["driver"] = Channel("driver")
    quiet = process.channels["quiet"] = Channel("quiet")
    relay.disconnected()
    say(relay, driver, BIG)
    say(relay, driver, BIG)
    await until(lambda: driver.notices)
    assert "The head at 10.0.0.1:6379 is out of reach. What runs goes on; new actors" in driver.notices[0]
    assert "`cluster start --head` with the same options" in driver.notices[0]
    relay.connected(FIRST)
    answer(process)
    await until(lambda: len(driver.notices) > 1)
    assert driver.notices[1:] == ["The head at 10.0.0.1:6379 answers again."]
    assert quiet.notices == []
    await until(lambda: relay._timer is None)  # nothing is looked at any more


async def test_who_waits_for_a_head_that_is_there_and_does_not_answer_is_told_why(hasty):
    process, relay = hasty
    driver = process.channels["driver"] = Channel("driver")
    relay.connected(FIRST)
    relay.troubled("The disk is full.")
    say(relay, driver, BIG)
    await until(lambda: driver.notices)
    assert driver.notices[0].startswith(
        "The head at 10.0.0.1:6379 does not answer: The disk is full. What runs goes on"
    )


async def test_what_kept_one_head_from_answering_is_not_said_of_the_next(hasty):
    process, relay = hasty
    driver = process.channels["driver"] = Channel("driver")
    relay.connected(FIRST)
    relay.troubled("The disk is full.")
    relay.disconnected()
    relay.connected(SECOND)
    say(relay, driver, BIG)
    await until(lambda: driver.notices)
    assert driver.notices[0].startswith("The head at 10.0.0.1:6379 does not answer. What runs goes on")


async def test_a_question_is_refused_in_the_end_and_what_was_submitted_is_kept(hasty):
    process, relay = hasty
    driver = process.channels["driver"] = Channel("driver")
    relay.disconnected()
    say(relay, driver, BIG)
    say(relay, driver, FindActor("a", ""), 7)
    await until(lambda: driver.replies)
    [(call_id, body, failed)] = driver.replies
    error = deserialize_error(body)
    assert (call_id, failed, type(error)) == (7, True, RpcError)
    assert "The head at 10.0.0.1:6379 was asked for a named actor, and has not answered for 0.5 s" in str(error)
    assert "cluster start --head" in str(error)
    relay.connected(FIRST)
    assert process.sent() == [("first", "driver", "SetCreation")]
