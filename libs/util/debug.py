"""Saying a thing once, however often it comes up: what libraries use around their warnings."""

import threading
import time

_PERIOD_S = 60.0

_lock = threading.Lock()
_said: dict[str, float] = {}
_silent = False
_periodic = False


def log_once(key: str) -> bool:
    """Whether this process asks for `key` for the first time: then a warning about it is due."""
    now = time.monotonic()
    with _lock:
        last = _said.get(key)
        if _silent or (last is not None and not (_periodic and now - last >= _PERIOD_S)):
            return False
        _said[key] = now
        return True


def disable_log_once_globally() -> None:
    """Have `log_once` say no from now on, whatever it is asked for."""
    global _silent
    _silent = True


def enable_periodic_logging() -> None:
    """Have `log_once` say yes again, and once a minute for each key."""
    global _silent, _periodic
    _silent, _periodic = False, True


def reset_log_once(key: str | None = None) -> None:
    """Forget that there was a `key`; without one, all of them."""
    with _lock:
        if key is None:
            _said.clear()
        else:
            _said.pop(key, None)
