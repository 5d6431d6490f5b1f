"""A failure arrives whole where it can, and readable where it cannot."""

import os
import pickle
import threading

import pytest

from limelight import exceptions as ex
from limelight.actors import serialization
from limelight.actors.pickling import failure


class OddError(Exception):
    def __init__(self, code, *, extra):
        super().__init__(f"code {code}")
        self.code, self.extra = code, extra


class HoldsLockError(Exception):
    def __init__(self, code):
        super().__init__("busy", threading.Lock())
        self.code = code
        self.lock = threading.Lock()


class WrongPicklingError(Exception):
    def __reduce__(self):
        return WrongPicklingError._missing, ()

    @staticmethod
    def _missing():
        raise RuntimeError("cannot be made again")


class NotAnErrorWhenUnpickledError(Exception):
    def __reduce__(self):
        return str, ("text",)


def send(exc, function_name="load", **where):
    try:
        raise exc
    except BaseException as caught:
        return serialization.serialize_error(caught, function_name, **where)


def arrive(exc, function_name="load", **where):
    return serialization.deserialize_error(send(exc, function_name, **where))


class TestUserErrors:
    def test_arrive_as_the_users_class_with_place_and_traceback(self):
        error = arrive(
            OddError(3, extra=[1]), node_id="ab" * 28, ip="10.0.0.4", actor_repr="Loader()", actor_id="cd" * 16
        )
        assert isinstance(error, OddError)
        assert isinstance(error, ex.RayTaskError)
        assert (error.code, error.extra) == (3, [1])
        assert (error.function_name, error.pid, error.node_id, error.ip) == ("load", os.getpid(), "ab" * 28, "10.0.0.4")
        assert (error.actor_repr, error.actor_id) == ("Loader()", "cd" * 16)
        assert "raise exc" in str(error)

    def test_classes_of_main_go_by_value(self):
        cls = type("FromMainError", (Exception,), {"__module__": "__main__"})
        assert type(arrive(cls("bad")).cause).__name__ == "FromMainError"

    def test_of_a_nested_task_keep_the_first_cause(self):
        error = arrive(arrive(OddError(3, extra=1), "inner"), "outer")
        assert isinstance(error, OddError)
        assert (error.function_name, error.code) == ("outer", 3)
        assert "inner() failed" in str(error)

    def test_exit_requests_do_not_end_the_reader(self):
        error = arrive(SystemExit(3))
        assert type(error) is ex.RayTaskError
        assert error.cause.code == 3

    def test_each_reading_is_a_new_error(self):
        data = send(ValueError("bad"))
        assert serialization.deserialize_error(data) is not serialization.deserialize_error(data)

    def test_refs_in_it_are_recorded(self):
        class Ref:
            def __reduce__(self):
                serialization.note_pickled(self)
                return str, ()

        ref = Ref()
        with serialization.recording() as refs:
            send(ValueError(ref))
        assert refs == [ref]


class TestWhatCannotTravel:
    def test_attributes_are_left_out_and_named(self):
        error = arrive(HoldsLockError(5))
        assert isinstance(error, HoldsLockError)
        assert error.code == 5
        assert not hasattr(error, "lock")
        assert error.args[0] == "busy"
        assert "lock" in error.args[1]
        assert error.__notes__ == ["Left out, because they cannot be pickled: args[1], lock."]

    def test_a_class_that_cannot_be_pickled(self):
        cls = type("LocalError", (Exception,), {"__module__": "__main__", "lock": threading.Lock()})
        error = arrive(cls("bad"))
        assert isinstance(error, ex.UnserializableException)
        assert isinstance(error, ex.RayTaskError)
        assert "LocalError: bad" in str(error.cause)
        assert "cannot pickle" in str(error.cause)
        assert "raise exc" in str(error)

    @pytest.mark.parametrize("exc", [WrongPicklingError("bad"), NotAnErrorWhenUnpickledError("bad")], ids=type)
    def test_an_exception_that_cannot_be_made_again_here(self, exc):
        error = arrive(exc)
        assert isinstance(error, ex.RayTaskError)
        assert "bad" in str(error.cause)
        assert "raise exc" in str(error)

    def test_a_class_that_is_not_importable_here(self):
        data = send(OddError(3, extra=1))
        name = OddError.__module__.encode()
        error = serialization.deserialize_error(data.replace(name, name[:-1] + b"x"))
        assert isinstance(error, ex.UnserializableException)
        assert "importable" in str(error.cause)
        assert "code 3" in str(error.cause)


class TestErrorsOfLimelight:
    def test_arrive_as_they_are(self):
        cause = ex.DeathCause(ex.DeathKind.SIGNALLED, signal=9, stderr_tail=("last",))
        error = serialization.deserialize_error(
            serialization.serialize_error(ex.WorkerCrashedError(cause=cause, task_name="f"))
        )
        assert type(error) is ex.WorkerCrashedError
        assert error.cause == cause

    def test_raised_in_a_task_they_are_the_tasks(self):
        error = arrive(ex.GetTimeoutError("slow"))
        assert isinstance(error, ex.GetTimeoutError)
        assert isinstance(error, ex.RayTaskError)


def test_a_node_can_show_a_failure_without_unpickling(monkeypatch):
    data = send(OddError(3, extra=1))

    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    assert failure.failure_summary(data).endswith("OddError: code 3")
