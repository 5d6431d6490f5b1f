"""TLS between processes: every one of them presents a certificate that the cluster's authority has signed."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import ssl


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

    def _context(self, protocol: int) -> "ssl.SSLContext":
        import ssl  # see above

        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.authority)
        return context
