"""An exception of a task is raised again as what the user raised, with the story of where it happened."""

import asyncio
import errno
import gc
import pickle
import subprocess
import traceback
import weakref

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight import exceptions as ex


class OddConstructorError(Exception):
    __slots__ = ("slot",)

    def __init__(self, code, *, extra):
        super().__init__(f"code {code}")
        self.code = code
        self.extra = extra
        self.slot = "kept"

    def describe(self):
        return f"{self.code}/{self.extra}"


class OwnPicklingError(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)
        self.a, self.b = a, b

    def __reduce__(self):
        return OwnPicklingError, (self.a, self.b + 1)


class ClashingNamesError(Exception):
    def __init__(self, pid, cause):
        super().__init__("clash")
        self.pid = pid
        self.cause = cause
        self.function_name = "the user's"


class RefusesError(Exception):
    def __init_subclass__(cls, **kwargs):
        raise RuntimeError("final")


class BaseError(BaseException):
    pass


class UserGroup(ExceptionGroup):
    def derive(self, excs):
        return UserGroup(self.message, excs)


def failed(exc, **where):
    """What the runtime makes of an exception that a task raised."""
    try:
        raise exc
    except BaseException as caught:
        return ex.RayTaskError.from_exception(
            caught, "load", **{"pid": 12, "node_id": "3f" * 28, "ip": "10.0.0.4"} | where
        )


def travelled(error):
    return pickle.loads(pickle.dumps(error))


def unicode_error():
    try:
        b"\xff".decode()
    except UnicodeDecodeError as exc:
        return exc
    raise AssertionError


CATCHABLE = [
    OddConstructorError(3, extra="x"),
    OwnPicklingError(1, 2),
    KeyError("a"),
    ValueError(),
    FileNotFoundError(errno.ENOENT, "No such file", "data.csv"),
    OSError(errno.EXDEV, "cross", "a", None, "b"),
    StopIteration(4),
    unicode_error(),
    SyntaxError("bad", ("f.py", 1, 2, "x =", 1, 3)),
    ImportError("no", name="mod", path="/p"),
    subprocess.CalledProcessError(3, ["ls"], output=b"out"),
    ExceptionGroup("several", [ValueError(1), KeyError("k")]),
    UserGroup("several", [ValueError(1), OddConstructorError(1, extra=2)]),
    BaseError("base"),
    ex.GetTimeoutError("slow"),
    ex.ObjectLostError("ab" * 28),
    ex.TaskCancelledError(b"\1" * 24),
]


@pytest.mark.parametrize("exc", CATCHABLE, ids=lambda exc: type(exc).__name__)
@pytest.mark.parametrize("send", [lambda error: error, travelled], ids=["here", "pickled"])
class TestIsBoth:
    def test_instance_of_the_users_class_and_of_ray_task_error(self, exc, send):
        error = send(failed(exc)).as_instanceof_cause()
        assert isinstance(error, type(exc))
        assert isinstance(error, ex.RayTaskError)
        with pytest.raises(type(exc)):
            raise error

    def test_pickled_after_it_was_made_it_stays_so(self, exc, send):
        error = travelled(send(failed(exc)).as_instanceof_cause())
        assert isinstance(error, type(exc))
        assert "load() failed in pid 12" in str(error)

    def test_cause_is_the_users_exception_itself(self, exc, send):
        error = send(failed(exc)).as_instanceof_cause()
        assert type(error.cause) is type(exc)


@pytest.mark.parametrize("send", [lambda error: error, travelled], ids=["here", "pickled"])
class TestKeepsState:
    def test_attributes_args_slots_and_methods(self, send):
        error = send(failed(OddConstructorError(3, extra=[1]))).as_instanceof_cause()
        assert (error.code, error.extra, error.slot, error.args) == (3, [1], "kept", ("code 3",))
        assert error.describe() == "3/[1]"

    def test_c_fields(self, send):
        error = send(failed(FileNotFoundError(errno.ENOENT, "No such file", "data.csv"))).as_instanceof_cause()
        assert (error.errno, error.strerror, error.filename, error.filename2) == (2, "No such file", "data.csv", None)
        assert "'data.csv'" in str(error)
        assert send(failed(StopIteration(4))).as_instanceof_cause().value == 4
        assert send(failed(unicode_error())).as_instanceof_cause().object == b"\xff"

    def test_notes(self, send):
        exc = ValueError("x")
        exc.add_note("try turning it off and on")
        error = send(failed(exc)).as_instanceof_cause()
        assert error.cause.__notes__ == ["try turning it off and on"]
        assert "".join(traceback.format_exception(error)).count("try turning it off and on") == 1

    def test_the_users_pickling_is_respected(self, send):
        error = send(failed(OwnPicklingError(1, 2))).as_instanceof_cause()
        assert error.a == 1
        assert error.b == (3 if send is travelled else 2)

    def test_groups_can_be_split(self, send):
        caught = []
        try:
            raise send(failed(UserGroup("several", [ValueError(1), KeyError("k")]))).as_instanceof_cause()
        except* ValueError as group:
            caught.extend(group.exceptions)
        except* KeyError:
            pass
        assert [type(exc) for exc in caught] == [ValueError]

    def test_the_users_attribute_wins_over_ours_but_cause_is_always_the_exception(self, send):
        error = send(failed(ClashingNamesError(pid="mine", cause="also mine"))).as_instanceof_cause()
        assert (error.pid, error.function_name) == ("mine", "the user's")
        assert isinstance(error.cause, ClashingNamesError)
        assert error.cause.cause == "also mine"
        assert "pid 12" in str(error)


