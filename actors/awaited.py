"""Awaiting a ref: the asyncio future that stands for it on one loop."""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .object_ref import ObjectRef
    from .runtime import Runtime


class Awaited(asyncio.Future[Any]):
    """Gets the value, or the error, of a ref. It is its own callback; once cancelled it is not called back any more.

    The value is unpickled on the loop that awaits it, as it is user code, and never on the runtime's thread.
    """

    def __init__(self, ref: "ObjectRef[Any]", runtime: "Runtime", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._ref: ObjectRef[Any] | None = ref
        self._runtime = runtime
        if runtime.is_ready(ref):
            self._resolve()
        else:
            runtime.on_ready(ref, self)

    def __call__(self) -> None:
        """The ref is ready. From any thread."""
        loop = self.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._resolve)

    def cancel(self, msg: Any = None) -> bool:
        """Wait no more. The task goes on."""
        cancelled = super().cancel(msg)
        if cancelled and self._ref is not None:
            self._runtime.forget(self._ref, self)
            self._ref = None
        return cancelled

    def _resolve(self) -> None:
        ref, self._ref = self._ref, None
        if ref is None or self.done():
            return
        try:
            value = self._runtime.get([ref], None)[0]
        except StopIteration as error:  # asyncio refuses it: it would end the coroutine that awaits
            wrapped = RuntimeError(f"The task raised StopIteration, which a coroutine cannot raise on: {error}")
            wrapped.__cause__ = error
            self.set_exception(wrapped)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the waiter's
            self.set_exception(error)
        else:
            self.set_result(value)
