"""What a streaming task returns: refs to its items, one by one, while it still runs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from . import runtime
from .object_ref import ObjectRef

if TYPE_CHECKING:
    import asyncio

T_co = TypeVar("T_co", covariant=True)


class ObjectRefGenerator(Generic[T_co]):
    """Iterates over refs to the items that a generator task or method yields, as they appear.

    Works in `for` and in `async for`. When the task fails, the last ref is that of the error, and `get` of it raises.
    Belongs to the process that made the call: it cannot be pickled. Not to be consumed by two threads at once.

    For runtimes: `_completed` is a ref that becomes ready (with None) when the task has ended; `_entry` is what the
    runtime keeps, with `dropped()` as in `ObjectRef`.
    """

    __slots__ = ("__weakref__", "_completed", "_entry", "_finished")

    def __init__(self, completed: ObjectRef[None], entry: Any) -> None:
        self._completed = completed
        self._entry = entry
        self._finished = False

    def __del__(self) -> None:
        if self._entry is not None:
            self._entry.dropped()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ObjectRef[T_co]:
        ref = None if self._finished else runtime.current().next_item(self, None)
        if ref is None:
            self._finished = True
            raise StopIteration
        return ref

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ObjectRef[T_co]:
        if not self._finished:
            await self._until_ready()
            ref = runtime.current().next_item(self, 0)
            if ref is not None:
                return ref
            self._finished = True
        raise StopAsyncIteration

    async def _until_ready(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def on_ready() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, waiter)

        current = runtime.current()
        current.on_next_item(self, on_ready)
        try:
            await waiter
        except BaseException:
            current.forget_next_item(self, on_ready)
            raise

    def completed(self) -> ObjectRef[None]:
        """A ref that becomes ready (with None) when the task has ended, however many items were taken.

        It becomes an error where the task was cancelled or its process died; what the task raised is its last item.
        """
        return self._completed

    def next_ready(self) -> bool:
        """Whether `next()` would return a ref (or raise StopIteration) without waiting; False once it is finished."""
        if self._finished:
            return False
        ready, _ = runtime.current().wait([self], 1, 0, fetch_local=False)
        return bool(ready)

    def is_finished(self) -> bool:
        """Whether all items have been taken."""
        return self._finished

    def send(self, value: object) -> None:
        """Not supported: a task cannot be sent values. Pass an actor handle to the task instead."""
        raise NotImplementedError(
            f"ObjectRefGenerator.send({value!r}) is not supported: pass the task an actor handle to talk to."
        )

    def throw(self, *_: object) -> None:
        """Not supported: use `cancel`."""
        raise NotImplementedError("ObjectRefGenerator.throw is not supported: use limelight.cancel(generator).")

    def close(self) -> None:
        """Not supported: use `cancel`, or drop the generator."""
        raise NotImplementedError("ObjectRefGenerator.close is not supported: use limelight.cancel(generator).")

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._completed.task_id().hex()})"

    def __reduce__(self) -> Any:
        raise TypeError(
            "An ObjectRefGenerator belongs to the process that made the call and cannot be passed on or returned. "
            "Pass the refs it yields, or call the generator where they are consumed."
        )


class DynamicObjectRefGenerator(Generic[T_co]):
    """The value of a `num_returns="dynamic"` task: refs to all items it yielded, after it has ended."""

    __slots__ = ("_refs",)

    def __init__(self, refs: Sequence[ObjectRef[T_co]]) -> None:
        self._refs = tuple(refs)

    def __iter__(self) -> Iterator[ObjectRef[T_co]]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return DynamicObjectRefGenerator, (self._refs,)


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
