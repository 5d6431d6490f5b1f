"""Which certificate a machine shows, and those that `cluster token` makes."""

import stat
import subprocess

import pytest

from limelight.cluster import tls_folder
from limelight.cluster.certificate_authority import new_authority, new_certificate
from limelight.cluster.command.main import main
from limelight.cluster.tls_folder import TlsFileError, check_tls, find_tls
from limelight.transport.tls import TlsConfig


@pytest.fixture
def folder(tmp_path):
    """An authority's, with a certificate."""
    new_authority(tmp_path)
    new_certificate(tmp_path, ["head.example", "127.0.0.1", "::1"], tmp_path)
    return tmp_path


def test_made_certificates_are_good_for_the_names_they_were_made_for(folder) -> None:
    found = find_tls(str(folder / "cert.pem"), str(folder / "key.pem"))
    for host in ("head.example", "127.0.0.1", "::1"):
        check_tls(found, host)
    with pytest.raises(TlsFileError, match=r"not for that host.*--new-cert 10\.0\.0\.1"):
        check_tls(found, "10.0.0.1")


def test_files_that_are_something_else_are_told_as_such(folder, tmp_path) -> None:
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    authority = str(folder / "ca.pem")
    (tmp_path / "words").write_text("words")
    words = str(tmp_path / "words")
    for files in ((key, certificate), (words, key), (certificate, words)):
        assert "each is given for the other" in TlsConfig(*files, authority).problem_at("::1")
    assert "holds no certificate" in TlsConfig(certificate, key, words).problem_at("::1")


def test_another_tool_agrees(folder) -> None:
    """OpenSSL's own program, with its strictest rules for chains."""
    ended = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / "ca.pem"), str(folder / "cert.pem")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.stdout.strip().endswith("OK"), ended.stdout + ended.stderr


def test_keys_are_private_whatever_the_umask_says(folder) -> None:
    for name in ("ca-key.pem", "key.pem"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_an_authority_is_never_overwritten(folder) -> None:
    before = (folder / "ca-key.pem").read_bytes()
    with pytest.raises(TlsFileError, match="has an authority already"):
        new_authority(folder)
    assert (folder / "ca-key.pem").read_bytes() == before


def test_without_the_authority_there_are_no_certificates(tmp_path) -> None:
    with pytest.raises(TlsFileError, match="`cluster token --new-ca` makes an authority"):
        new_certificate(tmp_path, ["host"], tmp_path)


@pytest.mark.parametrize("name", ["", "a" * 64 + ".example", "two..dots", "a b", "10.77.0.300", "me@host", "h:1"])
def test_what_is_no_host_is_refused(folder, name) -> None:
    with pytest.raises(TlsFileError, match="neither a host name nor an address"):
        new_certificate(folder, ["host", name], folder / "x")


def test_hosts_may_have_names_in_any_script(folder) -> None:
    new_certificate(folder, ["höst.example"], folder / "x")
    check_tls(find_tls(str(folder / "x" / "cert.pem"), str(folder / "x" / "key.pem")), "höst.example")


def test_nothing_said_means_no_tls() -> None:
    assert find_tls(environment={}) is None


def test_the_environment_says_it_where_the_options_do_not(folder) -> None:
    environment = {"LIMELIGHT_TLS_CERT": str(folder / "cert.pem"), "LIMELIGHT_TLS_KEY": str(folder / "key.pem")}
    assert find_tls(environment=environment) == find_tls(str(folder / "cert.pem"), str(folder / "key.pem"))


def test_files_are_found_by_processes_that_run_elsewhere(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    found = find_tls("cert.pem", "key.pem")
    assert (found.certificate, found.key, found.authority) == tuple(
        str(folder / name) for name in ("cert.pem", "key.pem", "ca.pem")
    )


def test_half_of_it_is_refused(folder) -> None:
    with pytest.raises(TlsFileError, match="--tls-cert is given, and --tls-key is not"):
        find_tls(str(folder / "cert.pem"))
    with pytest.raises(TlsFileError, match="--tls-key is given, and --tls-cert is not"):
        find_tls("", str(folder / "key.pem"), {})


def test_missing_files_are_named(folder) -> None:
    with pytest.raises(TlsFileError, match=r"nowhere\.pem cannot be read: No such file"):
        find_tls(str(folder / "nowhere.pem"), str(folder / "key.pem"))
    (folder / "ca.pem").unlink()
    with pytest.raises(TlsFileError, match=r"There is no ca\.pem beside"):
        find_tls(str(folder / "cert.pem"), str(folder / "key.pem"))


def test_a_key_that_others_can_read_is_refused(folder) -> None:
    (folder / "key.pem").chmod(0o640)
    with pytest.raises(TlsFileError, match="is not private"):
        find_tls(str(folder / "cert.pem"), str(folder / "key.pem"))


def test_the_authority_may_be_called_as_kubernetes_calls_it(folder) -> None:
    (folder / "ca.pem").rename(folder / "ca.crt")
    assert find_tls(str(folder / "cert.pem"), str(folder / "key.pem")).authority == str(folder / "ca.crt")


def test_the_command_makes_them_and_says_what_to_type(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["token", "--new-ca", "--new-cert", "10.0.0.7", "seven.example"]) == 0
    said = capsys.readouterr().out
    made = tls_folder.tls_folder()
    assert made == tmp_path / ".limelight" / "tls"
    assert f"--tls-cert {made}/cert.pem --tls-key {made}/key.pem" in said
    assert f"scp -rp {made / '10.0.0.7'} 10.0.0.7:limelight-tls" in said
    theirs = find_tls(str(made / "10.0.0.7" / "cert.pem"), str(made / "10.0.0.7" / "key.pem"))
    check_tls(theirs, "seven.example")
    assert not (made / "10.0.0.7" / "ca-key.pem").exists(), "the authority's key stays where it is"
    assert main(["token", "--new-ca"]) == 1
    assert "has an authority already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/b", ".", ""])
def test_the_name_of_a_host_is_no_path(tmp_path, monkeypatch, capsys, name) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["token", "--new-ca"]) == 0
    assert main(["token", "--new-cert", name]) == 1
    assert "neither a host name nor an address" in capsys.readouterr().err
