"""`multiprocessing.Pool` on the cluster: change the import, and the program runs on every machine.

from limelight.util.multiprocessing import Pool
"""

from multiprocessing import (
    JoinableQueue,
    TimeoutError,  # noqa: A004 - the name of multiprocessing's own
)

from .pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
