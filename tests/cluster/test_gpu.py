"""GPUs that a session was told it has, as tasks and actors see them."""

import os

import pytest

import limelight as ll


@pytest.fixture(scope="module", autouse=True)
def session():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-abc")
        ll.init(num_cpus=4, num_gpus=2)
        yield
        ll.shutdown()


def seen():
    context = ll.get_runtime_context()
    return os.environ["CUDA_VISIBLE_DEVICES"], context.get_accelerator_ids()["GPU"], context.get_assigned_resources()


def gpus(number):
    return ll.remote(seen).options(num_gpus=number)


def test_the_session_has_what_it_was_told():
    assert ll.cluster_resources()["GPU"] == 2.0


def test_a_task_sees_the_device_it_was_given_by_the_nodes_name_for_it():
    visible, ids, resources = ll.get(gpus(1).remote())
    assert visible in {"4", "GPU-abc"}
    assert ids == [visible]
    assert resources["GPU"] == 1.0


def test_several_devices_keep_the_nodes_order():
    visible, ids, _ = ll.get(gpus(2).remote())
    assert visible == "4,GPU-abc"
    assert ids == ["4", "GPU-abc"]


def test_tasks_without_gpus_see_what_the_node_sees():
    visible, ids, resources = ll.get(ll.remote(seen).remote())
    assert visible == "4,GPU-abc"
    assert ids == []
    assert "GPU" not in resources


@ll.remote
class Holder:
    def seen(self):
        return seen()[0]

    def ids(self):
        return ll.get_gpu_ids()


def test_halves_share_a_device():
    holders = [Holder.options(num_gpus=0.5).remote() for _ in range(4)]
    visible = ll.get([holder.seen.remote() for holder in holders], timeout=30)
    assert sorted(visible) == ["4", "4", "GPU-abc", "GPU-abc"]


def test_an_actor_has_a_device_for_life():
    one, other = (Holder.options(num_gpus=1).remote() for _ in range(2))
    first, second = ll.get([one.seen.remote(), other.seen.remote()], timeout=30)
    assert {first, second} == {"4", "GPU-abc"}
    assert ll.get(one.ids.remote()) == ([4] if first == "4" else ["GPU-abc"])


def test_more_than_are_visible_cannot_be_offered(monkeypatch):
    from limelight.cluster.node.inventory import take_inventory
    from limelight.cluster.node.node_config import NodeConfig

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES names 1"):
        take_inventory(NodeConfig(num_gpus=2), "here", "ab" * 28)
