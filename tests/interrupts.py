"""Ctrl-C at every moment at which CPython lets a signal's handler run: as a function begins, and after a call of C.

Except within `__del__`, whose exceptions Python ignores, and with them what it has not done yet.
"""

import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any


def interrupts(act: Callable[[], object], *modules: ModuleType) -> Iterator[int]:
    """Run `act` again and again, and raise KeyboardInterrupt in code of the modules, one moment later each time.

    Yields the number of the moment after each run that was struck; ends with the run that gets through. The test
    checks after each that nothing is left half done. `act` runs on the calling thread.
    """
    step = 0
    while _struck(act, step, {module.__file__ for module in modules}):
        yield step
        step += 1
    assert step, "the code that was to be interrupted has not run"


def _struck(act: Callable[[], object], step: int, files: set[str | None]) -> bool:
    left = step
    struck = False

    def strike(frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal left, struck
        if struck or event not in {"call", "c_return"} or frame.f_code.co_filename not in files:
            return
        if _is_finalizing(frame):
            return
        if left == 0:
            struck = True
            raise KeyboardInterrupt
        left -= 1

    before = sys.getprofile()
    sys.setprofile(strike)
    try:
        act()
    except KeyboardInterrupt:
        if not struck:
            raise
    finally:
        sys.setprofile(before)
    return struck


def _is_finalizing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
