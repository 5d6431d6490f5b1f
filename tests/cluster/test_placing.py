"""Which node a task gets: at home first, then elsewhere; where it must be, or would rather be; by what it asks for."""

import pytest

import limelight as ll
from limelight.cluster_utils import Cluster
from limelight.util.scheduling_strategies import Exists, In, NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy

from .cluster_program import PATIENCE, at, eventually, idle, where


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of four CPUs; the program is at the first, the second has a licence and a label."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    made.east = made.add_node(num_cpus=4, resources={"licence": 1}, labels={"side": "east"})
    ll.init(made.address)
    yield made
    ll.shutdown()
    made.shutdown()


class Gate:
    """A folder in which tasks say where they are, and wait until it is opened: they need their CPU all the time."""

    def __init__(self, folder):
        self.folder = folder

    def inside(self):
        return [path.read_text() for path in self.folder.glob("*.in")]

    def open(self):
        (self.folder / "open").touch()


@ll.remote
def stay(folder):
    node = ll.get_runtime_context().get_node_id()
    name = folder / ll.get_runtime_context().get_task_id()
    name.write_text(node)
    name.rename(name.with_suffix(".in"))
    eventually((folder / "open").exists)
    return node


@pytest.fixture
def gate(cluster, tmp_path):
    idle()
    made = Gate(tmp_path)
    yield made
    made.open()


def test_home_is_filled_to_a_half_and_the_rest_spills_over(cluster, gate) -> None:
    home, east = cluster.head_node.node_id, cluster.east.node_id
    first = [stay.remote(gate.folder) for _ in range(2)]
    eventually(lambda: gate.inside() == [home] * 2)
    rest = [stay.remote(gate.folder) for _ in range(6)]
    eventually(lambda: sorted(gate.inside()) == sorted([home] * 4 + [east] * 4))
    gate.open()
    ll.get([*first, *rest], timeout=PATIENCE)


def test_shares_of_a_resource_add_up_to_no_more_than_there_is(cluster, gate) -> None:
    east = cluster.east.node_id
    tasks = [stay.options(num_cpus=0.5, resources={"licence": 0.25}).remote(gate.folder) for _ in range(5)]
    eventually(lambda: gate.inside() == [east] * 4)
    assert ll.available_resources().get("licence", 0) == 0
    gate.open()
    assert ll.get(tasks, timeout=PATIENCE) == [east] * 5


def test_who_must_be_on_a_node_waits_for_it_and_who_would_like_to_goes_on(cluster, gate) -> None:
    home, east = cluster.head_node.node_id, cluster.east.node_id
    hogs = [stay.options(scheduling_strategy=at(cluster.east)).remote(gate.folder) for _ in range(4)]
    eventually(lambda: gate.inside() == [east] * 4)
    must = where.options(scheduling_strategy=at(cluster.east)).remote()
    soft = NodeAffinitySchedulingStrategy(east, soft=True, _spill_on_unavailable=True)
    assert ll.get(where.options(scheduling_strategy=soft).remote(), timeout=PATIENCE) == home
    assert ll.wait([must], timeout=0)[0] == []
    gate.open()
    ll.get(hogs, timeout=PATIENCE)
    assert ll.get(must, timeout=PATIENCE) == east


def test_label_strategies_hard_and_soft(cluster) -> None:
    east = cluster.east.node_id
    for strategy in (
        NodeLabelSchedulingStrategy(hard={"side": In("east")}),
        NodeLabelSchedulingStrategy(hard={"side": Exists()}),
        NodeLabelSchedulingStrategy(hard={}, soft={"side": In("east")}),
    ):
        assert ll.get(where.options(scheduling_strategy=strategy).remote(), timeout=PATIENCE) == east
    rather = NodeLabelSchedulingStrategy(hard={}, soft={"side": In("nowhere")})
    assert ll.get(where.options(scheduling_strategy=rather).remote(), timeout=PATIENCE)
