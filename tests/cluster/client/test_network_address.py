"""How people write addresses."""

import pytest

from limelight.cluster.client.network_address import (
    is_loopback,
    join_host_port,
    own_addresses,
    with_port,
)
from limelight.transport.address import host_and_port


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("10.0.0.5", "10.0.0.5:6379"),
        ("10.0.0.5:7000", "10.0.0.5:7000"),
        ("head.lan", "head.lan:6379"),
        ("head.lan:1", "head.lan:1"),
        ("::1", "[::1]:6379"),
        ("[::1]", "[::1]:6379"),
        ("[fe80::2]:7000", "[fe80::2]:7000"),
    ],
)
def test_the_port_may_be_left_out(typed, meant):
    assert with_port(typed) == meant


@pytest.mark.parametrize("typed", ["", ":6379", "host:", "host:x", "host:0", "host:65536", "http://host:1", "host:-1"])
def test_what_is_no_address_is_refused_with_an_example(typed):
    with pytest.raises(ValueError, match="such as"):
        with_port(typed)


@pytest.mark.parametrize("address", ["10.0.0.5:7000", "[::1]:6379", "head.lan:1"])
def test_an_address_is_its_two_parts(address):
    assert join_host_port(*host_and_port(address)) == address


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("10.0.0.5", False)],
)
def test_loopback_is_for_this_machine_only(host, alone):
    assert is_loopback(host) is alone


def test_own_addresses_are_those_that_others_may_reach():
    assert not any(is_loopback(address) for address in own_addresses())
