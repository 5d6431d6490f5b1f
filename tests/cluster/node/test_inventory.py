"""What a node finds on its machine."""

import psutil

from limelight.cluster.node.inventory import memory_limit, take_inventory
from limelight.cluster.node.node_config import NodeConfig

NODE = "ab" * 28


def test_no_more_memory_is_offered_than_the_machine_has(monkeypatch):
    monkeypatch.setattr("pathlib.Path.read_text", lambda path, **how: "max")  # no limit by a control group
    assert memory_limit() == psutil.virtual_memory().total


def test_it_is_labelled_by_its_id_and_its_kind_of_gpu():
    config = NodeConfig(num_gpus=0, resources={"accelerator_type:L4": 1, "accelerator_type:T4": 1}, labels={"a": "b"})
    expected = {"a": "b", "ray.io/node-id": NODE, "ray.io/accelerator-type": "L4"}
    assert take_inventory(config, "here", NODE).labels == expected


def test_what_its_user_says_of_the_gpu_counts():
    config = NodeConfig(num_gpus=0, resources={"accelerator_type:L4": 1}, labels={"ray.io/accelerator-type": "own"})
    assert take_inventory(config, "here", NODE).labels["ray.io/accelerator-type"] == "own"


def test_no_other_id_can_be_given():
    config = NodeConfig(num_gpus=0, labels={"ray.io/node-id": "mine"})
    assert take_inventory(config, "here", NODE).labels == {"ray.io/node-id": NODE}
