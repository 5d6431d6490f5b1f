"""The tree as a whole: what it is called, that it travels, and that each error says what to do."""

import ast
import inspect
import pickle
from pathlib import Path

import pytest

from limelight import exceptions as ex

DEATH = ex.DeathCause(
    ex.DeathKind.SIGNALLED,
    explanation="the kernel log names it",
    signal=9,
    peak_memory=1_288_490_189,
    stderr_tail=("loading", "loaded"),
    fault_dump="Fatal Python error: Aborted\n\nThread 0x1:\n  File x",
    pid=12,
    node_id="ab" * 28,
    ip="10.0.0.4",
)
SAMPLES = [
    ex.RayError("bad"),
    ex.TaskCancelledError("ab" * 24),
    ex.TaskCancelledError(error_message="gone"),
    ex.WorkerCrashedError(cause=DEATH, task_name="load"),
    ex.WorkerCrashedError(),
    ex.OutOfMemoryError("too much"),
    ex.OutOfMemoryError("too much", cause=DEATH),
    ex.TaskUnschedulableError("never"),
    ex.TaskPlacementGroupRemoved(),
    ex.RuntimeEnvSetupError("no such folder"),
    ex.UnserializableException("trace"),
    ex.RayActorError("ab" * 16, "bad", True, True),
    ex.ActorDiedError(DEATH, actor_id=b"\1" * 16, actor_name="Counter", method="add"),
    ex.ActorDiedError(),
    ex.ActorDiedError(ex.DeathCause(ex.DeathKind.OUT_OF_MEMORY, "it was too large"), actor_id=b"\1" * 16),
    ex.ActorUnavailableError("later", b"\1" * 16),
    ex.ActorUnschedulableError("never"),
    ex.ActorPlacementGroupRemoved(),
    ex.ActorPlacementGroupRemoved("gone"),
    ex.ActorAlreadyExistsError("taken"),
    ex.ActorHandleNotFoundError("other session"),
    ex.AsyncioActorExit(),
    ex.PendingCallsLimitExceeded("full"),
    ex.GetTimeoutError("slow"),
    ex.ObjectStoreFullError("full"),
    ex.OutOfDiskError("full"),
    ex.ObjectLostError("ab" * 28, None, "f.py:3"),
    ex.ObjectFreedError(b"\1" * 28),
    ex.OwnerDiedError("ab" * 28),
    ex.ObjectFetchTimedOutError("ab" * 28),
    ex.ReferenceCountingAssertionError("ab" * 28),
    ex.ObjectReconstructionFailedError("ab" * 28, reason_message="its function raised"),
    ex.ObjectReconstructionFailedMaxAttemptsExceededError("ab" * 28),
    ex.ObjectReconstructionFailedLineageEvictedError("ab" * 28),
    ex.ObjectRefStreamEndOfStreamError(),
    ex.OufOfBandObjectRefSerializationException("held by nobody"),
    ex.RaySystemError(OSError(2, "no"), "trace"),
    ex.RpcError("it has not answered"),
    ex.NodeDiedError("node gone"),
    ex.NodeDiedError(cause=DEATH, task_name="load"),
    ex.LocalRayletDiedError("node process gone"),
    ex.AuthenticationError("refused"),
]


def public_classes():
    return [getattr(ex, name) for name in ex.__all__ if isinstance(getattr(ex, name), type)]


def test_every_class_has_a_sample_here():
    errors = {cls for cls in public_classes() if issubclass(cls, BaseException)} - {ex.RayTaskError}
    assert {type(sample) for sample in SAMPLES} == errors


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_pickles_with_all_its_fields(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert {k: str(v) for k, v in copy.__dict__.items()} == {k: str(v) for k, v in error.__dict__.items()}


def test_a_subclass_of_the_users_pickles_whatever_its_constructor_asks_for():
    error = pickle.loads(pickle.dumps(UserRayError(code=3)))
    assert (error.code, error.args) == (3, ("user",))


class UserRayError(ex.RayActorError):
    def __init__(self, *, code):
        super().__init__(error_msg="user")
        self.code = code

    def __getstate__(self):
        return {"ignored": True}


def test_the_tree_in_the_docstring_is_the_tree():
    for cls in public_classes():
        if issubclass(cls, BaseException):
            assert cls.__name__ in ex.__doc__, cls
            assert issubclass(cls, ex.RayError), cls
    assert list(ex.__all__) == sorted(ex.__all__)


def test_every_class_says_when_it_is_raised_and_lives_in_the_public_module():
    for cls in public_classes():
        assert len(inspect.getdoc(cls) or "") > 40, cls
        assert cls.__module__ == "limelight.exceptions", cls


def test_aliases_without_ray_in_the_name():
    assert ex.LimelightError is ex.RayError
    assert ex.TaskError is ex.RayTaskError


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ex.GetTimeoutError, TimeoutError),
        (ex.ReferenceCountingAssertionError, AssertionError),
        (ex.ActorAlreadyExistsError, ValueError),
        (ex.ActorHandleNotFoundError, ValueError),
        (ex.ActorDiedError, ex.RayActorError),
        (ex.ActorPlacementGroupRemoved, ex.ActorDiedError),
        (ex.OwnerDiedError, ex.ObjectLostError),
        (ex.NodeDiedError, ex.WorkerCrashedError),
    ],
)
def test_errors_are_also_what_python_calls_them(error, builtin):
    assert issubclass(error, builtin)


class TestDeathCause:
    def test_tells_what_was_observed(self):
        text = str(ex.WorkerCrashedError(cause=DEATH, task_name="load"))
        assert text.startswith(
            "The worker that ran load died: pid 12 on node abababababab (10.0.0.4) was ended by signal 9 (SIGKILL), "
            "peak memory 1.2 GiB. The kernel log names it."
        )
        assert "    loading\n    loaded" in text
        assert "    Fatal Python error: Aborted" in text

    def test_never_lists_what_might_have_been(self):
        for kind in ex.DeathKind:
            text = str(ex.ActorDiedError(ex.DeathCause(kind, exit_code=1, signal=11)))
            assert "potential" not in text
            assert "may have" not in text
            assert "possible" not in text

    @pytest.mark.parametrize(
        ("cause", "expected"),
        [
            (ex.DeathCause(ex.DeathKind.EXITED, exit_code=3), "exited with code 3"),
            (ex.DeathCause(ex.DeathKind.SIGNALLED, signal=11), "signal 11 (SIGSEGV)"),
            (ex.DeathCause(ex.DeathKind.SIGNALLED, signal=250), "signal 250"),
            (ex.DeathCause(ex.DeathKind.OUT_OF_MEMORY), "ran out of memory"),
            (ex.DeathCause(ex.DeathKind.UNSCHEDULABLE), "its process never started, because no node"),
            (ex.DeathCause(ex.DeathKind.NODE_LOST, node_id="cd" * 28), "node cdcdcdcdcdcd"),
        ],
    )
    def test_says_how(self, cause, expected):
        assert expected in cause.render()

    def test_an_actor_whose_constructor_raised_shows_that_failure(self):
        failure = ex.RayTaskError(
            "Counter.__init__", "Traceback\nValueError: bad", ValueError("bad"), actor_id="ab" * 16
        )
        error = ex.ActorDiedError.from_task_error(failure)
        assert error.actor_init_failed
        assert error.cause is failure
        assert error.actor_id == "ab" * 16
        assert "Counter" in str(error)
        assert "ValueError: bad" in str(error)


def test_the_package_imports_nothing_of_the_layers_above():
    for path in Path(ex.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, (path, node.module)
