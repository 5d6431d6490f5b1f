"""What goes wrong with Kubernetes in particular, and how pods are described."""

import msgspec
import pytest

from limelight.cluster.provider.instance import NodeType
from limelight.cluster.provider.kubernetes import KubernetesProvider, KubernetesSettings, merged
from limelight.cluster.provider.node_provider import ProviderError
from limelight.cluster.scheduling.resources import ResourceSet

from .grounds import KubernetesGround

GROUND = KubernetesGround
CPU = NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 2}))


@pytest.fixture
async def provider(ground):
    made = ground.provider()
    yield made
    ground.heal()
    await made.terminate([one.instance_id for one in await made.instances()])
    await ground.until(lambda: not ground.service.pods)
    await made.close()
    ground.forget()


async def test_a_pod_that_finds_no_node_is_starting_and_says_why(provider, ground):
    ground.service.unschedulable = True
    await provider.create(CPU, ["w-1"], ground.start())
    [pod] = await provider.instances()
    assert pod.state == "starting"
    assert "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu." in pod.text


async def test_credentials_that_have_expired_are_an_error_for_people(provider, ground):
    ground.service.expired = True
    with pytest.raises(ProviderError, match=r"refuses \(401\).*kubectl get pods"):
        await provider.instances()


async def test_a_kubeconfig_that_is_not_there_is_an_error_for_people(tmp_path):
    provider = KubernetesProvider("mine", KubernetesSettings(kubeconfig=str(tmp_path / "nothing")))
    with pytest.raises(ProviderError, match="no way to Kubernetes"):
        await provider.instances()


async def test_a_type_without_an_image_is_refused(ground):
    provider = KubernetesProvider("mine", KubernetesSettings(kubeconfig=str(ground.service.kubeconfig)))
    try:
        made = await provider.create(CPU, ["w-1"], ground.start())
    finally:
        await provider.close()
    assert made.error == "Node type 'cpu' has no image: name one, or one for all in `provider`."


async def test_an_api_that_says_nothing_is_an_error_in_time(provider, ground, monkeypatch):
    await provider.instances()
    monkeypatch.setattr("limelight.cluster.provider.kubernetes._REQUEST_S", 0.2)
    ground.service.mute = True
    with pytest.raises(ProviderError, match=r"Kubernetes has not answered within 0\.2 s"):
        await provider.instances()


async def test_a_pod_of_somebody_else_is_not_taken_for_ours(provider, ground):
    ground.service.pods["w-1"] = {"metadata": {"name": "w-1", "labels": {}}, "status": {"phase": "Running"}}
    made = await provider.create(CPU, ["w-1"], ground.start())
    del ground.service.pods["w-1"]
    assert (made.instances, made.error) == ((), "There is a pod named w-1 that is not of this cluster.")


async def test_a_pod_that_is_on_its_way_out_is_ending(provider, ground):
    await provider.create(CPU, ["w-1"], ground.start())
    await ground.report("w-1")
    ground.service.pods["w-1"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert [one.state for one in await provider.instances()] == ["ending"]


async def test_a_pod_that_is_evicted_has_failed_and_says_why(provider, ground):
    await provider.create(CPU, ["w-1"], ground.start())
    await ground.report("w-1")
    before = ground.service.pods["w-1"]["status"]
    told = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "x"}
    text = "The node was low on resource: memory."
    ground.service.pods["w-1"]["status"] = {
        "phase": "Failed", "reason": "Evicted", "message": text, "conditions": [told]
    }  # fmt: skip
    [pod] = await provider.instances()
    assert (pod.state, pod.text) == ("failed", f"the pod is Failed; Evicted: {text}")
    ground.service.pods["w-1"]["status"] = before


async def test_the_token_that_was_given_last_counts(provider, ground):
    await provider.create(CPU, ["w-1"], ground.start())
    await provider.create(CPU, ["w-2"], msgspec.structs.replace(ground.start(), token="cd" * 32))
    assert (await ground.report("w-2"))["token"] == "cd" * 32
    await ground.report("w-1")


def test_what_a_type_says_of_its_pod_is_merged_into_it(ground):
    amounts = {"CPU": 2, "GPU": 1, "memory": 4 << 30, "object_store_memory": 1 << 30}
    pod = {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "node", "imagePullPolicy": "Always"}]}
    node_type = NodeType(name="gpu", resources=ResourceSet.parse(amounts), machine={"image": "mine:2", "pod": pod})
    made = ground.provider()._manifest(node_type, "w-1", ground.start(), "worker")
    assert made["spec"]["restartPolicy"] == "Never", "a node's end is its machine's end: the autoscaler decides"
    [container] = made["spec"]["containers"]
    assert made["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert (container["image"], container["imagePullPolicy"]) == ("mine:2", "Always")
    limits = {"cpu": "2", "nvidia.com/gpu": "1", "memory": str(5 << 30)}
    assert container["resources"] == {"requests": limits, "limits": limits}
    assert ground.start().token not in str(made)


def test_merging():
    base = {"a": {"b": 1, "c": 2}, "list": [1], "named": [{"name": "x", "v": 1}]}
    more = {"a": {"b": 3}, "list": [2], "named": [{"name": "y"}, {"name": "x", "w": 2}]}
    expected = {"a": {"b": 3, "c": 2}, "list": [2], "named": [{"name": "x", "v": 1, "w": 2}, {"name": "y"}]}
    assert merged(base, more) == expected
