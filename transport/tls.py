"""TLS between processes: every one of them presents a certificate that the cluster's authority has signed."""

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import ssl

_MOST_FLIGHTS = 8


class TlsConfig(msgspec.Struct, frozen=True):
    """Paths of PEM files.

    Attributes:
        certificate: this process's certificate, with its chain.
        key: the private key of the certificate.
        authority: the certificate of the authority that signs all of the cluster's certificates.
    """

    certificate: str
    key: str
    authority: str

    def server_context(self) -> "ssl.SSLContext":
        """For listening: shows the certificate, and asks the dialler for one.

        Raises:
            OSError: a file cannot be read. ssl.SSLError: a file is not what it should be.
        """
        import ssl  # it takes 13 ms, and most sessions have no use for it

        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> "ssl.SSLContext":
        """For dialling: checks the server's certificate against the address that was dialled, and shows one.

        Raises:
            OSError: a file cannot be read. ssl.SSLError: a file is not what it should be.
        """
        import ssl  # see above

        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def problem_at(self, host: str) -> str:
        """Why no process with these files could dial one with these files that listens at `host`; "": it could.

        Both ends of a handshake are played through, in memory.
        """
        import ssl  # see above

        try:
            to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
            server = self.server_context().wrap_bio(to_server, to_client, server_side=True)
            client = self.client_context().wrap_bio(to_client, to_server, server_hostname=host)
            waiting = [client, server]
            for _ in range(_MOST_FLIGHTS):
                waiting = [end for end in waiting if not _advance(end)]
        except (OSError, ValueError) as error:  # also errors of TLS
            return explain(error)
        return "its handshake does not end" if waiting else ""

    def _context(self, protocol: int) -> "ssl.SSLContext":
        import ssl  # see above

        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.authority)
        return context


def explain(error: BaseException) -> str:
    """What an error of a connection is about, in words; of errors that are not of TLS, what they say themselves."""
    import ssl  # see above

    if isinstance(error, ssl.SSLCertVerificationError):
        if "Hostname mismatch" in error.verify_message or "IP address mismatch" in error.verify_message:
            return f"the certificate is not for that host ({error.verify_message})"
        return _REASONS.get(error.verify_code, f"the certificate is not valid: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        text = str(error).lower()
        return next((words for sign, words in _ALERTS if sign in text), f"TLS failed: {error}")
    return str(error)


_UNSIGNED = "the certificate is not signed by the authority that is expected here"
_REASONS = {
    9: "the certificate is not valid yet: its machine's clock, or this one's, is wrong",
    10: "the certificate has expired",
    18: _UNSIGNED,  # self-signed
    19: _UNSIGNED,  # a self-signed one in the chain
    20: _UNSIGNED,  # no issuer here
    21: _UNSIGNED,  # nor one sent
    7: _UNSIGNED,  # an issuer of the same name, and another key
}
"""By X509_V_ERR_…, of OpenSSL's x509_vfy.h."""
_NOT_SPOKEN = "it does not speak TLS, and this process does: --tls-cert and --tls-key go on all machines, or on none"
_ALERTS = (
    ("wrong version number", _NOT_SPOKEN),
    ("record layer failure", _NOT_SPOKEN),
    ("key values mismatch", "the private key is not that of the certificate"),
    ("pem lib", "the file of the certificate, or that of the key, is none in PEM; or each is given for the other"),
    ("no certificate or crl found", "the authority's file beside it holds no certificate"),
)


def _advance(end: Any) -> bool:
    """One step of a handshake; returns whether it is over."""
    import ssl  # see above

    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
