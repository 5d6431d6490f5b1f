"""Ctrl-C while modules are imported: Python may lose it, and the program would go on."""

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def hearing_interrupts() -> Generator[None, None, None]:
    """Raise KeyboardInterrupt at the end of the block, where it was raised inside and Python has ignored it.

    Python ignores what is raised in finalizers and in callbacks of weak references, such as the one with which each
    import lets go of its module's lock. For the main thread: no other is interrupted.
    """
    ignored, lost = sys.unraisablehook, False

    def on_ignored(args: "sys.UnraisableHookArgs") -> None:
        nonlocal lost
        if isinstance(args.exc_value, KeyboardInterrupt):
            lost = True
        else:
            ignored(args)

    sys.unraisablehook = on_ignored
    try:
        yield
    finally:
        sys.unraisablehook = ignored
    if lost:
        raise KeyboardInterrupt
