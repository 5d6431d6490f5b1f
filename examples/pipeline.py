"""A streaming pipeline: a generator task reads batches, others work on each while the next is still being read."""

import time
from collections.abc import Iterator

import limelight as ll

BATCHES = 8


@ll.task(num_returns="streaming")
def read(batches: int) -> Iterator[list[int]]:
    """Yield batches of ten numbers, as a slow source gives them."""
    for batch in range(batches):
        time.sleep(0.1)
        yield list(range(10 * batch, 10 * batch + 10))


@ll.task
def total(batch: list[int]) -> int:
    """The sum of a batch's squares."""
    return sum(number * number for number in batch)


if __name__ == "__main__":
    # Each item is a ref: the batch goes from the task that read it to the one that sums it, not through this process.
    totals = []
    for position, batch in enumerate(read.remote(BATCHES), 1):
        totals.append(total.remote(batch))
        print(f"batch {position} of {BATCHES} is there")
    print("sum of squares below 80:", sum(ll.get(totals)))
