"""What goes wrong with OpenStack in particular."""

import asyncio
import threading

import msgspec
import pytest

from limelight.cluster.provider.instance import NodeType
from limelight.cluster.provider.node_provider import ProviderError
from limelight.cluster.provider.openstack import OpenStackProvider, OpenStackSettings
from limelight.cluster.scheduling.resources import ResourceSet

from .grounds import OpenStackGround

# See tests/contracts/test_node_provider.py.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

GROUND = OpenStackGround
CPU = NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 2}), machine={"flavor": "standard.medium"})


@pytest.fixture
async def provider(ground):
    made = ground.provider()
    yield made
    await made.close()


async def test_an_expired_token_is_replaced_without_a_word(provider, ground):
    await provider.instances()
    logins = ground.service.logins
    ground.service.expire_tokens()
    assert await provider.instances() == []
    assert ground.service.logins > logins


async def test_what_the_cloud_does_not_have_is_named_with_how_to_see_what_it_has(provider, ground):
    made = await provider.create(msgspec.structs.replace(CPU, machine={"flavor": "huge"}), ["w"], ground.start())
    assert made.error == "The cloud has no flavor 'huge': `openstack flavor list` shows those there are."
    made = await provider.create(msgspec.structs.replace(CPU, machine={}), ["w"], ground.start())
    assert made.error == "Node type 'cpu' has no flavor: `openstack flavor list` shows them."


async def test_a_cloud_that_clouds_yaml_does_not_have_is_an_error_for_people(ground):
    provider = OpenStackProvider("mine", OpenStackSettings(cloud="nowhere"))
    try:
        with pytest.raises(ProviderError, match=r"no usable credentials.*nowhere.*clouds\.yaml"):
            await provider.instances()
    finally:
        await provider.close()


async def test_a_cloud_that_says_nothing_is_an_error_in_time_and_holds_up_nobody(ground, monkeypatch):
    monkeypatch.setattr("limelight.cluster.provider.openstack._REQUEST_S", 0.3)
    provider = ground.provider()
    await provider.instances()
    ground.service.mute = True
    try:
        with pytest.raises(ProviderError, match=r"OpenStack: .*time"):
            await provider.instances()
        monkeypatch.setattr("limelight.cluster.provider.openstack._REQUEST_S", 3600.0)
        other = ground.provider()
        listing = asyncio.create_task(other.instances())
        await ground.until(lambda: any(thread.name == "openstack" for thread in threading.enumerate()))
        listing.cancel()
        await other.close()
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "openstack")
    finally:
        ground.service.mute = False
        ground.service.stop()  # so that the last question ends
        ground.service.go_on()
        await provider.close()
    await ground.until(lambda: not any(thread.name == "openstack" for thread in threading.enumerate()))


async def test_what_the_cloud_says_of_a_server_is_understood(provider, ground):
    await provider.create(CPU, ["w"], ground.start())
    await ground.report("w")
    [server] = ground.service.servers.values()
    [before] = await provider.instances()
    assert (before.state, before.address, before.text) == ("running", "127.0.0.1", "")
    server["OS-EXT-STS:task_state"] = "deleting"
    assert [one.state for one in await provider.instances()] == ["ending"]
    server["OS-EXT-STS:task_state"] = None
    server["addresses"]["project_1"].append({"addr": "192.0.2.7", "version": 4, "OS-EXT-IPS:type": "floating"})
    assert [one.address for one in await provider.instances()] == ["192.0.2.7"]
    for status in ("ERROR", "SHUTOFF", "SHELVED_OFFLOADED"):
        server["status"] = status
        assert [(one.state, one.text) for one in await provider.instances()] == [("failed", f"the server is {status}")]
    await provider.terminate([before.instance_id])
    await ground.until(lambda: not ground.service.servers)


async def test_machines_get_what_the_settings_and_their_type_say(ground, monkeypatch):
    settings = OpenStackSettings(
        cloud="pouta", image="Ubuntu-24.04", network="project_1", key_name="mine", security_groups=["cluster"]
    )
    provider = OpenStackProvider("mine", settings)
    asked = {}
    connection = provider._connection()
    monkeypatch.setattr(connection.compute, "create_server", lambda **about: asked.update(about) or connection_server())
    try:
        node_type = msgspec.structs.replace(CPU, machine={"flavor": "standard.medium", "availability_zone": "nova"})
        provider._make_now(node_type, "w-1", ground.start(), "worker")
    finally:
        await provider.close()
    assert (asked["flavor_id"], asked["image_id"]) == ("flavor-1", "image-1")
    assert asked["networks"] == [{"uuid": "network-1"}]
    assert (asked["key_name"], asked["availability_zone"]) == ("mine", "nova")
    assert asked["security_groups"] == [{"name": "cluster"}]
    assert asked["metadata"] == {"limelight-cluster": "mine", "limelight-type": "cpu", "limelight-role": "worker"}


def connection_server():
    class Server:
        id = "s"

    return Server()
