"""Amounts are exact, and wrong ones are refused with a reason."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.cluster.scheduling.ledger import Ledger
from limelight.cluster.scheduling.resources import EMPTY, UNIT, ResourceSet, total_of

amounts = st.dictionaries(st.sampled_from(["CPU", "memory", "licence", "GPU"]), st.integers(0, 8), max_size=4)


def test_amounts_are_counted_in_ten_thousandths():
    assert ResourceSet.parse({"CPU": 0.1}).get("CPU") == 1000
    assert ResourceSet.parse({"CPU": 0.1 + 0.2}) == ResourceSet.parse({"CPU": 0.3})


def test_zeros_do_not_count():
    assert ResourceSet.parse({"CPU": 0, "GPU": 0.0}) == EMPTY


def test_fractions_of_a_byte_round_up():
    assert ResourceSet.parse({"memory": 1e9 / 3}).get("memory") == 333333334 * UNIT


@pytest.mark.parametrize(
    ("requested", "error", "says"),
    [
        ({"CPU": -1}, ValueError, "cannot be negative"),
        ({"CPU": math.nan}, ValueError, "finite"),
        ({"CPU": math.inf}, ValueError, "finite"),
        ({"CPU": 0.00001}, ValueError, "steps of 0.0001"),
        ({"GPU": 1.5}, ValueError, "Ask for 1 or 2"),
        ({"CPU": "2"}, TypeError, "must be a number, not str"),
        ({"CPU": True}, TypeError, "must be a number, not bool"),
        ({"": 1}, TypeError, "named by text"),
        ({3: 1}, TypeError, "named by text"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(requested, error, says):
    with pytest.raises(error, match=says):
        ResourceSet.parse(requested)


@given(amounts, amounts)
def test_what_is_added_can_be_taken_away(a, b):
    first, second = ResourceSet.parse(a), ResourceSet.parse(b)
    assert (first + second) - second == first
    assert total_of([first, second]) == first + second
    assert first.fits((first + second).units())


def test_more_than_there_is_cannot_be_taken_away():
    with pytest.raises(ValueError, match="not enough CPU"):
        ResourceSet.parse({"CPU": 1}) - ResourceSet.parse({"CPU": 2})


def test_a_set_survives_the_wire():
    sent = ResourceSet.parse({"CPU": 0.5, "memory": 2**40})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=ResourceSet) == sent
    assert sent.floats() == {"CPU": 0.5, "memory": float(2**40)}


def test_two_gpus_are_two_whole_devices():
    ledger = Ledger(ResourceSet.parse({"GPU": 3}))
    assert ledger.allocate(ResourceSet.parse({"GPU": 2})).devices() == {"GPU": [0, 1]}


def test_shares_are_packed_onto_the_fullest_device_that_has_room():
    ledger = Ledger(ResourceSet.parse({"GPU": 2}))
    half, quarter = ResourceSet.parse({"GPU": 0.5}), ResourceSet.parse({"GPU": 0.25})
    taken = [ledger.allocate(request).devices()["GPU"] for request in (half, quarter, quarter, half)]
    assert taken == [[0], [0], [0], [1]]


def test_halves_of_two_devices_are_not_a_device():
    ledger = Ledger(ResourceSet.parse({"GPU": 2}))
    three_quarters = ResourceSet.parse({"GPU": 0.75})
    ledger.allocate(three_quarters)
    ledger.allocate(three_quarters)
    assert ledger.available["GPU"] == UNIT // 2
    assert not ledger.fits(ResourceSet.parse({"GPU": 0.5}))


def test_a_bundle_sees_the_devices_that_it_holds():
    node = Ledger(ResourceSet.parse({"CPU": 2, "GPU": 2}))
    node.allocate(ResourceSet.parse({"GPU": 1}))
    bundle = Ledger.within(node.allocate(ResourceSet.parse({"CPU": 1, "GPU": 1})))
    assert bundle.allocate(ResourceSet.parse({"GPU": 1})).devices() == {"GPU": [1]}
    assert not bundle.fits(ResourceSet.parse({"GPU": 0.5}))


def test_half_a_device_is_no_node_total():
    with pytest.raises(ValueError, match="whole devices"):
        Ledger(ResourceSet.parse({"GPU": 0.5}))


@given(st.lists(st.tuples(st.sampled_from([0.25, 0.5, 1, 2]), st.booleans()), max_size=30))
def test_devices_are_never_shared_beyond_one_and_all_come_back(steps):
    ledger = Ledger(ResourceSet.parse({"GPU": 4}))
    held = []
    for amount, release in steps:
        if release and held:
            ledger.release(held.pop(0))
        elif allocation := ledger.allocate(ResourceSet.parse({"GPU": amount})):
            held.append(allocation)
        shares = dict.fromkeys(range(4), 0)
        for allocation in held:
            for index, share in dict(allocation.shares)["GPU"]:
                shares[index] += share
        assert all(0 <= share <= UNIT for share in shares.values())
        assert ledger.free["GPU"] == {index: UNIT - share for index, share in shares.items()}
    for allocation in held:
        ledger.release(allocation)
    assert ledger.available == {"GPU": 4 * UNIT}
