"""What goes wrong with SSH in particular: real connections to a real sshd."""

import asyncio
import subprocess

import pytest

from limelight.cluster.provider.instance import Instance, NodeType
from limelight.cluster.provider.node_provider import ProviderError
from limelight.cluster.provider.ssh import SshProvider
from limelight.cluster.scheduling.resources import ResourceSet

from .grounds import SshGround
from .sshd import HOSTS

GROUND = SshGround
CPU = NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 2}))


@pytest.fixture
async def provider_of(ground):
    made = []

    def make(**changes):
        made.append(SshProvider("mine", ground.settings(**changes)))
        return made[-1]

    yield make
    ground.sshd.know(*HOSTS)
    for provider in made:
        await provider.close()
    last = SshProvider("mine", ground.settings())
    await last.terminate([one.instance_id for one in await last.instances()])
    await last.close()
    ground.heal()
    ground.forget()


async def test_an_unknown_host_key_is_refused_with_what_to_do(ground, provider_of):
    ground.sshd.know()
    with pytest.raises(ProviderError, match=r"host key of 127\.0\.0\.2 is not known.*accept_new_hosts"):
        await provider_of().instances()


async def test_unknown_hosts_are_taken_on_first_sight_only_where_that_was_said(ground, provider_of):
    ground.sshd.know()
    assert await provider_of(accept_new_hosts=True).instances() == []
    assert len((ground.sshd.folder / "known_hosts").read_text().splitlines()) == len(HOSTS)


async def test_a_changed_host_key_is_refused_even_then(ground, provider_of):
    known = ground.sshd.folder / "known_hosts"
    other = (ground.sshd.folder / "user_key.pub").read_text().split()
    known.write_text("".join(f"[{host}]:{ground.sshd.port} {other[0]} {other[1]}\n" for host in HOSTS))
    with pytest.raises(ProviderError, match="another host key"):
        await provider_of(accept_new_hosts=True).instances()


async def test_a_key_that_does_not_let_in_is_named(ground, provider_of):
    with pytest.raises(ProviderError, match="does not let this user in"):
        await provider_of(identity_file=str(ground.sshd.folder / "host_key")).instances()


async def test_one_host_that_is_away_does_not_hide_the_others(ground, provider_of):
    provider = provider_of(hosts=[HOSTS[0], "127.0.0.99"])
    made = await provider.create(CPU, ["w-1"], ground.start())
    assert [one.address for one in made.instances] == [HOSTS[0]]
    assert [one.name for one in await provider.instances()] == ["w-1"]
    refused = await provider.create(CPU, ["w-2"], ground.start())
    assert "127.0.0.99" in refused.error, "who has no free host is told which cannot be reached"


def test_nobody_is_asked_for_a_password_where_nobody_sits(ground):
    provider = SshProvider("mine", ground.settings(user="me", port=2222, options={"ProxyJump": "gate"}))
    there = Instance("w", "h1/w", "cpu", "running", "h1")
    words = provider.shell_command(there, ["echo", "a b"])
    assert "BatchMode=yes" in words
    assert "ProxyJump=gate" in words
    assert words[-2:] == ["h1", "echo 'a b'"]
    assert [words[words.index(option) + 1] for option in ("-l", "-p")] == ["me", "2222"]
    assert "BatchMode=no" in provider.shell_command(there, terminal=True)


async def test_two_that_choose_a_host_at_the_same_time_get_one_each(ground, provider_of):
    """As the head that takes over and the one before it, or `cluster up` and the head."""
    one, other = provider_of(), provider_of()
    await asyncio.gather(one.instances(), other.instances())
    made = await asyncio.gather(one.create(CPU, ["w-1"], ground.start()), other.create(CPU, ["w-2"], ground.start()))
    assert [answer.error for answer in made] == ["", ""]
    assert sorted(host.address for answer in made for host in answer.instances) == HOSTS
    assert sorted((here.name, here.address) for here in await one.instances()) == sorted(
        (here.name, here.address) for answer in made for here in answer.instances
    )


async def test_what_is_on_a_host_that_is_away_is_still_counted_and_who_does_not_know_it_is_told(ground, provider_of):
    away = HOSTS[1]
    provider = provider_of()
    made = await provider.create(CPU, ["w-1", "w-2"], ground.start())
    assert not made.error
    ground.sshd.know(HOSTS[0])  # the other cannot be logged in to any more
    stranger = provider_of()
    there = {one.address: one for one in await stranger.instances()}
    assert list(there) == [HOSTS[0]]
    assert stranger.unseen.startswith(f"{away}: The host key of {away} is not known")
    await ground.until(lambda: unseen(provider))
    assert {one.address for one in await provider.instances()} == set(HOSTS)
    ground.sshd.know(*HOSTS)
    assert len(await stranger.instances()) == 2
    assert stranger.unseen == ""


async def unseen(provider):
    """The connections that there were have been closed."""
    for host in HOSTS:
        await asyncio.to_thread(
            subprocess.run, [*provider._command(host, [])[:-1], "-O", "exit", host], capture_output=True
        )
    await provider.instances()
    return provider.unseen


async def test_node_types_may_have_hosts_of_their_own(ground, provider_of):
    node_type = NodeType(name="gpu", resources=ResourceSet.parse({"CPU": 2}), machine={"hosts": [HOSTS[1]]})
    made = await provider_of(hosts=[HOSTS[0]]).create(node_type, ["w-1"], ground.start())
    assert [one.instance_id for one in made.instances] == [f"{HOSTS[1]}/w-1"]


async def test_what_is_deaf_is_killed(ground, provider_of, monkeypatch):
    monkeypatch.setattr("limelight.cluster.provider.host_script._END_S", 1)
    (ground.reports / "behaviour").write_text("deaf")
    provider = provider_of()
    [made] = (await provider.create(CPU, ["w-1"], ground.start())).instances
    await ground.report("w-1")
    await provider.terminate([made.instance_id])
    await ground.until(lambda: ground.is_gone("w-1"))
