"""Certificates that fit and that do not: who is refused learns why, at once."""

import contextlib
import datetime as dt
import time

import pytest
import trustme

from limelight.transport.address import ProcessAddress
from limelight.transport.bulk_client import BulkClient
from limelight.transport.endpoint import inlet_beside
from limelight.transport.error import BulkError, ConnectError
from limelight.transport.tls import TlsConfig


class Papers:
    """Makes certificates in a folder."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.ours, self.theirs = trustme.CA(), trustme.CA()

    def __call__(self, name: str, signer=None, trusts=None, host: str = "127.0.0.1", until=None) -> TlsConfig:
        certificate = (signer or self.ours).issue_cert(host, not_after=until)
        paths = [str(self.folder / f"{name}-{part}.pem") for part in ("certificate", "key", "authority")]
        certificate.cert_chain_pems[0].write_to_path(paths[0])
        certificate.private_key_pem.write_to_path(paths[1])
        (trusts or self.ours).cert_pem.write_to_path(paths[2])
        return TlsConfig(*paths)


@pytest.fixture
def papers(tmp_path) -> Papers:
    return Papers(tmp_path)


@pytest.fixture
async def host(world, tmp_path, papers):
    """The owner of a port with TLS, and a process behind it."""
    settings = {"tls": papers("host")}
    inlet_of = {"inlet_of": lambda name: inlet_beside(str(tmp_path / name))}
    owner = await world.endpoint("owner", tcp="127.0.0.1:0", unix_path="", **inlet_of, **settings)
    worker = await world.endpoint("worker", unix_path=str(tmp_path / "worker"), gate=owner.address.tcp, **settings)
    return owner, worker


def elsewhere(endpoint) -> ProcessAddress:
    return ProcessAddress(endpoint.address.process_id, "elsewhere", tcp=endpoint.address.tcp)


async def refused(world, server, tls: TlsConfig | None) -> str:
    """Why `server` cannot be connected to; asserts that it cannot, and that this is known at once."""
    client = await world.endpoint(f"client{len(world.endpoints)}", tls=tls)
    start = time.monotonic()
    with pytest.raises(ConnectError) as caught:
        await client.connect(elsewhere(server))
    assert time.monotonic() - start < client.limits.connect / 2, "it gave up only when its time was over"
    assert not server.channels
    return str(caught.value)


async def test_processes_with_certificates_of_one_authority_connect(world, papers, host) -> None:
    client = await world.endpoint("client", tls=papers("client"))
    for server in host:
        assert (await client.connect(elsewhere(server))).peer.process_id == server.address.process_id


@pytest.mark.parametrize("which", [0, 1], ids=["owner", "worker"])
async def test_without_tls_nobody_gets_in_where_it_is_spoken(world, host, which) -> None:
    assert "speaks TLS, and this one does not: give --tls-cert and --tls-key here" in await refused(
        world, host[which], None
    )


@pytest.mark.parametrize("which", ["owner", "worker"])
async def test_who_speaks_tls_is_told_where_it_is_not_spoken(world, tmp_path, papers, which) -> None:
    owner = await world.endpoint(
        "owner", tcp="127.0.0.1:0", unix_path="", inlet_of=lambda name: inlet_beside(str(tmp_path / name))
    )
    worker = await world.endpoint("worker", unix_path=str(tmp_path / "worker"), gate=owner.address.tcp)
    server = owner if which == "owner" else worker
    assert "it does not speak TLS, and this process does" in await refused(world, server, papers("client"))


async def test_a_certificate_of_another_authority_is_refused_by_both_sides(world, papers, host) -> None:
    for server in host:
        stranger = papers("stranger", signer=papers.theirs, trusts=papers.theirs)
        assert "not signed by the authority that is expected here" in await refused(world, server, stranger)
        trusting = papers("trusting", signer=papers.theirs)  # it takes ours, but has one of theirs
        assert "an authority has signed which it does not know" in await refused(world, server, trusting)


async def test_a_certificate_whose_time_is_over_is_refused_by_both_sides(world, papers, host) -> None:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    for server in host:
        assert "a certificate that has expired" in await refused(world, server, papers("old", until=past))
    old = await world.endpoint("old-server", unix_path="", tcp="127.0.0.1:0", tls=papers("old-server", until=past))
    assert "the certificate has expired" in await refused(world, old, papers("client"))


async def test_a_certificate_for_another_host_is_refused(world, papers) -> None:
    server = await world.endpoint("server", unix_path="", tcp="127.0.0.1:0", tls=papers("server", host="10.0.0.9"))
    assert "the certificate is not for that host" in await refused(world, server, papers("client"))


async def test_bulk_streams_are_encrypted_and_checked_too(world, papers, host) -> None:
    """A stream of its own connection, which begins after its channel."""
    server = await world.endpoint(
        "server", unix_path="", tcp="127.0.0.1:0", tls=papers("server"), bulk=_Source(b"some bytes")
    )
    client = await world.endpoint("client", tls=papers("client"))
    bulk = BulkClient(client)
    into = bytearray(10)
    await bulk.fetch(elsewhere(server), "thing", 0, memoryview(into), 10)
    assert into == b"some bytes"
    await bulk.close()
    await client.connect(elsewhere(server))
    client.client_tls = None  # from here on its new connections are not encrypted
    plain = BulkClient(client)
    with pytest.raises((BulkError, ConnectError), match="this cluster speaks TLS"):
        await plain.fetch(elsewhere(server), "thing", 0, memoryview(bytearray(10)), 10)
    await plain.close()


class _Source:
    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.tag = "a"
        self.view = lambda start, stop: memoryview(data)[start:stop]
        self.release = contextlib.nullcontext

    async def open(self, name: str) -> "_Source":
        return self

    async def ready(self, start: int, stop: int) -> None:
        """All of it is there."""

    def checksum(self, start: int, stop: int) -> None:
        return None


@pytest.mark.parametrize(
    ("host", "problem"), [("127.0.0.1", ""), ("10.0.0.1", "not for that host"), ("example.org", "not for that host")]
)
def test_it_can_be_known_beforehand_whether_anybody_will_connect(papers, host, problem) -> None:
    found = papers("one").problem_at(host)
    assert (problem in found) if problem else not found


def test_files_that_do_not_fit_are_known_beforehand(papers) -> None:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    assert "expired" in papers("old", until=past).problem_at("127.0.0.1")
    assert "not signed" in papers("mixed", signer=papers.theirs).problem_at("127.0.0.1")
    one, other = papers("one"), papers("other")
    mixed = TlsConfig(one.certificate, other.key, one.authority)
    assert "not that of the certificate" in mixed.problem_at("127.0.0.1")
    assert TlsConfig(one.certificate, one.key, one.key).problem_at("127.0.0.1")
