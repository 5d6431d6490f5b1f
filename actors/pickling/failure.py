"""A task's failure as it travels: readable without the user's classes, and whole where they can be had.

The envelope is a typed struct, so that any process can show it; only `deserialize_error`, in the process that raises
it, unpickles the exception inside.
"""

import pickle
from typing import Any

import msgspec

from ...exceptions import RayError, RayTaskError, UnserializableException
from ...exceptions.error import describe_place
from ...exceptions.rebuild import native_members, new_exception, restore_state
from ...exceptions.trace import describe_exception
from .pickler import dump


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error on the wire.

    Attributes:
        summary: one line for people: "ValueError: bad".
        cause: the pickled exception; empty when it could not be pickled.
        trouble: why the exception could not be pickled, or what of it is missing; "" when it is whole.
        function_name: the task that raised it, or "" for an error of Limelight itself.
        traceback_str: the remote traceback.
        where: `proctitle`, `pid`, `ip`, `actor_repr`, `actor_id`, `node_id`, where known.
    """

    summary: str
    cause: bytes
    trouble: str = ""
    function_name: str = ""
    traceback_str: str = ""
    where: dict[str, str | int | None] = {}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Failure)


def serialize_error(exc: BaseException, function_name: str = "", **where: str | int | None) -> bytes:
    """Encode an error. Never fails: what cannot be pickled is left out, and said to be.

    References in the exception are noted to `recording()`, where there is one.

    Args:
        exc: the exception, with its traceback.
        function_name: the task's name or "Class.method", when the user's code raised it: it arrives as a RayTaskError.
            If "", `exc` is an error of Limelight itself and arrives as it is.
        where: `proctitle`, `pid`, `ip`, `actor_repr`, `actor_id`, `node_id`.
    """
    traceback_str = ""
    if function_name:
        error = RayTaskError.from_exception(exc, function_name, **where)
        exc, traceback_str = error.cause, error.traceback_str
        where.setdefault("pid", error.pid)
    cause, trouble = _pickle(exc)
    return _encoder.encode(Failure(describe_exception(exc), cause, trouble, function_name, traceback_str, where))


def deserialize_error(data: bytes | memoryview) -> BaseException:
    """The error to raise. Of user code: a RayTaskError that is also an instance of the user's class, where possible.

    Each call makes a new error, so that tracebacks do not pile up.
    """
    failure = _decoder.decode(data)
    cause = _unpickle(failure)
    if not failure.function_name:
        return cause
    return RayTaskError(failure.function_name, failure.traceback_str, cause, **failure.where).as_instanceof_cause()  # pyright: ignore[reportArgumentType]  # as `serialize_error` was given


def failure_summary(data: bytes | memoryview) -> str:
    """One line about an encoded error, without unpickling anything."""
    return _decoder.decode(data).summary


def describe_failure(data: bytes | memoryview) -> tuple[str, str, str]:
    """An encoded error for a log, without unpickling anything: the task's name, one line, and all that is known.

    The name is "" for an error of Limelight's own.
    """
    failure = _decoder.decode(data)
    pid, node, ip = (failure.where.get(key) for key in ("pid", "node_id", "ip"))
    place = describe_place(_text(node), _text(ip), pid if isinstance(pid, int) else None)
    report = f"{failure.function_name}() failed in {place}: {failure.summary}\n{failure.traceback_str.rstrip()}"
    return failure.function_name, failure.summary, report


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)


def _pickle(exc: BaseException) -> tuple[bytes, str]:
    try:
        return dump(exc), ""
    except Exception as whole:  # noqa: BLE001  # pickling runs user code
        trouble = describe_exception(whole)
    try:
        reduced, missing = _without_unpicklable(exc)
        return dump(reduced), f"Left out, because they cannot be pickled: {', '.join(missing)}." if missing else trouble
    except Exception as rest:  # noqa: BLE001  # a class that cannot be pickled, for example
        return b"", f"{trouble}; without its attributes: {describe_exception(rest)}"


def _without_unpicklable(exc: BaseException) -> tuple[BaseException, list[str]]:
    """A copy of the exception with those args and attributes that can be pickled; the names of the others."""
    missing: list[str] = []

    def fits(name: str, value: Any) -> bool:
        try:
            dump(value)
        except Exception:  # noqa: BLE001  # pickling runs user code
            missing.append(name)
            return False
        return True

    args = tuple(arg if fits(f"args[{index}]", arg) else repr(arg) for index, arg in enumerate(exc.args))
    copy = new_exception(type(exc), args)
    state = {name: value for name, value in exc.__dict__.items() if fits(name, value)}
    members = {name: value for name, value in native_members(exc).items() if fits(name, value)}
    restore_state(copy, (state, members))
    if missing:
        copy.add_note(f"Left out, because they cannot be pickled: {', '.join(missing)}.")
    return copy, missing


def _unpickle(failure: Failure) -> BaseException:
    if not failure.cause:
        return UnserializableException(
            f"The task raised an exception that cannot be pickled ({failure.trouble}). It was: {failure.summary}"
        )
    try:
        cause = pickle.loads(failure.cause)
    except Exception as exc:  # noqa: BLE001  # unpickling runs user code
        return UnserializableException(
            f"The task raised an exception that cannot be unpickled here ({describe_exception(exc)}): make its class "
            f"importable, and its __reduce__ and its constructor agree. It was: {failure.summary}"
        )
    if isinstance(cause, BaseException):
        return cause
    return RayError(f"What was raised came back as a {type(cause).__name__}. It was: {failure.summary}")
