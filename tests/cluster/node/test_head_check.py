"""A node joins only a head that it fits, and says what does not fit."""

import platform

import pytest

from limelight.cluster.node.head_check import WrongHeadError, about_this_process, check_head, compare_clocks

HEAD = about_this_process("head", "s", is_head=True) | {"term": "3"}
OTHER_MINOR = "3.7.9"
OTHER_PATCH = ".".join(platform.python_version().split(".")[:2]) + ".999"


def check(told: dict[str, str], session: str = "", term: int = 0, any_python: bool = False) -> str:
    return check_head(told, "10.0.0.1:6379", session=session, term=term, any_python=any_python)


def test_a_head_like_this_node_is_joined_without_a_word():
    assert check(HEAD) == ""


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (about_this_process("node", "s", is_head=False), "a node of this cluster, and not its head"),
        ({}, "a process of this cluster, and not its head"),
        (HEAD | {"version": "0.0.1"}, "runs Limelight 0.0.1, this node"),
        (HEAD | {"python": OTHER_MINOR}, f"runs Python {OTHER_MINOR}, this node Python {platform.python_version()}"),
    ],
)
def test_what_does_not_fit_is_refused_for_good_and_named(told, said):
    with pytest.raises(WrongHeadError, match=said) as refused:
        check(told)
    assert refused.value.final
    assert "10.0.0.1:6379" in str(refused.value)


def test_another_minor_version_can_be_allowed_and_another_patch_is_only_mentioned():
    assert OTHER_MINOR in check(HEAD | {"python": OTHER_MINOR}, any_python=True)
    assert OTHER_PATCH in check(HEAD | {"python": OTHER_PATCH})


def test_a_head_that_was_replaced_is_refused_where_it_leads_the_same_session():
    with pytest.raises(WrongHeadError, match="was replaced by another"):
        check(HEAD, session="s", term=4)
    assert check(HEAD, session="s", term=3) == ""
    assert check(HEAD, session="one that ended", term=4) == ""


@pytest.mark.parametrize(
    ("asked", "theirs", "answered", "said"),
    [(100.0, 160.0, 100.1, ""), (100.0, 0.0, 100.1, "100 s ahead of"), (100.0, 3700.0, 100.0, "3600 s behind")],
)
def test_clocks_that_differ_by_minutes_are_told(asked, theirs, answered, said):
    assert said in compare_clocks(asked, theirs, answered)
    assert bool(said) == bool(compare_clocks(asked, theirs, answered))
