"""Tables for terminals."""

from limelight.cluster.command.machine_text import offer
from limelight.cluster.command.status import render
from limelight.cluster.command.table import table


def test_columns_are_as_wide_as_what_is_in_them():
    assert table(["A", "LONG"], [["wide cell", "x"], ["y", "z"]], 80) == "A          LONG\nwide cell  x\ny          z"


def test_a_line_that_is_too_long_is_cut():
    lines = table(["A", "B"], [["a", "b" * 100]], 20).splitlines()
    assert lines[1] == "a  " + "b" * 16 + "…"


def test_an_offer_names_what_there_is_and_nothing_else():
    gib = float(1 << 30)
    basic = {"CPU": 1.0, "memory": gib, "object_store_memory": gib, "node:10.0.0.1": 1.0, "accelerator_type:H100": 1.0}
    assert offer(basic) == "1 CPU, 1.0 GiB of memory, 1.0 GiB for objects"
    assert offer({**basic, "CPU": 2.5, "GPU": 1.0, "licence": 2.0}) == (
        "2.5 CPUs, 1 GPU, 1.0 GiB of memory, 1.0 GiB for objects, 2 licence"
    )


def test_a_status_tells_nodes_use_and_losses():
    node = {"NodeID": "a1" * 28, "NodeName": "bee", "Alive": True, "Resources": {"CPU": 2.0}, "Labels": {"zone": "b"}}
    gone = {**node, "NodeID": "b2" * 28, "Alive": False, "DeathReasonMessage": "it was stopped"}
    page = render("10.0.0.5:6379", [node, gone], {"CPU": 20_000, "memory": 1 << 44}, {"CPU": 15_000, "memory": 1 << 44})
    lines = [line.split() for line in page.splitlines()]
    assert page.startswith("The cluster at 10.0.0.5:6379: 1 node.\n")
    assert ["a1a1a1a1a1a1", "bee", "2", "0", "0", "B", "0", "B", "zone=b"] in lines
    assert ["CPU", "0.5", "2"] in lines
    assert ["b2b2b2b2b2b2", "bee", "it", "was", "stopped"] in lines


def test_a_status_tells_what_leaves():
    node = {"NodeID": "a1" * 28, "NodeName": "bee", "Alive": True, "Resources": {"CPU": 2.0}, "Labels": {}}
    page = render("h:1", [{**node, "Draining": True, "DrainReason": "new disk"}], {}, {})
    assert page.endswith("LEAVING       NAME  WHY\na1a1a1a1a1a1  bee   it is drained (new disk)")
    assert "LEAVING" not in render("h:1", [{**node, "Draining": False, "DrainReason": ""}], {}, {})


def test_the_label_that_repeats_a_nodes_id_is_not_shown():
    labels = {"zone": "b", "ray.io/node-id": "a1" * 28}
    node = {"NodeID": "a1" * 28, "NodeName": "bee", "Alive": True, "Resources": {}, "Labels": labels}
    assert "  zone=b" in render("h:1", [node], {}, {}).splitlines()[3]


def test_a_reason_that_does_not_fit_is_told_whole_below(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    node = {"NodeID": "b2" * 28, "NodeName": "bee", "Alive": False, "Resources": {}, "Labels": {}}
    reason = f"it was drained ({'for a long reason ' * 5})"
    page = render("h:1", [{**node, "DeathReasonMessage": reason}], {}, {})
    assert page.endswith(f"it was drained (for…\n\nb2b2b2b2b2b2: {reason}")


def test_why_a_node_is_gone_fits_its_line_and_is_told_whole_below(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    reason = f"its process ended without a word: Process {'2c' * 16} is lost. Cannot connect to it: refused."
    node = {"NodeID": "b2" * 28, "NodeName": "bee", "Alive": False, "Resources": {}, "Labels": {}}
    page = render("h:1", [{**node, "DeathReasonMessage": reason}], {}, {})
    assert page.endswith(
        f"GONE          NAME  WHY\nb2b2b2b2b2b2  bee   its process ended without a word\n\nb2b2b2b2b2b2: {reason}"
    )
