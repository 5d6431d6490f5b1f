"""What a node finds on its machine."""

import psutil

from limelight.cluster.node.inventory import memory_limit


def test_no_more_memory_is_offered_than_the_machine_has(monkeypatch):
    monkeypatch.setattr("pathlib.Path.read_text", lambda path, **how: "max")  # no limit by a control group
    assert memory_limit() == psutil.virtual_memory().total
