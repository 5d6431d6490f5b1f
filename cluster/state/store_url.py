"""Which state store a URL means, as in `cluster start --head --state URL`."""

from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from .change import LONGEST_NAME
from .error import StateStoreError
from .null_store import NullStore
from .state_store import StateStore

KNOWN: Final = """\
  memory                                        nothing is kept: for a session that ends with its head
  sqlite:///relative/path, sqlite:////absolute  a file on this host
  redis://[USER:PASSWORD@]HOST[:PORT][/DB]      a Redis server; rediss:// with TLS
  postgresql://USER:PASSWORD@HOST[:PORT]/DB     a PostgreSQL database
For the last two, ?cluster=NAME tells apart clusters that share a server."""

DEFAULT_CLUSTER: Final = "default"


def make_store(url: str) -> StateStore:
    """The store that a URL means, not opened yet. No client library is imported before `open`.

    Raises:
        StateStoreError: it means none; the message lists what there is.
    """
    if url == "memory":
        return NullStore()
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise _refusal(url, f"is no URL: {error}") from error
    match parts.scheme:
        case "sqlite":
            return _sqlite(url, parts)
        case "redis" | "rediss":
            return _redis(url, parts)
        case "postgresql" | "postgres":
            return _postgres(url, parts)
        case _:
            raise _refusal(url, f"names no state store that there is ({parts.scheme or 'no scheme'})")


def safe_url(url: str) -> str:
    """The URL without a password, to show to people."""
    try:
        parts = urlsplit(url)
        address = parts.netloc.rpartition("@")[2]
        user = f"{quote(parts.username)}@" if parts.username else ""
        options = urlencode([(name, value) for name, value in parse_qsl(parts.query) if "password" not in name])
        return _join(parts.scheme, user + address, parts.path, options)
    except ValueError:
        return f"{url.partition(':')[0]}:…"


def _sqlite(url: str, parts: SplitResult) -> StateStore:
    from .sqlite_store import SqliteStore

    if parts.netloc:
        raise _refusal(
            url, f"has a host, {parts.netloc!r}: a file is named after three slashes, sqlite:///{parts.netloc}…"
        )
    path = parts.path.removeprefix("/")
    if not path or path.endswith("/"):
        raise _refusal(url, "names no file")
    if parts.query or parts.fragment:
        raise _refusal(url, "has options, and SQLite has none here")
    return SqliteStore(Path(path).absolute())


def _redis(url: str, parts: SplitResult) -> StateStore:
    from .redis_store import RedisStore

    if not parts.hostname:
        raise _refusal(url, "names no host")
    if not (parts.path in {"", "/"} or parts.path[1:].isdecimal()):
        raise _refusal(url, f"names a database {parts.path[1:]!r}; those of Redis are numbers")
    plain, cluster, volatile = _options(url, parts)
    return RedisStore(plain, safe_url(url), cluster=cluster, volatile=volatile)


def _postgres(url: str, parts: SplitResult) -> StateStore:
    from .postgres_store import PostgresStore

    plain, cluster, volatile = _options(url, parts)
    return PostgresStore(plain, safe_url(url), cluster=cluster, volatile=volatile)


def _options(url: str, parts: SplitResult) -> tuple[str, str, bool]:
    """What is left of the URL without our own options, and those."""
    options = parse_qsl(parts.query, keep_blank_values=True)
    ours = {name: value for name, value in options if name in {"cluster", "volatile"}}
    cluster = ours.get("cluster", DEFAULT_CLUSTER)
    if not (0 < len(cluster) <= LONGEST_NAME and cluster.isascii() and cluster.replace("-", "_").isidentifier()):
        raise _refusal(url, f"has cluster={cluster}: a cluster's name is of letters, digits, - and _")
    if ours.get("volatile", "accept") != "accept":
        raise _refusal(url, "has an option volatile that is not volatile=accept")
    rest = urlencode([(name, value) for name, value in options if name not in ours])
    return _join(parts.scheme, parts.netloc, parts.path, rest), cluster, "volatile" in ours


def _join(scheme: str, netloc: str, path: str, query: str) -> str:
    """As `urlunsplit`, which would leave out the slashes of an empty host."""
    return f"{scheme}://{netloc}{path}" + (f"?{query}" if query else "")


def _refusal(url: str, reason: str) -> StateStoreError:
    shown = safe_url(url) if "://" in url or "@" in url else url
    return StateStoreError(f"{shown!r} {reason}. Known are:\n{KNOWN}")
