"""Label selectors: the syntax, what it means, and what is refused."""

import pytest

from limelight.cluster.scheduling.labels import LabelCondition, check_labels, matches, parse_selector

NODE = {"zone": "a", "disk": "ssd", "example.com/rack": "r1"}


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ({}, True),
        ({"zone": "a"}, True),
        ({"zone": "b"}, False),
        ({"zone": "!b"}, True),
        ({"zone": "!a"}, False),
        ({"zone": "in(a, b)"}, True),
        ({"zone": "in(b,c)"}, False),
        ({"zone": "!in(b, c)"}, True),
        ({"zone": "!in(a, c)"}, False),
        ({"example.com/rack": "r1", "zone": "a"}, True),
        ({"example.com/rack": "r1", "zone": "b"}, False),
        ({"missing": "x"}, False),
        ({"missing": "!x"}, True),
        ({"missing": "!in(x, y)"}, True),
    ],
)
def test_a_selector_holds_or_does_not(selector, holds):
    assert matches(parse_selector(selector), NODE) is holds


def test_existence_can_be_asked_for():
    assert LabelCondition("zone", "exists").holds(NODE)
    assert not LabelCondition("zone", "does_not_exist").holds(NODE)
    assert LabelCondition("missing", "does_not_exist").holds(NODE)


@pytest.mark.parametrize(
    ("selector", "error", "says"),
    [
        ({"zone": 3}, TypeError, "must be text, not int"),
        ({3: "a"}, TypeError, "key must be text"),
        ({"zo ne": "a"}, ValueError, "no label key"),
        ({"a/b/c": "a"}, ValueError, "no label key"),
        ({"zone": "a b"}, ValueError, "Selectors are"),
        ({"zone": "in(a,)"}, ValueError, "empty value"),
        ({"zone": "x" * 64}, ValueError, "at most 63"),
    ],
)
def test_bad_syntax_is_refused_with_the_right_one(selector, error, says):
    with pytest.raises(error, match=says):
        parse_selector(selector)


def test_a_nodes_own_labels_are_checked_too():
    assert check_labels({"zone": "a", "empty": ""}) == {"zone": "a", "empty": ""}
    with pytest.raises(ValueError, match="no value for label"):
        check_labels({"zone": "-"})
