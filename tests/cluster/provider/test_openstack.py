"""What goes wrong with OpenStack in particular."""

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
