"""What the meter puts on the account of a part: its own work, and not what it happens to be interrupted by."""

import gc

from .meter import Meter


def test_collecting_the_garbage_of_all_parts_is_on_the_account_of_none():
    everybody = [[i] for i in range(200_000)]
    meter = Meter(every=1_000)
    meter.run("a part", gc.collect)
    assert meter.collection.seconds > 0
    assert meter.costs()["a part"].seconds < meter.collection.seconds / 10
    assert len(everybody) == 200_000
