"""How many connections a process can have: many more than a shell's limit of 1,024 open files."""

import resource

_ENOUGH = 65_536


def raise_descriptor_limit() -> None:
    """Raise this process's limit of open files as far as it may, up to 65,536.

    Strangers hold up to twice `TransportLimits.handshakes` connections while they wait to authenticate, and a head has
    one to each node: neither must leave nothing for the other. Not for processes that run users' code, some of which
    (select(2)) fails with numbers beyond 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
