"""Who is told that the head is away, whose questions are refused, and who waits without a word."""

import pytest

from limelight.cluster.node.head_patience import HeadPatience


@pytest.fixture
def patience():
    return HeadPatience(60.0, 3.0)


def test_a_program_is_told_once_that_it_waits(patience):
    patience.said(1, "a", "RegisterActor", 10.0)
    assert patience.look(12.9, []).tell == []
    assert patience.look(13.0, []).tell == ["a"]
    patience.said(2, "a", "RegisterActor", 13.0)
    assert patience.look(20.0, []).tell == []


def test_nobody_is_told_of_a_head_that_was_away_for_a_moment(patience):
    patience.away(0.0)
    patience.said(1, "a", "RegisterActor", 0.5)
    patience.back()
    patience.answered(1)
    assert patience.look(10.0, ["b"]).tell == []
    assert patience.relieved(10.0) == []
    assert not patience.looks


def test_who_waits_for_room_or_a_group_is_told_when_the_head_is_away_and_not_before(patience):
    patience.said(1, "a", "AwaitGroup", 0.0)
    assert patience.look(100.0, ["b"]).tell == []
    patience.away(100.0)
    assert patience.look(102.0, ["b"]).tell == []
    assert patience.look(103.0, ["b"]).tell == ["a", "b"]


def test_a_job_that_runs_waits_for_nothing_though_its_supervisor_listens(patience):
    patience.said(1, "supervisor", "AwaitJobStop", 0.0)
    assert not patience.looks
    patience.away(0.0)
    assert patience.look(100.0, []).tell == []


def test_who_was_told_is_told_when_the_head_answers_again(patience):
    patience.away(0.0)
    patience.said(1, "a", "RegisterActor", 0.0)
    assert patience.look(3.0, ["b"]).tell == ["a", "b"]
    assert patience.relieved(4.0) == []
    patience.back()
    assert patience.relieved(5.0) == [], "it is there, and has not answered yet"
    patience.answered(1)
    assert patience.relieved(6.0) == ["a", "b"]
    assert patience.relieved(7.0) == []


def test_a_process_that_has_ended_is_told_nothing(patience):
    patience.said(1, "a", "RegisterActor", 0.0)
    assert patience.look(3.0, []).tell == ["a"]
    patience.left("a")
    patience.answered(1)
    assert patience.relieved(4.0) == []


@pytest.mark.parametrize("method", ["QueryState", "FindActor", "FindGroup", "ListNamedActors"])
def test_what_changes_nothing_is_refused_in_the_end(patience, method):
    patience.said(1, "a", method, 0.0)
    assert patience.look(59.9, []).refuse == []
    assert patience.look(60.0, []).refuse == [1]


@pytest.mark.parametrize("method", ["RegisterActor", "CreateGroup", "AwaitGroup", "KillActor", "DefineEnvironment"])
def test_what_changes_something_waits_for_as_long_as_it_takes(patience, method):
    patience.said(1, "a", method, 0.0)
    assert patience.look(1e6, []).refuse == []


def test_questions_can_be_told_to_wait_without_end():
    patience = HeadPatience(0.0)
    patience.said(1, "a", "FindActor", 0.0)
    assert patience.look(1e6, []).refuse == []
