"""TLS contexts made in a node process's imports: they trust what others do, and read it when they are first used."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from limelight.cluster.process.late_certificate import LateContext, late_certificates


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """The one that the system trusts, for OpenSSL reads its place from the environment."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "trusted.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nothing"))
    return made


def late_context() -> ssl.SSLContext:
    with late_certificates():
        return ssl.create_default_context()


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Let both sides speak by turns until they agree.

    Raises:
        ssl.SSLError: they do not.
    """
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [ours, theirs]
    for side in [ours, theirs] * 4:
        if side in waiting:
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert not waiting


def server_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_nothing_is_read_before_the_first_use(authority, monkeypatch):
    context = late_context()
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    assert type(context) is LateContext
    assert context.get_ca_certs() == [], "it should have been read now, and there is nothing any more"


def test_a_server_that_the_system_trusts_is_trusted(authority):
    context = late_context()
    handshake(context, server_of(authority))
    assert type(context) is ssl.SSLContext
    handshake(context, server_of(authority))


def test_a_server_that_the_system_does_not_trust_is_refused(authority):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(late_context(), server_of(trustme.CA()))


def test_what_it_trusts_can_be_asked(authority):
    ready = ssl.create_default_context()
    assert late_context().get_ca_certs() == ready.get_ca_certs() != []
    assert late_context().cert_store_stats() == ready.cert_store_stats()


def test_contexts_made_before_and_after_are_plain(authority):
    late_context()
    context = ssl.create_default_context()
    assert type(context) is ssl.SSLContext
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)


def test_who_trusts_in_a_way_of_his_own_is_left_alone(authority, monkeypatch):
    asked = []

    def trust(context):
        asked.append(context)

    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", trust, raising=False)
    context = late_context()
    assert asked == [context]
    assert type(context) is ssl.SSLContext


def test_a_node_process_reads_no_certificates(tmp_path):
    """And its workers' aiohttp trusts what any other trusts."""
    script = """
import limelight, ssl
limelight.init(num_cpus=1, include_dashboard=False)

@limelight.task
def contexts():
    import gc
    gc.unfreeze()  # what was there before the fork is hidden otherwise
    found = [one for one in gc.get_objects() if isinstance(one, ssl.SSLContext)]
    kinds = {type(one).__name__ for one in found}
    return kinds, max(len(one.get_ca_certs()) for one in found)

@limelight.task
def trusted():
    return len(ssl.create_default_context().get_ca_certs())

kinds, count = limelight.get(contexts.remote())
assert kinds == {"LateContext"}, kinds
assert count == limelight.get(trusted.remote()) > 0
"""
    trusted = tmp_path / "trusted.pem"
    trustme.CA().cert_pem.write_to_path(trusted)
    environment = {**os.environ, "SSL_CERT_FILE": str(trusted), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=Path(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
