"""numpy arrays: large ones leave the pickle as buffers, small ones come back read-only as the large do."""

import pickle
from types import ModuleType
from typing import Any

from .reducer import Reducer

OUT_OF_BAND = 4096
"""Buffers of at least so many bytes travel outside the pickle, to be mapped rather than copied."""


def array_reducers(numpy: ModuleType) -> dict[type, Reducer] | None:
    """Reducers for numpy's array class; None while numpy is only half imported."""
    if not hasattr(numpy, "ascontiguousarray"):
        return None
    contiguous = numpy.ascontiguousarray

    def reduce_array(array: Any) -> Any:
        reduced = array.__reduce_ex__(5)
        if not _has_buffer(reduced):
            if array.dtype.hasobject or array.size == 0:
                return reduced
            if array.dtype.kind in "mM":  # dates and durations have no buffer; the integers beneath have
                return _view, (array.view("i8"), array.dtype)
            reduced = contiguous(array).__reduce_ex__(5)
            if not _has_buffer(reduced):
                return reduced
        if array.nbytes >= OUT_OF_BAND:
            return reduced
        # A buffer kept in band would come back as a writable bytearray, and code that writes to its argument would
        # work until the argument grows. Bytes keep small arrays as read-only as large ones are.
        make, (buffer, *rest) = reduced
        return make, (bytes(buffer.raw()), *rest)

    return {numpy.ndarray: reduce_array}


def _has_buffer(reduced: tuple[Any, ...]) -> bool:
    """Whether numpy reduced an array to (function, (buffer, ...)): not so where its memory is no plain buffer."""
    return len(reduced) == 2 and type(reduced[1][0]) is pickle.PickleBuffer  # noqa: PLR2004  # (function, arguments)


def _view(array: Any, dtype: Any) -> Any:
    return array.view(dtype)
