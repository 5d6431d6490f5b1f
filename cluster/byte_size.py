"""Amounts of memory as people write them."""

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """A number of bytes: 500000000, 500e6, 500MB, 8GiB, 8G (which is 8GiB).

    Raises:
        ValueError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write bytes, or a number with a unit, such as 8GiB.")
    number, unit, _ = match.groups()
    decimal = bool(unit) and re.search(r"[kmgt]b$", text.strip(), re.IGNORECASE) is not None
    return int(float(number) * (1000 if decimal else 1024) ** ("kmgt".find(unit.lower()) + 1 if unit else 0))
