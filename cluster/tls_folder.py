"""Which certificate a machine shows to the others of its cluster, and how it knows theirs.

Two files say it: the certificate and its private key. The authority that all of the cluster's certificates are signed
by lies beside the certificate, as `ca.pem`. They are named by --tls-cert and --tls-key, or by the variables
LIMELIGHT_TLS_CERT and LIMELIGHT_TLS_KEY. `cluster token --new-ca` makes all three, in ~/.limelight/tls.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ..transport.tls import TlsConfig

CERTIFICATE_VARIABLE = "LIMELIGHT_TLS_CERT"
KEY_VARIABLE = "LIMELIGHT_TLS_KEY"
CERTIFICATE, KEY, AUTHORITY, AUTHORITY_KEY = "cert.pem", "key.pem", "ca.pem", "ca-key.pem"
_OTHER_NAMES = ("ca.crt",)
"""Of the authority: so Kubernetes' cert-manager calls it."""


class TlsFileError(ValueError):
    """The certificates cannot be used; the message says why and what to do."""


def tls_folder() -> Path:
    """Where this user's certificates are kept."""
    return Path.home() / ".limelight" / "tls"


def find_tls(certificate: str = "", key: str = "", environment: Mapping[str, str] = os.environ) -> TlsConfig | None:
    """What a machine shows to others; None: nothing, it does without TLS.

    Args:
        certificate: its file, as the option says; "": as the environment does.
        key: the same of its private key.
        environment: of the process.

    Raises:
        TlsFileError: only one of the two is given, a file is missing, or others can read the key.
    """
    certificate = certificate or environment.get(CERTIFICATE_VARIABLE, "")
    key = key or environment.get(KEY_VARIABLE, "")
    if not certificate and not key:
        return None
    if not certificate or not key:
        given, missing = ("--tls-cert", "--tls-key") if certificate else ("--tls-key", "--tls-cert")
        raise TlsFileError(f"TLS needs two files: {given} is given, and {missing} is not.")
    # Absolute: other processes, started elsewhere, will read them.
    shown, secret = Path(certificate).absolute(), Path(key).absolute()
    try:
        for path in (shown, secret):
            path.open("rb").close()
        status = secret.stat()
    except OSError as error:
        raise TlsFileError(f"{error.filename} cannot be read: {error.strerror}.") from error
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise TlsFileError(
            f"The private key {secret} is not private (mode {stat.filemode(status.st_mode)}). If nobody else can have "
            f"read it, type: chmod 600 {secret}"
        )
    return TlsConfig(str(shown), str(secret), str(_authority_beside(shown)))


def check_tls(config: TlsConfig, host: str) -> None:
    """See that a machine that listens at `host` can be reached with these files.

    Raises:
        TlsFileError: they do not fit each other or that host, or their time is over.
    """
    problem = config.problem_at(host)
    if problem:
        raise TlsFileError(
            f"With {config.certificate} nobody can connect to {host}: {problem}. `cluster token --new-cert {host}`, "
            "where the authority's key is, makes a certificate for it."
        )


def _authority_beside(certificate: Path) -> Path:
    for name in (AUTHORITY, *_OTHER_NAMES):
        if (certificate.parent / name).is_file():
            return certificate.parent / name
    raise TlsFileError(
        f"There is no {AUTHORITY} beside {certificate}: put the certificate of the authority there that has signed "
        "those of the whole cluster."
    )