@pytest.mark.parametrize(
    "exc",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        BaseExceptionGroup("g", [SystemExit()]),
        RefusesError(),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_what_would_end_the_reader_or_cannot_be_combined_is_a_plain_task_error(exc):
    error = travelled(failed(exc).as_instanceof_cause())
    assert type(error) is ex.RayTaskError
    assert type(error.cause) is type(exc)
    assert type(exc).__name__ in str(error)


def test_each_raise_is_a_new_error_so_tracebacks_do_not_pile_up():
    plain = failed(ValueError("bad"))
    assert plain.as_instanceof_cause() is not plain.as_instanceof_cause()
    assert plain.as_instanceof_cause().as_instanceof_cause().cause is plain.cause


def test_a_class_is_combined_once_and_forgotten_with_its_last_error():
    class LocalError(Exception):
        pass

    error = failed(LocalError()).as_instanceof_cause()
    assert type(error) is type(failed(LocalError()).as_instanceof_cause())
    gone = weakref.ref(type(error))
    del error
    gc.collect()
    assert gone() is None


def test_a_class_from_main_travels_by_value():
    cls = type("FromMain", (Exception,), {"__module__": "__main__"})
    exc = cls("bad")
    exc.code = 5
    error = pickle.loads(cloudpickle.dumps(failed(exc).as_instanceof_cause()))
    assert error.code == 5
    assert type(error).__name__ == "RayTaskError(FromMain)"


class TestTellsTheStory:
    def test_task_node_and_pid_once_and_the_users_frames(self):
        text = str(failed(ValueError("bad"), actor_repr="Loader(7)").as_instanceof_cause())
        first, *rest = text.splitlines()
        assert first == "load() of Loader(7) failed in pid 12 on node 3f3f3f3f3f3f (10.0.0.4): ValueError: bad"
        assert rest[0] == "Traceback (most recent call last):"
        assert rest[-1] == "ValueError: bad"
        assert text.count("pid 12") == 1
        assert "in failed" in text

    def test_the_chain_of_causes(self):
        def division():
            try:
                return 1 / 0
            except ZeroDivisionError as exc:
                raise ValueError("bad") from exc

        try:
            division()
        except ValueError as exc:
            text = str(failed(exc))
        assert (
            text.index("ZeroDivisionError: division by zero")
            < text.index("direct cause")
            < text.rindex("ValueError: bad")
        )

    def test_a_task_that_failed_because_of_another_keeps_the_first_cause_and_both_tracebacks(self):
        inner = failed(OddConstructorError(3, extra=1)).as_instanceof_cause()
        outer = failed(inner, pid=99).as_instanceof_cause()
        assert isinstance(outer, OddConstructorError)
        assert outer.code == 3
        assert "pid 99" in str(outer)
        assert "pid 12" in str(outer)

    def test_an_exception_whose_str_raises(self):
        class MuteError(Exception):
            def __str__(self):
                raise RuntimeError("no words")

        assert "MuteError" in str(failed(MuteError()).as_instanceof_cause())

    def test_an_endless_message_is_cut_in_the_middle(self):
        text = failed(ValueError("x" * 10_000_000)).traceback_str
        assert len(text) < 100_000
        assert text.startswith("Traceback")
        assert "characters left out" in text


def test_constructor_is_rays():
    error = ex.RayTaskError("f", "Traceback\nValueError: bad", ValueError("bad"), "ray::f", 7, "10.0.0.1", None, None)
    assert (error.function_name, error.traceback_str, error.proctitle, error.pid, error.ip) == (
        "f",
        "Traceback\nValueError: bad",
        "ray::f",
        7,
        "10.0.0.1",
    )
    assert isinstance(error.make_dual_exception_instance(), ValueError)


@given(
    st.lists(st.one_of(st.integers(), st.text(), st.none(), st.binary())),
    st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.integers()),
)
def test_any_args_and_attributes_survive(args, attributes):
    exc = OddConstructorError(1, extra=2)
    exc.args = tuple(args)
    attributes.pop("slot", None)
    attributes.pop("cause", None)
    exc.__dict__.update(attributes)
    error = travelled(failed(exc)).as_instanceof_cause()
    assert error.args == tuple(args)
    assert attributes.items() <= error.__dict__.items()
