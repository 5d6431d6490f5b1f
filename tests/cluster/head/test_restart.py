"""What a head that follows another says again, and what none says before it is certain."""

import pytest

from limelight.actors import contract as c
from limelight.actors.contract import HEAD, NODE, encode
from limelight.cluster import cluster_message as cm
from limelight.cluster.head.head_state import DRAINS, FLOOR, NODES, SESSION
from limelight.cluster.job.job_details import JobStatus
from limelight.cluster.job.submit_request import SubmitRequest
from limelight.cluster.scheduling import lease_message as m
from limelight.transport.error import PeerClosedError
from limelight.transport.protocol import Reply
from tests.cluster.scheduling.node_driver import spec

from .crash_network import Channel
from .crash_world import World


@pytest.fixture
def world():
    made = World(1)
    made.run(1.0)
    return made


def restart(world) -> None:
    with world.running():
        world.crash_head()
        world.start_head()


def test_a_node_that_is_drained_is_drained_after_a_restart(world):
    node, other = world.nodes
    world.ask(cm.DrainNode(node.node_id, "maintenance", 30.0))
    world.run(1.0)
    restart(world)
    node.orders.clear()
    world.run(1.0)
    assert "DrainOrder" in node.orders
    assert "DrainOrder" not in other.orders
    assert world.head.drains.reason_of(node.node_id.hex()) == "maintenance"
    assert world.head.view.nodes[node.node_id.hex()].leaving
    world.run(200.0)
    assert node.ended == "it was drained (maintenance)"
    assert world.store.rows[DRAINS] == {}


def test_room_that_was_requested_is_requested_after_a_restart(world):
    def floor():
        return [(want.resources.units(), want.count, want.selector) for want in world.head.requested.floor]

    world.ask(c.RequestResources([{"CPU": 20_000}] * 3 + [{"GPU": 10_000}], [{}] * 3 + [{"zone": "in(a, b)"}]))
    world.run(1.0)
    asked = floor()
    restart(world)
    assert floor() == asked
    assert asked[0] == ({"CPU": 20_000}, 3, ())
    assert (asked[1][:2], asked[1][2][0].values) == (({"GPU": 10_000}, 1), ("a", "b"))
    world.ask(c.RequestResources([], []))
    world.run(1.0)
    restart(world)
    assert floor() == []
    assert world.store.rows[FLOOR] == {}


def test_room_is_promised_only_when_that_is_kept(world):
    written, world.writer.step = world.writer.step, lambda: False
    answers = world.ask(c.RequestResources([{"CPU": 20_000}], [{}]))
    world.run(1.0)
    assert answers == []
    world.writer.step = written
    world.run(1.0)
    assert [answer.failed for answer in answers] == [False]


def test_a_node_learns_of_jobs_that_ended_while_it_could_not_hear(world):
    node, user = world.nodes[0], world.users["user0"]
    job = c.RegisterDriver(user.process.address, b"lives", "", log_to_driver=False)
    with world.running():
        node.process.notify(node.process.address, HEAD, job)
    world.run(1.0)
    node.known_jobs = (b"lives", b"ended")
    restart(world)
    world.run(1.0)
    assert [event for event in node.told if isinstance(event, m.JobEnded)] == [m.JobEnded(b"ended")]


def test_a_node_is_not_told_that_it_can_be_used_before_that_is_kept(world):
    world.store.rows[NODES].clear()
    with world.running():
        world.crash_head()
        world.store.rows[NODES].clear()
        world.start_head()
        written, world.writer.step = world.writer.step, lambda: False
    node = world.nodes[0]
    node.registered = False
    world.run(1.0)
    assert not node.registered
    world.writer.step = written
    world.run(1.0)
    assert node.registered


def test_a_node_that_a_head_before_had_given_up_is_told_so_when_it_comes_back(world):
    with world.running():
        world.crash_head()
        world.store.rows[NODES].clear()
        world.start_head()
    world.run(1.0)
    assert [node.ended for node in world.nodes] == ["it has not registered"] * 2
    assert not world.head.nodes


def test_a_node_is_not_given_up_by_a_head_that_cannot_be_sure_to_lead(world):
    world.writer.step = lambda: False  # another has taken over, and this one will learn of it
    node = world.nodes[0]
    with world.running():
        world.head.node_desk.end(node.node_id.hex(), "it was silent")
    world.run(5.0)  # it goes on reporting
    assert not node.ended


def test_a_node_that_asked_who_leads_before_this_head_did_is_not_taken_for_gone(world):
    """It has closed its connection to one that stood by, which hears of that when it leads."""
    node = world.nodes[0]
    restart(world)
    with world.running():
        world.head.on_lost(Channel(world.head_process, node.process), PeerClosedError("closed the channel"))
    world.run(10.0)
    assert not node.ended
    assert node.node_id.hex() in world.head.nodes
    with world.running():
        world.head.on_lost(Channel(world.head_process, node.process), PeerClosedError("closed the channel"))
    assert node.node_id.hex() not in world.head.nodes, "from one that leads a node goes for good"


def test_a_node_keeps_what_it_passed_on_until_the_head_has_kept_it(world):
    node, job = world.nodes[0], c.RegisterDriver(world.users["user0"].process.address, b"job", "", log_to_driver=False)
    written, world.writer.step = world.writer.step, lambda: False
    with world.running():
        node.process.notify(node.process.address, HEAD, job)
    world.run(1.0)
    assert len(node.relay._unanswered) == 1
    world.writer.step = written
    world.run(1.0)
    assert not node.relay._unanswered


