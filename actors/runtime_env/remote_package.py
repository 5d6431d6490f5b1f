"""Packages that lie somewhere on a network, and are named by where they lie."""

from urllib.parse import urlsplit

REMOTE_SCHEMES = ("http", "https", "s3", "gs", "gcs", "azure", "az", "abfs", "abfss", "hdfs", "ftp", "sftp")
"""Where packages may come from: http(s) directly, the others by fsspec."""

ARCHIVES = (".zip", ".tar.gz", ".tgz")
WHEEL = ".whl"


def is_remote(place: str) -> bool:
    """Whether the place is a URI that each node fetches for itself."""
    scheme, separator, _ = place.partition("://")
    return bool(separator) and scheme in REMOTE_SCHEMES


def check_remote(field: str, uri: str) -> str:
    """The URI.

    Raises:
        ValueError: nothing can be fetched from there, or it is no archive.
    """
    scheme = uri.partition("://")[0]
    if scheme not in REMOTE_SCHEMES:
        raise ValueError(
            f"runtime_env's {field} cannot come from {scheme}://; there are {', '.join(REMOTE_SCHEMES)}, and local "
            "paths."
        )
    endings = (*ARCHIVES, WHEEL) if field == "py_modules" else ARCHIVES
    if not urlsplit(uri).path.endswith(endings):
        raise ValueError(
            f"runtime_env's {field} takes archives ({', '.join(endings)}) from a URI; {uri.partition('?')[0]} is none."
        )
    return uri
