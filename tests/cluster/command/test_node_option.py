"""What people type to say what a machine offers."""

import argparse

import pytest

from limelight.cluster.command.node_option import amounts, host, labels, port, size


@pytest.mark.parametrize(
    ("typed", "amount"),
    [
        ("500000000", 500_000_000),
        ("500e6", 500_000_000),
        ("500MB", 500_000_000),
        ("8GiB", 8 << 30),
        ("8G", 8 << 30),
        ("1.5 gib", 3 << 29),
        ("2k", 2048),
        ("1TB", 10**12),
        ("0", 0),
    ],
)
def test_sizes(typed, amount):
    assert size(typed) == amount


@pytest.mark.parametrize("typed", ["", "8XB", "-1", "GiB", "1,5G", "8 GiB more", "nan", "0x10"])
def test_what_is_no_size(typed):
    with pytest.raises(argparse.ArgumentTypeError, match="8GiB"):
        size(typed)


def test_resources_are_json():
    assert amounts('{"licence": 2, "half": 0.5}') == {"licence": 2.0, "half": 0.5}
    assert amounts("{}") == {}


@pytest.mark.parametrize(
    "typed", ["licence=2", "{licence: 2}", '{"licence": "2"}', '{"a": true}', "[1]", "2", "", "null"]
)
def test_what_are_no_resources(typed):
    with pytest.raises(argparse.ArgumentTypeError, match='"licence": 2'):
        amounts(typed)


def test_labels_are_pairs():
    assert labels("zone=b,disk=ssd") == {"zone": "b", "disk": "ssd"}
    assert labels("zone = b, empty=") == {"zone": "b", "empty": ""}
    assert labels("") == {}


@pytest.mark.parametrize("typed", ["zone", "=b", "a=b,c"])
def test_what_are_no_labels(typed):
    with pytest.raises(argparse.ArgumentTypeError, match="key=value"):
        labels(typed)


def test_ports_and_hosts():
    assert port("0") == 0
    assert port("65535") == 65535
    for typed in ("65536", "-1", "http", "", "1.5"):
        with pytest.raises(argparse.ArgumentTypeError, match="65535"):
            port(typed)
    assert host("[::1]") == host("::1") == "::1"
