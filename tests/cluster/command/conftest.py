"""Machines for the tests of the command."""

from collections.abc import Iterator

import pytest

from .machine import Machine, machine


@pytest.fixture
def own() -> Iterator[Machine]:
    """A machine for one test."""
    with machine() as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[Machine]:
    """A machine on which a head and its node run, for tests that leave them so."""
    with machine() as made:
        made.head = made.start()
        yield made


@pytest.fixture(scope="module")
def guest(running) -> Iterator[Machine]:
    """Another machine, whose user has the token of the cluster on the first."""
    with machine() as made:
        made.environment["LIMELIGHT_TOKEN"] = running.done("token").strip()
        yield made
