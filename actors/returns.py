"""Taking a function's result apart into as many values as its `num_returns` promises."""

from collections.abc import Sequence
from itertools import islice
from types import GeneratorType
from typing import Any, cast


def split_returns(result: Any, count: int, name: str) -> Sequence[Any]:
    """The `count` values that the function `name` returned, as in Ray.

    A generator gives its first `count` items, also where `count` is 1; anything else must have exactly `count` items,
    except that 1 takes the result as it is and 0 drops it.

    Raises:
        TypeError: the result cannot be taken apart.
        ValueError: it has another number of items.
        Exception: what the generator raises.
    """
    if isinstance(result, GeneratorType):
        parts = list(islice(cast("GeneratorType[Any, None, Any]", result), count))
        result.close()
    elif count <= 1:
        return (result,) * count
    else:
        try:
            parts = list(result)
        except TypeError:
            raise TypeError(
                f"{name} was to return {count} values (num_returns={count}), but returned one {type(result).__name__}, "
                f"which cannot be taken apart. Return a tuple or list of {count}."
            ) from None
    if len(parts) != count:
        raise ValueError(f"{name} was to return {count} values (num_returns={count}), but returned {len(parts)}.")
    return parts
