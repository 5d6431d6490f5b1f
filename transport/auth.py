"""Mutual authentication by a shared token: challenge and response with HMAC-SHA256 (RFC 2104), the token never sent.

Two HTTP requests on one connection:

1. The dialler sends its process id, the protocol version and a nonce. The server answers 401 with its process id, a
   nonce of its own and a proof that it holds the token.
2. The dialler checks that proof, then asks for the websocket upgrade with its own proof, which also covers its `Hello`.

Each proof covers its direction, the protocol version, both process ids and both nonces, so it fits this one handshake
only. A challenge is the connection's that it was given on, and counts once. The token authenticates; it does not
encrypt: that is what TLS is for (tls.py).
"""

import hashlib
import hmac
import secrets

import msgspec

from .protocol import PROTOCOL_VERSION

# The names of the headers. `Host` has this fixed value, which no browser can be made to send.
HOST = "limelight"
VERSION_HEADER = "Limelight-Version"
PROCESS_HEADER = "Limelight-Process"
NONCE_HEADER = "Limelight-Nonce"
PROOF_HEADER = "Limelight-Proof"
HELLO_HEADER = "Limelight-Hello"
REASON_HEADER = "Limelight-Reason"
NONCE_DIGITS = 32


def new_nonce() -> str:
    """A random value for one handshake."""
    return secrets.token_hex(NONCE_DIGITS // 2)


class Challenge(msgspec.Struct, frozen=True):
    """What both sides of one handshake know besides the token."""

    client: str
    server: str
    client_nonce: str
    server_nonce: str
    version: int = PROTOCOL_VERSION

    def server_proof(self, token: bytes) -> str:
        """Shows the dialler that the server holds the token."""
        return self._sign(token, "server")

    def client_proof(self, token: bytes, hello: str) -> str:
        """Shows the server that the dialler holds the token and sent this `Hello`."""
        return self._sign(token, "client", hello)

    def bulk_key(self, token: bytes) -> bytes:
        """The key that the two sides of this handshake sign requests for bulk streams with."""
        return bytes.fromhex(self._sign(token, "bulk"))

    def _sign(self, token: bytes, purpose: str, *more: str) -> str:
        fields = ("limelight", purpose, str(self.version), self.client, self.server, self.client_nonce)
        return sign(token, *fields, self.server_nonce, *more)


def sign(key: bytes, *fields: str) -> str:
    """HMAC-SHA256 of the fields, in hex. Each field is preceded by its length, so that no two lists sign alike."""
    text = "".join(f"{len(field)}:{field}" for field in fields)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def same(proof: str, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(proof.encode(errors="replace"), expected.encode())
