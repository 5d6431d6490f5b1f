"""A node joins the head that it finds, if it fits, and knows then which head that is."""

import secrets

import pytest

from limelight.cluster.cluster_message import RegisterNode
from limelight.cluster.node.head_check import WrongHeadError
from limelight.cluster.node.head_joining import HeadJoining
from limelight.cluster.node.head_route import HeadRoute
from limelight.cluster.system_process import SystemProcess
from limelight.transport.error import ConnectError, DeadlineExceededError
from tests.waiting import until

from .link_world import NODE_ID, HeadDouble, make_endpoint


@pytest.fixture
async def process():
    made = SystemProcess()
    await made.start(make_endpoint(made, {"kind": "node"}, "127.0.0.1:0"))
    yield made
    await made.close()


@pytest.fixture
async def heads():
    made: list[HeadDouble] = []
    yield made
    for head in made:
        await head.process.close()


async def start(heads: list[HeadDouble], term: int = 1, session: str = "s", **about: str) -> HeadDouble:
    head = HeadDouble(term, session)
    head.about |= about
    heads.append(await head.start())
    return head


def joining(process: SystemProcess, head: HeadDouble) -> HeadJoining:
    return HeadJoining(process, HeadRoute(head.route), any_python=False)


async def test_a_head_that_fits_is_the_one_that_was_joined(process, heads):
    head = await start(heads, term=4, session="a session")
    joined = joining(process, head)
    await joined.greet()
    assert (joined.head.process_id, joined.session, joined.term) == (head.process.address.process_id, "a session", 4)
    assert joined.warnings == []


async def test_one_that_does_not_fit_is_asked_anew_the_next_time(process, heads):
    head = await start(heads, head="no", kind="standby")
    joined = joining(process, head)
    for _ in range(2):
        with pytest.raises(WrongHeadError, match="answers a standby"):
            await joined.greet()
        await until(lambda: not process.endpoint.channels)
    assert joined.session == ""


async def test_a_head_that_is_not_there_yet_is_found_when_it_is(process, heads, unused_tcp_port):
    late = HeadDouble(1, "s", unused_tcp_port)
    joined = HeadJoining(process, HeadRoute(late.at(unused_tcp_port)), any_python=False)
    with pytest.raises(ConnectError):
        await joined.greet()
    finding = process.spawn(joined.find(0.01, 0.02))
    heads.append(await late.start())
    await finding
    assert joined.session == "s"


async def test_a_head_that_does_not_answer_is_not_waited_for_without_end(process, heads):
    head = await start(heads)
    head.answers = False
    joined = joining(process, head)
    await joined.greet()
    said: list[int] = []
    registration = RegisterNode(secrets.token_bytes(28), process.address, "127.0.0.1", {}, {})
    with pytest.raises(DeadlineExceededError, match=r"not answered within 0\.05 s"):
        await joined.register(registration, lambda: said.append(len(head.registered)), 0.05)
    assert said == [0], "what the node says after it does not wait for the answer"


async def test_a_clock_that_is_an_hour_off_is_told(process, heads):
    head = await start(heads)
    head.clock = 3600.0
    joined = joining(process, head)
    await joined.greet()
    await joined.register(RegisterNode(NODE_ID, process.address, "127.0.0.1", {}, {}), lambda: None, 10.0)
    assert "behind the head's" in joined.warnings[0]
