"""A cluster's own authority, and the certificates that it signs: X.509 (RFC 5280) by way of `cryptography`.

Keys are of the curve P-256. What is made is valid from a day ago, for machines whose clocks are behind.
"""

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .tls_folder import AUTHORITY, AUTHORITY_KEY, CERTIFICATE, KEY, TlsFileError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 730

_HOST_NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?", re.ASCII)
"""As in RFC 1123, and with "_", which containers have in theirs."""
_NUMBERS = re.compile(r"[\d.]+", re.ASCII)
"""What was meant for an address."""


def new_authority(folder: Path) -> None:
    """Make an authority: `ca.pem`, and its key `ca-key.pem`, which whoever has it can let machines in with.

    Raises:
        TlsFileError: there is one already, files cannot be written there, or `cryptography` is not installed.
    """
    _need_cryptography()
    from cryptography import x509

    if (folder / AUTHORITY).exists():
        raise TlsFileError(
            f"{folder} has an authority already, and `cluster token --new-cert HOST` makes certificates with it. To "
            "begin anew, remove that folder; all machines then need new certificates."
        )
    key = _new_key()
    name = _name("Limelight cluster authority")
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        _builder(name, name, key, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    _write(folder, AUTHORITY_KEY, _private_pem(key))
    _write(folder, AUTHORITY, _pem(made, key))


def new_certificate(folder: Path, names: Sequence[str], into: Path) -> None:
    """Make a certificate for a machine: `cert.pem`, `key.pem` and the authority's `ca.pem`.

    Args:
        folder: the authority's.
        names: the host names and addresses by which others reach the machine.
        into: where they go; what is there of these names is replaced.

    Raises:
        TlsFileError: the authority or its key is not there, files cannot be written, or `cryptography` is not
            installed.
    """
    _need_cryptography()
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        authority_pem = (folder / AUTHORITY).read_bytes()
        authority_key = serialization.load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), None)
    except FileNotFoundError as error:
        raise TlsFileError(
            f"The authority's file {error.filename} is not here. `cluster token --new-ca` makes an authority; where "
            "the cluster has one, make certificates on the machine that has its key."
        ) from None
    except (OSError, ValueError) as error:
        raise TlsFileError(f"The authority in {folder} cannot be used: {error}") from error
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise TlsFileError(f"The authority's key in {folder} is not one of ours: it is no elliptic curve's.")
    authority = x509.load_pem_x509_certificate(authority_pem)
    key = _new_key()
    made = (
        _builder(_name(names[0][:64]), authority.subject, key, CERTIFICATE_DAYS)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    _write(into, KEY, _private_pem(key))
    _write(into, CERTIFICATE, _pem(made, authority_key))
    if into != folder:
        _write(into, AUTHORITY, authority_pem)


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise TlsFileError(
            'Certificates are made with the package cryptography: pip install "limelight[tls]". Those that you have '
            "from elsewhere need no such package: --tls-cert, --tls-key, and the authority as ca.pem beside them."
        ) from None


def _new_key() -> "ec.EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> "x509.Name":
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    with suppress(ValueError):  # of the codec
        written = name.encode("idna").decode()
        if _HOST_NAME.fullmatch(written) and not _NUMBERS.fullmatch(written):
            return x509.DNSName(written)
    raise TlsFileError(f"{name!r} is neither a host name nor an address.")


def _builder(
    subject: "x509.Name", issuer: "x509.Name", key: "ec.EllipticCurvePrivateKey", days: int
) -> "x509.CertificateBuilder":
    from cryptography import x509

    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _pem(builder: "x509.CertificateBuilder", key: "ec.EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import hashes, serialization

    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _private_pem(key: "ec.EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    encryption = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _write(folder: Path, name: str, data: bytes) -> None:
    new = folder / f".{name}.new"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        new.replace(folder / name)
    except OSError as error:
        raise TlsFileError(f"{folder / name} cannot be written: {error.strerror}.") from error
