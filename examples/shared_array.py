"""Large arrays: stored once in shared memory, read by every task of the machine without a copy."""

import numpy as np

import limelight as ll

ROWS = 2_000_000
PARTS = 8


@ll.task
def column_sums(table: np.ndarray, part: int) -> np.ndarray:
    """Sum one part of the rows. `table` is a read-only view of the shared memory, whatever its size."""
    if table.flags.writeable:
        raise ValueError("a shared array must be read-only")
    rows = len(table) // PARTS
    return table[part * rows : (part + 1) * rows].sum(axis=0)


if __name__ == "__main__":
    table = np.arange(ROWS * 4, dtype=np.float64).reshape(ROWS, 4)
    # One put, eight tasks: passing the array itself would store it eight times.
    ref = ll.put(table)
    sums = sum(ll.get([column_sums.remote(ref, part) for part in range(PARTS)]))
    print(f"{table.nbytes / 1e6:.0f} MB shared by {PARTS} tasks")
    print("same sums as in one process:", np.array_equal(sums, table.sum(axis=0)))
