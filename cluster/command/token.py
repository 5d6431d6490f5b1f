"""`cluster token`: the secret that lets machines join this user's clusters, and the certificates for TLS."""

import argparse
import socket
import sys
from collections.abc import Sequence
from typing import Any

from ..certificate_authority import CERTIFICATE_DAYS, new_authority, new_certificate
from ..client.network_address import LOOPBACK, own_addresses
from ..tls_folder import AUTHORITY, AUTHORITY_KEY, CERTIFICATE, KEY, TlsFileError, tls_folder
from ..token_file import make_token, token_path


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "token",
        help="print the token that others join with",
        description="Print the token that other machines join this user's clusters with; made at first use. Whoever "
        "has it can run programs as this user.",
    )
    tls = parser.add_argument_group("certificates for TLS (needs the package cryptography)")
    tls.add_argument(
        "--new-ca",
        action="store_true",
        help="make an authority for a cluster, and a certificate for its head: this machine",
    )
    tls.add_argument(
        "--new-cert",
        nargs="+",
        metavar="HOST",
        help="make a certificate for another machine, of all names and addresses that it is reached by",
    )
    parser.add_argument("--path", action="store_true", help="print the name of the file that keeps it instead")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.new_ca:
        sys.stdout.write(_new_authority())
    if options.new_cert:
        sys.stdout.write(_new_certificate(options.new_cert))
    if options.new_ca or options.new_cert:
        return 0
    if options.path:
        sys.stdout.write(f"{token_path()}\n")
        return 0
    sys.stdout.write(make_token() + "\n")
    return 0


def _new_authority() -> str:
    folder = tls_folder()
    new_authority(folder)
    names = list(dict.fromkeys([*own_addresses(), socket.gethostname(), "localhost", LOOPBACK, "::1"]))
    new_certificate(folder, names, folder)
    address = next(iter(own_addresses()), "ADDRESS")
    return f"""An authority for your cluster, and a certificate for this machine ({", ".join(names)}), in {folder}.
{AUTHORITY_KEY} stays here: whoever has it can make certificates of this cluster.

  to start the head   cluster start --head --host {address} {_options(str(folder))}
  for each machine    cluster token --new-cert ADDRESS
"""


def _new_certificate(names: Sequence[str]) -> str:
    folder = tls_folder()
    into = folder / names[0].replace(":", "_")
    if into.parent != folder:
        raise TlsFileError(f"{names[0]!r} is neither a host name nor an address.")
    new_certificate(folder, names, into)
    shown = ", ".join(names)
    return f"""A certificate for {shown}, good for {CERTIFICATE_DAYS} days, with its key and {AUTHORITY}, in {into}.

  to bring it there   scp -rp {into} {names[0]}:limelight-tls
  to join, there      cluster join HEAD {_options("limelight-tls")}
"""


def _options(folder: str) -> str:
    return f"--tls-cert {folder}/{CERTIFICATE} --tls-key {folder}/{KEY}"