def test_a_head_asks_nobody_before_it_has_kept_what_it_decided(world):
    answers: list[Reply] = []
    written, world.writer.step = world.writer.step, lambda: False
    with world.running():
        world.head.state.put(SESSION, "name", "s")
        world.head.process.ask(world.nodes[0].process.address, NODE, c.DescribeDeath("worker"), answers.append)
    world.run(1.0)
    assert answers == []
    world.writer.step = written
    world.run(1.0)
    assert len(answers) == 1


def test_nodes_have_a_while_longer_to_come_back_to_a_head_that_was_restarted(world):
    late, gone = world.nodes
    late._follow = gone._follow = lambda *_: None
    restart(world)
    world.run(8.0)
    assert set(world.head.nodes) == {late.node_id.hex(), gone.node_id.hex()}
    del late._follow
    world.run(5.0)
    assert set(world.head.nodes) == {late.node_id.hex()}


def test_nothing_is_placed_on_a_node_before_it_is_back(world, monkeypatch):
    node, away = world.nodes
    want = m.DemandChanged("user0", b"class", spec(CPU=1000), wanted=2, version=1)  # one here, one elsewhere

    def places() -> set[str]:
        return {event.node_id for event in node.told if isinstance(event, m.Place)}

    monkeypatch.setattr(away, "_follow", lambda *_: None)
    restart(world)
    with world.running():
        node.feed(want)
    world.run(3.0)
    assert away.node_id.hex() not in places()
    monkeypatch.undo()
    world.run(1.0)
    assert away.node_id.hex() in places()


def test_nodes_follow_a_head_that_has_begun_to_lead_although_the_one_before_goes_on(world):
    with world.running():
        world.start_head()  # the one before is cut off from the store, and does not know of it
    world.run(10.0)
    assert [node.head for node in world.nodes] == [world.head_process.address] * 2
    assert not any(node.ended for node in world.nodes)
    assert set(world.head.view.nodes) == {node.node_id.hex() for node in world.nodes}


def test_nothing_is_left_of_a_cluster_that_was_ended_and_that_is_told_when_it_is_so(world):
    world.ask(c.DefineEnvironment("key", b"definition", eager=False))
    world.run(1.0)
    restart(world)  # what is there was put by a head before
    world.run(1.0)
    over: list[bool] = []
    world.head._over = lambda: over.append(True)
    written, world.writer.step = world.writer.step, lambda: False
    answers = world.ask(cm.EndCluster())
    world.run(1.0)
    assert (answers, over) == ([], [])
    world.writer.step = written
    world.run(1.0)
    assert (len(answers), over) == (1, [True])
    assert not any(world.store.rows.values())


def test_an_environment_is_known_after_a_restart(world):
    world.ask(c.DefineEnvironment("key", b"definition", eager=False))
    world.run(1.0)
    restart(world)
    answers = world.ask(c.DescribeEnvironment("key"))
    world.run(1.0)
    assert [answer.body for answer in answers] == [b"definition"]


def test_a_job_that_waits_for_room_waits_for_it_after_a_restart(world):
    with world.running():
        world.head.submissions.submit(SubmitRequest(entrypoint="true", submission_id="mine", entrypoint_num_cpus=10**6))
    world.run(1.0)
    restart(world)
    world.run(1.0)
    job = world.head.submissions.find("mine")
    assert (job.spec.entrypoint, job.status) == ("true", JobStatus.PENDING)
    assert world.head.actors.directory.table.actors[job.spec.actor_id].state == "PENDING_CREATION"


def test_a_question_of_a_process_that_died_is_kept_by_nobody(world):
    user, node = world.users["user0"], world.nodes[0]
    with world.running():
        user.ask(c.CreateGroup(b"g" * 18, [{"CPU": 10**9}], "PACK", "", "", False, b"", user.name))
        user.ask(c.AwaitGroup(b"g" * 18))
    world.run(1.0)
    assert len(node.relay._unanswered) == 1
    with world.running():
        world.end(user.process)
    world.run(1.0)
    assert not node.relay._unanswered


def test_an_actor_that_was_killed_while_it_was_made_is_made_once_more(monkeypatch):
    world = World(1, nodes=1)
    world.run(1.0)
    monkeypatch.setattr(world.random, "choice", lambda options: options[-1])  # it takes half a second
    user, actor_id = world.users["user0"], b"a" * 16
    lease = c.LeaseSpec({}, {}, {}, "", b"job")
    world.creations[b"make"] = actor_id
    creation = encode(c.Creation(b"", b"make"))
    spec = c.ActorSpec(
        actor_id, "A", "", "", False, -1, user.process.address, lease, lease, True, b"", True, creation
    )  # fmt: skip
    with world.running():
        user.ask(c.RegisterActor(spec, get_if_exists=False))
    world.run(0.3)
    with world.running():
        user.ask(c.KillActor(actor_id, no_restart=False, request=b"1"))
    world.run(0.3)  # the first constructor has ended, the second has not
    restart(world)
    world.run(2.0)
    workers = [worker for node in world.nodes for worker in node.workers.values()]
    assert sum(worker.constructions.count(actor_id) for worker in workers) == 2
    assert world.head.actors.directory.table.actors[actor_id].state == "ALIVE"
