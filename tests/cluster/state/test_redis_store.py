"""What is particular to the state in Redis: servers that would forget, memory that runs out, rights, TLS."""

import asyncio
import contextlib

import pytest
import redis
import trustme

from limelight.cluster.state.change import Delete, Put
from limelight.cluster.state.error import StateStoreError
from limelight.cluster.state.store_url import make_store
from tests.cluster.state.database_server import PASSWORD, RedisServer, free_port, running

LONG = 1e6
SHORT = 0.3

# The server's package may have to be installed first.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority, tmp_path_factory):
    """A server with Debian's defaults: no append-only file; and with a port for TLS."""
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    options = {
        "port": free_port(),
        "cert-file": folder / "cert.pem",
        "key-file": folder / "key.pem",
        "auth-clients": "no",
    }
    words = [word for name, value in options.items() for word in (f"--tls-{name}", str(value))]
    with running(RedisServer, *words, "--tls-ca-cert-file", str(folder / "ca.pem")) as made:
        made.tls = f"127.0.0.1:{options['port']}"
        made.ca = folder / "ca.pem"
        yield made


@pytest.fixture
def console(server):
    """What an administrator types; settings are put back afterwards."""
    names = ("appendonly", "maxmemory", "maxmemory-policy")
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        before = {name: client.config_get(name)[name] for name in names}
        yield client
        for name, value in before.items():
            client.config_set(name, value)


@contextlib.asynccontextmanager
async def opened(url):
    store = make_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_a_server_that_would_forget_is_refused_until_it_is_told_to_keep(server, console):
    with pytest.raises(StateStoreError, match="CONFIG SET appendonly yes"):
        await make_store(server.url()).open()
    console.config_set("appendonly", "yes")
    async with opened(server.url()):
        pass


async def test_a_server_that_would_forget_can_be_accepted(server):
    async with opened(f"{server.url()}&volatile=accept") as store:
        assert await store.acquire(b"", LONG)


async def test_a_server_that_evicts_is_refused(server, console):
    console.config_set("appendonly", "yes")
    console.config_set("maxmemory-policy", "allkeys-lru")
    async with opened(server.url()):  # there is no limit at which it would
        pass
    console.config_set("maxmemory", "100mb")
    with pytest.raises(StateStoreError, match="maxmemory-policy noeviction"):
        await make_store(server.url()).open()


async def test_memory_that_runs_out_tears_no_batch_apart(server, console):
    async with opened(f"{server.url('full')}&volatile=accept") as store:
        leadership = await store.acquire(b"", LONG)
        await leadership.apply([Put("t", "a", b"1"), Put("t", "c", b"1")])
        batch = [Delete("t", "c"), Put("t", "a", b"2"), Put("t", "b", b"2")]
        console.config_set("maxmemory", "1mb")
        with pytest.raises(
            StateStoreError,
            match=r"no memory left for the state \(maxmemory\): type `redis-cli CONFIG SET",
        ):
            await leadership.apply(batch)
        assert await store.load("t") == {"a": b"1", "c": b"1"}
        console.config_set("maxmemory", "0")
        await leadership.apply(batch)
        assert await store.load("t") == {"a": b"2", "b": b"2"}


async def test_who_leads_goes_on_leading_and_can_be_replaced_when_memory_runs_out(server, console):
    async with opened(f"{server.url('lean')}&volatile=accept") as store:
        leadership = await store.acquire(b"one", SHORT)
        async with opened(f"{server.url('lean')}&volatile=accept") as standby:
            console.config_set("maxmemory", "1mb")
            with pytest.raises(StateStoreError, match="no memory left"):
                await leadership.apply([Put("t", "a", b"1")])
            leadership.ttl_s = LONG
            await leadership.renew()
            await asyncio.sleep(SHORT)
            assert await standby.acquire(b"two", LONG) is None
            await leadership.release()
            assert (await standby.acquire(b"two", LONG)).token == leadership.token + 1
            assert (await store.leader()).holder == b"two"


async def test_a_replica_is_refused(server, console):
    console.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StateStoreError, match="read-only replica: name the primary"):
            await make_store(f"{server.url('replica')}&volatile=accept").open()
    finally:
        console.replicaof("NO", "ONE")


async def test_a_user_who_may_not_is_told_so(server, console):
    console.acl_setuser("guest", enabled=True, passwords=["+hush"], commands=["+info"], keys=["*"])
    url = f"redis://guest:hush@127.0.0.1:{server.port}?volatile=accept"
    with pytest.raises(StateStoreError, match="refuses our user") as caught:
        await make_store(url).open()
    assert "hush" not in str(caught.value)


async def test_over_tls_with_the_certificate_checked(server):
    url = f"rediss://:{server.url().partition('@')[0].rpartition(':')[2]}@{server.tls}/0?volatile=accept&cluster=tls"
    with pytest.raises(StateStoreError, match="certificate"):
        await make_store(url).open()
    async with opened(f"{url}&ssl_ca_certs={server.ca}") as store:
        await (await store.acquire(b"", LONG)).apply([Put("t", "a", b"1")])
        assert await store.load("t") == {"a": b"1"}
