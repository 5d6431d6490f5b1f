"""Amounts of memory as people write them."""

import pytest

from limelight.cluster.byte_size import parse_bytes


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
    assert parse_bytes(typed) == amount


@pytest.mark.parametrize("typed", ["", "8XB", "-1", "GiB", "1,5G", "8 GiB more", "nan", "0x10"])
def test_what_is_no_size(typed):
    with pytest.raises(ValueError, match="8GiB"):
        parse_bytes(typed)
