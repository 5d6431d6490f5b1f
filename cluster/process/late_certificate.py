"""Reading the certificates that the system trusts when the first connection wants them, not when aiohttp is imported.

aiohttp makes two TLS contexts as it is imported, and each reads all those certificates: 40 ms, a third of the import.
A node process makes no connection that would trust them, since Limelight's own TLS names its authority
(transport/tls.py). What runs in its workers may: there the contexts read them at their first use.

Only for processes that are Limelight's own: a driver's `ssl` is its user's.
"""

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


class LateContext(ssl.SSLContext):
    """A TLS context that has yet to read the system's certificates; a plain one as soon as it has. Thread-safe."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As `ssl.SSLContext`'s; asyncio's way to begin a connection."""
        return _read(self).wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As `ssl.SSLContext`'s."""
        return _read(self).wrap_socket(*args, **kwargs)

    def get_ca_certs(self, *args: Any, **kwargs: Any) -> Any:
        """As `ssl.SSLContext`'s."""
        return _read(self).get_ca_certs(*args, **kwargs)

    def cert_store_stats(self) -> dict[str, int]:
        """As `ssl.SSLContext`'s."""
        return _read(self).cert_store_stats()


def _read(context: ssl.SSLContext) -> ssl.SSLContext:
    # In this order: a second thread may read them once more, but none goes without. OpenSSL keeps one of each.
    super(ssl.SSLContext, context).set_default_verify_paths()
    context.__class__ = ssl.SSLContext
    return context


@contextmanager
def late_certificates() -> Generator[None, None, None]:
    """Contexts that ask for the system's certificates inside get them at their first use. For one thread."""
    if "set_default_verify_paths" in vars(ssl.SSLContext):  # somebody has a way of his own to trust, such as truststore
        yield
        return
    ssl.SSLContext.set_default_verify_paths = _postpone  # pyright: ignore[reportAttributeAccessIssue]  (hides the base class's)
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths


def _postpone(context: ssl.SSLContext) -> None:
    context.__class__ = LateContext
