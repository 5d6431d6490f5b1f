"""The contract of every node provider: local processes and SSH for real, the others against fakes of their services."""

import asyncio
import json

import pytest

from limelight.cluster.provider.instance import NodeType
from limelight.cluster.provider.node_provider import ProviderError
from limelight.cluster.scheduling.resources import ResourceSet
from tests.cluster.provider.grounds import GROUNDS, TOKEN

# openstacksdk 4 warns of what it does itself, at every connection and look-up: it supports InfluxDB, passes parameters
# on that will be removed, and so forth.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

CPU = NodeType(
    name="cpu", resources=ResourceSet.parse({"CPU": 2, "licence": 3}), labels={"disk": "nvme"}, max_workers=5
)


@pytest.fixture(scope="module", params=list(GROUNDS))
def ground(request, tmp_path_factory):
    """A service that gives machines, real or fake."""
    made = GROUNDS[request.param](tmp_path_factory.mktemp(request.param))
    yield made
    made.close()


@pytest.fixture
async def provider(ground):
    made = ground.provider()
    yield made
    ground.heal()
    await made.terminate([one.instance_id for one in await made.instances()])
    await ground.until(lambda: empty(made))
    await made.close()
    ground.forget()


async def empty(provider):
    return await provider.instances() == []


async def create(provider, ground, *names, node_type=CPU, **about):
    made = await provider.create(ground.fitted(node_type), names, ground.start(), **about)
    assert made.error == ""
    return made


async def listed(provider, state=None):
    return {one.name: one for one in await provider.instances() if state in {None, one.state}}


async def all_running(provider, *names):
    return set(await listed(provider, "running")) == set(names)


async def test_there_is_nothing_at_first(provider):
    assert await provider.instances() == []


async def test_what_is_made_is_listed_runs_and_knows_who_it_is(provider, ground):
    made = await create(provider, ground, "w-1", "w-2")
    assert {one.name for one in made.instances} == {"w-1", "w-2"}
    await ground.until(lambda: all_running(provider, "w-1", "w-2"))
    there = await listed(provider)
    assert {(one.node_type, one.role) for one in there.values()} == {("cpu", "worker")}
    assert len({one.instance_id for one in there.values()}) == 2
    assert all(one.address for one in there.values())


async def test_the_node_is_told_its_name_its_head_its_resources_and_the_token(provider, ground):
    await create(provider, ground, "w-1")
    report = await ground.report("w-1")
    arguments = report["arguments"]
    assert arguments[:3] == ["join", "10.0.0.1:6379", "--block"]
    options = dict(zip(arguments[3::2], arguments[4::2], strict=True))
    assert options.pop("--node-name") == "w-1"
    assert options.pop("--num-cpus") == "2"
    assert json.loads(options.pop("--resources")) == {"licence": 3}
    assert options.pop("--labels") == "disk=nvme,limelight/instance=w-1,limelight/node-type=cpu"
    assert report["token"] == TOKEN
    assert report["mode"] & 0o077 == 0, "nobody else can read it"
    assert report["greeting"] == "it's set up"


async def test_the_token_stands_in_no_command_line(provider, ground):
    await create(provider, ground, "w-1")
    await ground.report("w-1")
    assert TOKEN not in ground.seen_command_lines()
    assert TOKEN not in " ".join((await ground.report("w-1"))["arguments"])


async def test_a_head_is_told_to_be_one(provider, ground):
    await create(provider, ground, "h-1", role="head")
    assert (await ground.report("h-1"))["arguments"][:2] == ["start", "--head"]
    assert (await listed(provider))["h-1"].role == "head"


async def test_no_name_is_made_twice(provider, ground):
    requests = [create(provider, ground, "w-1", "w-2") for _ in range(3)]
    made = await asyncio.gather(*requests)
    again = await create(provider, ground, "w-2", "w-1")
    ids = {frozenset((one.name, one.instance_id) for one in answer.instances) for answer in [*made, again]}
    assert len(ids) == 1
    assert len(await provider.instances()) == 2


async def test_another_provider_object_sees_the_same_and_makes_none_twice(provider, ground):
    """As after a restart of the head, or of a late answer to a request that was given up."""
    [first] = (await create(provider, ground, "w-1")).instances
    other = ground.provider()
    try:
        assert set(await listed(other)) == {"w-1"}
        [second] = (await create(other, ground, "w-1")).instances
        assert second.instance_id == first.instance_id
        assert len(await provider.instances()) == 1
    finally:
        await other.close()


async def test_clusters_do_not_see_each_other(provider, ground):
    other = ground.provider(cluster="other")
    try:
        await create(provider, ground, "w-1")
        assert await other.instances() == []
    finally:
        await other.close()


async def test_what_is_ended_is_gone_and_others_stay(provider, ground):
    made = await create(provider, ground, "w-1", "w-2")
    ids = {one.name: one.instance_id for one in made.instances}
    await ground.until(lambda: all_running(provider, "w-1", "w-2"))
    await ground.report("w-1")
    await provider.terminate([ids["w-1"]])

    async def one_left():
        return {one.name for one in await provider.instances() if one.state != "ending"} == {"w-2"}

    await ground.until(one_left)
    await ground.until(lambda: ground.is_gone("w-1"))


async def test_ending_what_is_not_there_is_no_fault(provider, ground):
    [made] = (await create(provider, ground, "w-1")).instances
    await provider.terminate([made.instance_id])
    await ground.until(lambda: empty(provider))
    await provider.terminate([made.instance_id, made.instance_id])


async def test_what_fails_is_listed_with_what_is_known_of_it_and_can_be_cleared_away(provider, ground):
    ground.break_machines()
    [made] = (await create(provider, ground, "w-1")).instances

    async def failed():
        return "w-1" in await listed(provider, "failed")

    await ground.until(failed)
    assert ground.failure in (await listed(provider))["w-1"].text
    await provider.terminate([made.instance_id])
    await ground.until(lambda: empty(provider))


async def test_what_is_refused_is_an_error_for_people_and_what_could_be_made_is_told(provider, ground):
    room = ground.limit(2)
    names = [f"w-{i}" for i in range(room + 1)]
    made = await provider.create(ground.fitted(CPU), names, ground.start())
    assert len(made.instances) == room
    assert ground.refusal in made.error
    assert TOKEN not in made.error
    assert len(await provider.instances()) == room


async def test_a_service_that_is_away_is_an_error_and_not_an_empty_list(provider, ground):
    ground.cut()
    with pytest.raises(ProviderError):
        await provider.instances()
    made = await provider.create(ground.fitted(CPU), ["w-1"], ground.start())
    assert made.instances == ()
    assert made.error
    ground.heal()
    assert await provider.instances() == []


async def test_commands_run_on_the_machine(provider, ground):
    await create(provider, ground, "w-1")
    await ground.until(lambda: all_running(provider, "w-1"))
    [there] = await provider.instances()
    said = await provider.run_command(there, ["printf", "%s|", "a b", "it's", "$HOME"])
    assert said == "a b|it's|$HOME|"
    with pytest.raises(ProviderError, match="exit code 7"):
        await provider.run_command(there, ["sh", "-c", "exit 7"])
