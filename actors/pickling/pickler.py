"""The pickler of values: cloudpickle's, with reducers, contained references and buffers outside the pickle."""

import io
import pickle
from types import CodeType, FunctionType
from typing import Any, cast

import cloudpickle

from ...exceptions.rebuild import reduce_exception
from .array import OUT_OF_BAND, array_reducers
from .arrow import arrow_reducers
from .code import reduce_code
from .reducer import add_imported, reducers, when_imported
from .tensor import tensor_reducers

when_imported("numpy", array_reducers)
when_imported("torch", tensor_reducers)
when_imported("pyarrow", arrow_reducers)
reducers[CodeType] = reduce_code


# `copyreg`'s table and cloudpickle's. The C pickler looks an object up in the chain of both, in Python and raising
# KeyError, before it asks the object; asking here when neither has it makes instances two to three times as fast.
_tables: list[dict[type, Any]] = cast("Any", cloudpickle.Pickler).dispatch_table.maps


class ValuePickler(cloudpickle.Pickler):
    """Pickles one value. What is defined in `__main__` goes by value, as cloudpickle does."""

    def reducer_override(self, obj: Any) -> Any:
        """Called by the C pickler for everything but instances of exactly the built-in types."""
        cls = type(obj)
        reduce = reducers.get(cls)
        if reduce is not None:
            return reduce(obj)
        if cls is FunctionType or issubclass(cls, type):
            return super().reducer_override(obj)
        if issubclass(cls, BaseException):
            return reduce_exception(obj)
        for table in _tables:
            if cls in table:
                return NotImplemented
        return obj.__reduce_ex__(5)


def dump(value: Any, buffers: list[memoryview] | None = None) -> bytes:
    """Pickle `value` by protocol 5; buffers of at least `OUT_OF_BAND` bytes are appended to `buffers`, if it is given.

    Raises whatever pickling raises; see `diagnosis.explain`.
    """
    add_imported()
    file = io.BytesIO()

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND:
            return True
        assert buffers is not None  # noqa: S101  # tells the type checker what `buffer_callback=` below says
        buffers.append(view)
        return False

    ValuePickler(file, 5, None if buffers is None else keep_in_band).dump(value)
    return file.getvalue()
