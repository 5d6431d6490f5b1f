"""What becomes of a process's runtime in a child that user code forks: nothing.

The child has the parent's memory but not its wire thread, and its sockets are the parent's. It may compute and exit;
whatever it asks of the runtime would never be answered, so it gets an error at once.
"""

import contextlib
import os
import traceback
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

from .. import runtime
from . import standard_stream

if TYPE_CHECKING:
    from .hub import Hub


class ForkedRuntime:
    """Stands for the runtime in a forked child."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(
            f"This process (pid {os.getpid()}) was forked from a Limelight driver or worker and has no connection of "
            "its own. Use tasks or multiprocessing's 'spawn' context in place of fork, or Limelight in the parent only."
        )


def guard(hub: "Hub") -> None:
    """See to it that children of this process leave its runtime alone."""
    known = weakref.ref(hub)

    def in_child() -> None:
        hub = known()
        if hub is not None:
            hub.forked = True
            hub.wire.disable()
            runtime.install(ForkedRuntime())  # pyright: ignore[reportArgumentType]  # it has every method: each raises

    os.register_at_fork(after_in_child=in_child)


def end_child(error: BaseException | None) -> NoReturn:
    """The user's function came to its end in a child that it forked: so does the child. Its parent answers the call."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    elif error is not None:
        code = 1
        with contextlib.suppress(ValueError, OSError):  # standard error is closed
            traceback.print_exception(error)
    standard_stream.flush()
    os._exit(code)
