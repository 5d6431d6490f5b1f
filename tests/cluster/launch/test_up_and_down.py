"""`cluster up` and `down`, step by step, with a provider in memory that does what clouds do at the wrong moment."""

import pytest

from limelight.cluster.launch import head_election, launcher
from limelight.cluster.launch.cluster_file import ClusterFile, parse_cluster_file
from limelight.cluster.launch.launcher import down, up
from limelight.cluster.launch.machine_step import LaunchError
from limelight.cluster.provider.instance import Instance
from limelight.cluster.provider.node_provider import NodeProvider, ProviderError

FILE = """\
cluster_name: mine
provider: {type: local}
head_node_type: cpu
program: [~/venv/bin/cluster]
node_types:
  cpu: {resources: {CPU: 1}, min_workers: 2, max_workers: 4}
"""

FIXED = parse_cluster_file("c.yaml", FILE.replace("max_workers: 4", "max_workers: 2"))


class Cloud(NodeProvider):
    """Machines in memory. What `on_end` is called with has just been told to end."""

    def __init__(self):
        super().__init__("mine")
        self.there = {}
        self.commands = []
        self.starts = {}
        self.answers = []
        self.on_end = lambda instance_id: None
        self.refusals = []
        self.made = 0

    def add(self, name, role="worker", state="running", text=""):
        self.there[name] = Instance(name, f"id-{name}", "cpu", state, "10.0.0.1", text, role)
        return self.there[name]

    async def instances(self):
        return list(self.there.values())

    def shell_command(self, instance, command=(), *, terminal=False):
        raise NotImplementedError

    async def run_command(self, instance, command, **_):
        self.commands.append((instance.name, list(command)))
        return self.answers.pop(0) if self.answers else ""

    async def _make(self, node_type, name, start, role):
        self.starts[name] = start
        return self.add(name, role)

    async def _end(self, instance_id):
        if self.refusals:
            raise ProviderError(self.refusals.pop(0))
        self.there.pop(instance_id.removeprefix("id-"), None)
        self.on_end(instance_id)


@pytest.fixture
def cloud(monkeypatch):
    made = Cloud()
    monkeypatch.setattr(ClusterFile, "provider", lambda self: made)
    monkeypatch.setattr(launcher, "LOOK_S", 0.0)
    monkeypatch.setattr(head_election, "LOOK_S", 0.0)
    return made


@pytest.fixture
def file():
    return parse_cluster_file("c.yaml", FILE)


async def test_what_the_head_adds_while_the_cluster_goes_down_ends_too(cloud, file):
    """The head replaces each worker that it misses; its last request comes true after it is gone."""
    for name in ("w1", "w2"):
        cloud.add(name)
    cloud.add("h", role="head")
    late = []

    def replace(instance_id):
        if "h" in cloud.there:
            cloud.made += 1
            cloud.add(f"again-{cloud.made}")
        elif instance_id == "id-h":
            late.append("late")

    cloud.on_end = replace
    instances = cloud.instances

    async def listed():
        found = await instances()
        if late and not found:
            cloud.add(late.pop())
        return found

    cloud.instances = listed
    told = []
    count = await down(file, told.append, timeout=20)
    assert cloud.there == {}
    assert count == 4 + cloud.made
    assert told[0] == "ending 2 machines and the head: h, w1, w2"
    assert told[-1] == "ending 1 machine: late"


async def test_what_is_refused_to_end_is_told_and_tried_again(cloud, file):
    cloud.add("h", role="head")
    cloud.refusals = ["quota of deletions"]
    told = []
    assert await down(file, told.append, timeout=20) == 1
    assert "not ended yet: quota of deletions" in told
    cloud.add("h", role="head")
    cloud.refusals = ["never"] * 1000
    with pytest.raises(LaunchError, match=r"Still there after 0 s: h\. Run `cluster down` again"):
        await down(file, told.append, timeout=0)


async def test_a_host_that_could_not_be_asked_is_not_taken_for_empty(cloud, file):
    cloud.unseen = "lab2: connection refused"
    with pytest.raises(LaunchError, match=r"was not ended\. lab2: connection refused"):
        await down(file, lambda _: None)


async def test_machines_that_have_failed_are_ended_and_made_again(cloud, file):
    """Clouds keep them, and count them, and some send a bill."""
    cloud.add("h", role="head")
    cloud.add("w1", state="failed", text="No valid host was found")
    cloud.add("w2", state="starting")
    cloud.answers = ["", "none\n"]
    told = []
    await up(FIXED, "ab" * 32, told.append)
    assert "w1" not in cloud.there
    assert "ending what has failed: w1: No valid host was found" in told
    assert "making 1 x cpu (min_workers is 2)" in told
    assert len(cloud.there) == 3


async def test_a_head_that_has_failed_is_replaced_even_where_it_cannot_be_ended(cloud, file):
    cloud.add("old", role="head", state="failed", text="its disk is full")
    cloud.refusals = ["not now"]
    told = []
    head = await up(file, "ab" * 32, told.append)
    assert head.name != "old"
    assert told[:2] == ["ending what has failed: old: its disk is full", "not ended yet: not now"]


async def test_a_head_that_was_there_is_told_of_the_file_as_it_is_now(cloud, file):
    cloud.add("h", role="head")
    cloud.answers = ["", "changed\n"]
    told = []
    await up(file, "ab" * 32, told.append)
    [_, (name, command)] = cloud.commands
    assert (name, command[-1]) == ("h", FILE)
    assert "the head goes by the file as it is now" in told
    cloud.answers = ["", "none\n"]
    await up(file, "ab" * 32, told.append)
    assert any("adds none: `cluster down` and `cluster up`" in line for line in told)


async def test_machines_that_the_head_adds_are_not_made_here_too(cloud, file):
    told = []
    head = await up(file, "ab" * 32, told.append)
    assert list(cloud.there) == [head.name]
    assert "the head adds the other machines" in told[-1]
    assert cloud.starts[head.name].arguments[0] == "--autoscaling"
    assert len(cloud.commands) == 1, "it has the file already"


async def test_machines_that_no_head_adds_are_made_here_and_but_once(cloud, file):
    head = await up(FIXED, "ab" * 32, lambda _: None)
    assert cloud.starts[head.name].arguments == ()
    assert [one.role for one in cloud.there.values()] == ["head", "worker", "worker"]
    for again in (FIXED, file):  # the second is told that this head adds none
        cloud.answers = ["", "none\n"]
        await up(again, "ab" * 32, lambda _: None)
        assert len(cloud.there) == 3


async def test_a_head_on_a_host_that_cannot_be_asked_is_thought_of(cloud, file):
    cloud.unseen = "lab2: connection refused"
    told = []
    await up(file, "ab" * 32, told.append)
    assert told[0] == "note: a head that runs elsewhere would not be seen: lab2: connection refused"


async def test_the_home_folder_in_the_program_is_that_of_the_machine(cloud, file):
    await up(file, "ab" * 32, lambda _: None)
    [(_, command)] = cloud.commands
    assert command == ["sh", "-c", 'exec "$HOME"/venv/bin/cluster status --address 10.0.0.1:6379']
