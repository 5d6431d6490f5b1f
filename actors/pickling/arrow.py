"""Arrow tables: a slice of a table is sent as what it shows, not as the buffers beneath, which may be far larger."""

from types import ModuleType
from typing import Any

from .reducer import Reducer

_WORTH_IT = 64 * 1024
"""Unneeded bytes below which pickling the buffers as they are is quicker than writing the slice out."""


def arrow_reducers(pyarrow: ModuleType) -> dict[type, Reducer] | None:
    """Reducers for pyarrow's tables and record batches; None while pyarrow is only half imported."""
    if not hasattr(pyarrow, "RecordBatch") or not hasattr(pyarrow, "ipc"):
        return None

    def reduce_rows(rows: Any) -> Any:
        shown = rows.nbytes
        if rows.get_total_buffer_size() <= 2 * shown + _WORTH_IT:
            return NotImplemented
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, rows.schema) as writer:
            writer.write(rows)
        return _read_rows, (sink.getvalue(), isinstance(rows, pyarrow.Table))

    return {pyarrow.Table: reduce_rows, pyarrow.RecordBatch: reduce_rows}


def _read_rows(buffer: Any, is_table: bool) -> Any:
    import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]  # pyarrow ships none

    with pa.ipc.open_stream(buffer) as reader:
        return reader.read_all() if is_table else reader.read_next_batch()
