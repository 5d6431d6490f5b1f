"""References to objects: to the result of a task before there is one, or to a value that was put."""

from collections.abc import Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import ids, runtime
from .identifier import JobID, TaskID

if TYPE_CHECKING:
    import asyncio

T_co = TypeVar("T_co", covariant=True)

_NIL = b"\xff" * ids.OBJECT_ID_SIZE


class _NoObject:
    """The `_entry` of a ref that was made from an id: asked for anything, it says why there is nothing."""

    def dropped(self) -> None:
        """Nobody needs to know."""

    def __getattr__(self, name: str) -> Any:
        raise ValueError(
            "This ObjectRef was made from an id, and an id alone does not say where its object is: "
            "use the ref that .remote() or put() returned, or a copy of it that was passed on."
        )


_NO_OBJECT = _NoObject()


class ObjectRef(Generic[T_co]):
    """A reference to an object somewhere in the cluster; made by `.remote()` and `put`, resolved by `get` or `await`.

    The object lives as long as any process holds a reference to it. References are equal when they refer to the same
    object; they may be passed to tasks, put into other objects and pickled within the cluster. Thread-safe.

    For runtimes: `_owner` says which process owns the object, in the runtime's own terms. `_entry` is what the runtime
    keeps for the reference; its `dropped()` is called, from any thread and at any moment, when the reference is
    garbage collected, and must neither block nor raise.
    """

    __slots__ = ("__weakref__", "_entry", "_id", "_owner")

    def __init__(self, id: bytes, owner: Any = None, entry: Any = _NO_OBJECT) -> None:  # noqa: A002 - Ray's word
        self._id = id
        self._owner = owner
        self._entry = entry

    def __del__(self) -> None:
        try:
            entry = self._entry
        except AttributeError:  # Ctrl-C struck as it was made
            return
        if entry is not None:
            entry.dropped()

    def binary(self) -> bytes:
        """The object's id, 28 bytes."""
        return self._id

    def hex(self) -> str:
        """The object's id in hexadecimal."""
        return self._id.hex()

    def is_nil(self) -> bool:
        """Whether this refers to nothing."""
        return self._id == _NIL

    @classmethod
    def nil(cls) -> "ObjectRef[Any]":
        """The reference to nothing."""
        return ObjectRef(_NIL)

    @classmethod
    def size(cls) -> int:
        """Number of bytes in an id."""
        return ids.OBJECT_ID_SIZE

    def task_id(self) -> TaskID:
        """Id of the task that makes the object."""
        return TaskID(ids.task_of(self._id))

    def job_id(self) -> JobID:
        """Id of the job that this process belongs to, and therefore the object."""
        return JobID(runtime.current().context().job_id)

    def result(self, timeout: float | None = None) -> T_co:
        """The value: waits for it, at most `timeout` seconds.

        Raises:
            GetTimeoutError: it was not there in time.
        """
        return runtime.current().get([self], timeout)[0]

    def future(self) -> "Future[T_co]":
        """A `concurrent.futures.Future` that gets the value, or the error. Cancelling it does not cancel the task."""
        return runtime.current().future(self)

    def as_future(self) -> "asyncio.Future[T_co]":
        """An asyncio future of the running loop that gets the value, or the error. Cancelling it cancels no task."""
        import asyncio

        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T_co] = loop.create_future()
        current = runtime.current()
        if current.is_ready(self):
            _resolve(self, waiter)
            return waiter

        current.on_ready(self, Wakeup(self, waiter, loop))
        return waiter

    def __await__(self) -> Generator[Any, None, T_co]:
        return self.as_future().__await__()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, ObjectRef) and other._id == self._id)

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return restore_ref, runtime.current().export_ref(self)


def restore_ref(*exported: Any) -> ObjectRef[Any]:
    """Make a reference from its pickled form, in a process of the same cluster."""
    return runtime.current().import_ref(*exported)


class Wakeup:
    """Has a loop resolve an asyncio future that waits for a ref. From any thread.

    The value is unpickled on the loop that awaits it, as it is user code, and never on the runtime's thread.
    """

    __slots__ = ("_loop", "_ref", "_waiter")

    def __init__(self, ref: ObjectRef[Any], waiter: "asyncio.Future[Any]", loop: "asyncio.AbstractEventLoop") -> None:
        self._ref = ref
        self._waiter = waiter
        self._loop = loop

    def __call__(self, _: object = None) -> None:
        """The ref is ready."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, self._ref, self._waiter)

    @property
    def given_up(self) -> bool:
        """Whether nobody waits any more: the future was cancelled, for example as its time was up."""
        return self._waiter.done()


def _resolve(ref: ObjectRef[Any], waiter: "asyncio.Future[Any]") -> None:
    """Give the waiter the value, or the error, of a ref that is ready."""
    if waiter.done():
        return
    try:
        value = runtime.current().get([ref], None)[0]
    except StopIteration as error:  # asyncio refuses it: it would end the coroutine that awaits
        wrapped = RuntimeError(f"The task raised StopIteration, which a coroutine cannot raise on: {error}")
        wrapped.__cause__ = error
        waiter.set_exception(wrapped)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the waiter's
        waiter.set_exception(error)
    else:
        waiter.set_result(value)
