"""What people type to say what a machine offers."""

import argparse

import pytest

from limelight.cluster.command.node_option import amounts, host, labels, port, size


def test_a_size_says_how_it_is_written():
    assert size("8GiB") == 8 << 30
    with pytest.raises(argparse.ArgumentTypeError, match="8GiB"):
        size("8XB")


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
