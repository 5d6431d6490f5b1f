"""Generators whose workers are killed: each item once, in order."""

import time

import numpy as np
import pytest

from tests.chaos.worker_killer import WorkerKiller

DEADLINE = 30.0


@pytest.mark.parametrize("backpressure", [-1, 2])
def test_a_retried_generator_yields_every_item_once(ll, backpressure):
    @ll.remote(max_retries=-1, num_returns="streaming", _generator_backpressure_num_objects=backpressure)
    def count(start):
        for x in range(start, start + 50):
            time.sleep(0.001)
            yield x

    with WorkerKiller(seed=1, pause=0.1) as killer:
        for start in range(0, 1000, 100):
            streams = [count.remote(start), count.remote(start + 50)]
            for stream, first in zip(streams, (start, start + 50), strict=True):
                items = [ll.get(ref, timeout=DEADLINE) for ref in stream]
                assert items == list(range(first, first + 50))
    assert killer.kills


def test_large_items_are_bit_exact_and_do_not_pile_up(ll):
    """In all 600 MB through a store of 200 MB, with items that come twice because their generator was restarted."""

    @ll.remote(max_retries=-1, num_returns="streaming", _generator_backpressure_num_objects=3)
    def blocks(seed):
        for index in range(30):
            yield np.full(125_000, seed * 1000 + index)

    with WorkerKiller(seed=2, pause=0.15) as killer:
        for seed in range(20):
            for index, ref in enumerate(blocks.remote(seed)):
                block = ll.get(ref, timeout=DEADLINE)
                assert (block == seed * 1000 + index).all()
                del block, ref
    assert killer.kills
