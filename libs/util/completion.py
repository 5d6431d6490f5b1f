"""Results as they come, rather than all at the end."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ... import ObjectRef, get, wait


def as_completed(
    refs: "Sequence[ObjectRef[Any]]", *, chunk_size: int = 10, yield_obj_refs: bool = False
) -> Iterator[Any]:
    """Iterate over results in about the order in which they become ready.

    Args:
        refs: of tasks or actor calls; each once.
        chunk_size: results are taken together, as many as are ready, up to this number.
        yield_obj_refs: yield refs that are ready rather than values.

    Raises:
        ValueError: `chunk_size` is not positive, or a ref comes twice.
        Exception: a task's own, when its turn comes.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be 1 or more, not {chunk_size}.")
    waiting = list(refs)
    while waiting:
        ready, waiting = _some_ready(waiting, chunk_size, yield_obj_refs)
        yield from ready


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
) -> Iterator[Any]:
    """Run a remote function on every item; iterate over results in about the order in which they become ready.

    Args:
        fn: a remote function of one argument.
        items: taken as results are taken, so that it may be endless.
        backpressure_size: most tasks that are unfinished or whose results were not taken; None: no limit.
        chunk_size: as for `as_completed`.
        yield_obj_refs: as for `as_completed`.

    Raises:
        ValueError: a size is not positive, or `chunk_size` is above `backpressure_size`.
        Exception: a task's own, when its turn comes.
    """
    if chunk_size < 1 or (backpressure_size is not None and backpressure_size < chunk_size):
        raise ValueError(
            f"chunk_size must be 1 or more and at most backpressure_size, not {chunk_size} with {backpressure_size}."
        )
    return _map(fn, iter(items), backpressure_size, chunk_size, yield_obj_refs)


def _map(fn: Any, items: Iterator[Any], limit: int | None, chunk_size: int, yield_obj_refs: bool) -> Iterator[Any]:
    waiting: list[ObjectRef[Any]] = []
    exhausted = False
    while True:
        while not exhausted and (limit is None or len(waiting) < limit):
            try:
                item = next(items)
            except StopIteration:
                exhausted = True
            else:
                waiting.append(fn.remote(item))
        if not waiting:
            return
        ready, waiting = _some_ready(waiting, chunk_size, yield_obj_refs)
        yield from ready


def _some_ready(
    waiting: "list[ObjectRef[Any]]", most: int, yield_obj_refs: bool
) -> "tuple[list[Any], list[ObjectRef[Any]]]":
    """Wait for one result, and take those that are ready with it; returns them and the refs that are left."""
    wait(waiting, num_returns=1, fetch_local=not yield_obj_refs)
    ready, left = wait(waiting, num_returns=min(most, len(waiting)), timeout=0)
    return (ready if yield_obj_refs else get(ready)), left
