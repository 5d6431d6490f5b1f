"""What people are told when something goes wrong, in the runtime of real processes: what failed, where, why, what next.

How options are refused and which class an error has is in tests/contracts/test_runtime_error.py, for every runtime.
"""

import ctypes
import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import types

import numpy as np
import pytest

import limelight as ll

DEADLINE = 30.0
MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def session():
    ll.init(num_cpus=2, object_store_memory=80 * MIB, log_to_driver=False)
    yield
    ll.shutdown()


def error_of(ref):
    with pytest.raises(Exception) as info:
        ll.get(ref, timeout=DEADLINE)
    return info.value


class UserError(Exception):
    pass


class OddError(Exception):
    def __init__(self, first, *, second):
        super().__init__(f"{first} and {second}")
        self.second = second


def divide(x):
    return 1 / x


@ll.remote
def echo(x=None):
    return x


@ll.remote
def fail():
    raise UserError("inner words")


class TestUsersExceptions:
    def test_only_users_frames_are_shown_and_once(self):
        @ll.remote
        def task():
            return divide(0)

        error = error_of(task.remote())
        assert isinstance(error, ZeroDivisionError)
        text = str(error)
        assert text.startswith("task() failed in pid ")
        assert " on node " in text
        assert text.count("in divide") == text.count("in task") == 1
        assert text.count("Traceback") == 1
        assert f"{os.sep}actors{os.sep}" not in text
        assert text.splitlines()[-1] == "ZeroDivisionError: division by zero"

    def test_the_cause_is_told(self):
        @ll.remote
        def task():
            try:
                divide(0)
            except ZeroDivisionError as error:
                raise UserError("outer") from error

        text = str(error_of(task.remote()))
        assert "ZeroDivisionError: division by zero" in text
        assert "direct cause" in text
        assert text.endswith("UserError: outer")

    def test_a_task_that_got_the_error_of_another_shows_both(self):
        @ll.remote
        def outer():
            return ll.get(fail.remote())

        error = error_of(outer.remote())
        assert isinstance(error, UserError)
        assert str(error).count('raise UserError("inner words")') == 1
        assert "outer() failed" in str(error)
        assert "fail() failed" in str(error)

    def test_an_odd_constructor(self):
        @ll.remote
        def task():
            raise OddError(1, second=[2])

        error = error_of(task.remote())
        assert isinstance(error, OddError)
        assert error.second == [2]

    def test_what_cannot_be_pickled_is_left_out_and_named_once(self):
        @ll.remote
        def task():
            error = UserError("words")
            error.lock = threading.Lock()
            raise error

        error = error_of(task.remote())
        assert isinstance(error, UserError)
        assert "".join(traceback.format_exception(error)).count("Left out, because they cannot be pickled: lock.") == 1

    def test_memory_errors_keep_their_class(self):
        @ll.remote
        def task():
            raise MemoryError("too much")

        assert isinstance(error_of(task.remote()), MemoryError)

    def test_endless_recursion(self):
        @ll.remote
        def task():
            return endless()

        def endless():
            return endless()

        assert isinstance(error_of(task.remote()), RecursionError)

    def test_of_a_method_and_of_an_async_one(self):
        @ll.remote
        class Plain:
            def divide(self):
                return divide(0)

        @ll.remote
        class Async:
            async def divide(self):
                return divide(0)

        for handle, name in ((Plain.remote(), "Plain"), (Async.remote(), "Async")):
            error = error_of(handle.divide.remote())
            assert isinstance(error, ZeroDivisionError)
            assert str(error).startswith(f"{name}.divide() failed in pid ")
            assert f"{os.sep}actors{os.sep}" not in str(error)

    def test_of_a_constructor(self):
        @ll.remote
        class Broken:
            def __init__(self):
                raise UserError("no luck")

            def method(self):
                pass

        error = error_of(Broken.remote().method.remote())
        assert isinstance(error, ll.exceptions.ActorDiedError)
        assert "Actor Broken" in str(error)
        assert "constructor failed" in str(error)
        assert "UserError: no luck" in str(error)
        assert isinstance(error.cause, UserError)


class TestPickling:
    def test_an_argument(self):
        with pytest.raises(TypeError, match=r"the arguments of echo: args\[0\]\['a'\] cannot be pickled") as info:
            echo.remote({"a": threading.Lock()})
        assert info.value.__cause__ is None
        with pytest.raises(TypeError, match=r"the arguments of echo: x\[0\] cannot be pickled"):
            echo.remote(x=[threading.Lock()])

    def test_a_generator_as_argument(self):
        with pytest.raises(TypeError, match=r"pass what it gives \(list"):
            echo.remote(x for x in "abc")

    def test_a_captured_variable(self):
        lock = threading.Lock()

        @ll.remote
        def task():
            return lock

        with pytest.raises(TypeError, match="lock is a variable captured by"):
            task.remote()

    def test_a_result(self):
        @ll.remote
        def task():
            return {"a": [threading.Lock()]}

        text = str(error_of(task.remote()))
        assert "Could not serialize the result: value['a'][0] cannot be pickled" in text
        assert text.count("value['a'][0] cannot be pickled") == 1
        assert "Traceback" not in text, "there is no frame of the user's"

    def test_code_of_the_value_that_raises_is_shown(self):
        class Stubborn:
            def __getstate__(self):
                raise ValueError("my state is odd")

        @ll.remote
        def task():
            return Stubborn()

        assert "in __getstate__" in str(error_of(task.remote()))

    def test_a_module_that_is_missing_in_the_worker(self):
        module = types.ModuleType("ghost_module")
        exec("class Ghost: pass\ndef function(): pass", module.__dict__)
        module.Ghost.__module__ = "ghost_module"
        sys.modules["ghost_module"] = module
        try:
            for ref in (echo.remote(module.Ghost()), ll.remote(module.function).remote()):
                error = error_of(ref)
                assert isinstance(error, ModuleNotFoundError)
                shown = "".join(traceback.format_exception(error))
                assert shown.count("must be importable") == 1
                assert "Traceback" not in str(error)
        finally:
            del sys.modules["ghost_module"]

    def test_a_ref_travels_in_a_pickle(self):
        ref = ll.put([1, 2])
        assert ll.get(pickle.loads(pickle.dumps(ref))) == [1, 2]

    def test_code_that_captures_much(self, caplog):
        large = np.ones(2 * MIB)

        @ll.remote
        def task():
            return large.sum()

        with caplog.at_level(logging.WARNING, "limelight"):
            assert ll.get(task.remote(), timeout=DEADLINE) == 2 * MIB
        assert "16.0 MiB large" in caplog.text
        assert "large, a variable captured by" in caplog.text

    def test_code_that_captures_too_much(self):
        large = np.ones(13 * MIB)

        @ll.remote
        def task():
            return large.sum()

        with pytest.raises(ValueError, match=r"(?s)104.0 MiB large: large, .*put\(\)"):
            task.remote()


@ll.remote
class Mortal:
    def die(self, how):
        how()

    def answer(self):
        return 42


def leave():
    sys.stderr.write("last words\n")
    os._exit(3)


class TestDeaths:
    def cause_of(self, how):
        @ll.remote(max_retries=0)
        def mortal():
            how()

        error = error_of(mortal.remote())
        assert isinstance(error, ll.exceptions.WorkerCrashedError)
        assert "mortal died" in str(error)
        assert str(error.cause.pid) in str(error)
        return error.cause, str(error)

    def test_an_exit(self):
        cause, text = self.cause_of(leave)
        assert (cause.kind, cause.exit_code) == ("exited", 3)
        assert cause.stderr_tail[-1] == "last words"
        assert "peak memory" in text
        assert "last words" in text

    def test_a_request_to_end(self):
        _, text = self.cause_of(lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(DEADLINE)))
        assert "was sent SIGTERM while task mortal ran" in text

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR1])
    def test_a_signal(self, number):
        cause, text = self.cause_of(lambda: (os.kill(os.getpid(), number), time.sleep(DEADLINE)))
        assert (cause.kind, cause.signal) == ("signalled", number)
        assert number.name in text

    def test_a_crash_of_native_code(self):
        def crash():
            ctypes.string_at(0)

        cause, text = self.cause_of(crash)
        assert (cause.kind, cause.signal) == ("signalled", signal.SIGSEGV)
        assert "in crash" in cause.fault_dump
        assert f"{os.sep}actors{os.sep}" not in text
        assert "Extension modules" not in text

    @pytest.mark.parametrize(("code", "exit_code"), [(4, 4), (None, 0), ("words", 1)])
    def test_sys_exit(self, code, exit_code):
        cause, text = self.cause_of(lambda: sys.exit(code))
        assert (cause.kind, cause.exit_code) == ("intended exit", exit_code)
        assert "called sys.exit(" in text

    def test_the_last_of_several_attempts(self):
        @ll.remote(max_retries=1)
        def mortal():
            leave()

        assert "This was attempt 2 of 2 (max_retries=1)." in str(error_of(mortal.remote()))

    def test_of_an_actor(self):
        actor = Mortal.remote()
        for ref, method in ((actor.die.remote(leave), "die"), (actor.answer.remote(), "answer")):
            error = error_of(ref)
            assert isinstance(error, ll.exceptions.ActorDiedError)
            assert "Actor Mortal" in str(error)
            assert f"Mortal.{method}()" in str(error)
            assert error.cause.exit_code == 3

    def test_of_an_actor_that_exits(self):
        actor = Mortal.remote()
        for ref in (actor.die.remote(lambda: sys.exit(4)), actor.answer.remote()):
            assert "Mortal.die called sys.exit(4)" in str(error_of(ref))

    def test_of_an_actor_that_is_killed(self):
        actor = Mortal.remote()
        ll.get(actor.answer.remote(), timeout=DEADLINE)
        ll.kill(actor)
        assert "passed to limelight.kill()" in str(error_of(actor.answer.remote()))


class TestMisuse:
    def test_parts_that_were_promised(self):
        @ll.remote(num_returns=2)
        def parts(value):
            return value

        assert "num_returns=2" in str(error_of(parts.remote((1, 2, 3))[0]))
        assert "num_returns=2" in str(error_of(parts.remote(1)[0]))

    def test_calls_without_remote(self):
        with pytest.raises(TypeError, match=r"echo\.remote\("):
            echo(1)
        with pytest.raises(TypeError, match=r"Mortal\.remote\("):
            Mortal()
        with pytest.raises(TypeError, match=r"answer\.remote\("):
            Mortal.remote().answer()

    @pytest.mark.parametrize("wrong", [1, (), {}, "x", echo, echo.remote])
    def test_get_of_something_else(self, wrong):
        with pytest.raises((TypeError, ValueError), match="ObjectRef"):
            ll.get(wrong)

    def test_names(self):
        with pytest.raises(ValueError, match=r"nobody.*no living actor"):
            ll.get_actor("nobody")
        actor = Mortal.options(name="taken").remote()
        with pytest.raises(ValueError, match=r"taken.*get_if_exists"):
            Mortal.options(name="taken").remote()
        del actor

    def test_resources_that_nobody_has(self, caplog, eventually):
        with caplog.at_level(logging.WARNING, "limelight"):
            ref = echo.options(num_cpus=100).remote()
            actor = Mortal.options(resources={"quantum": 1}).remote()
            eventually(lambda: "echo waits" in caplog.text and "Actor Mortal waits" in caplog.text)
        assert "{CPU: 100} is asked for; the most that any node has: CPU 2" in caplog.text
        assert "quantum 0" in caplog.text
        with pytest.raises(ll.exceptions.GetTimeoutError, match="not ready"):
            ll.get([ref, actor.answer.remote()], timeout=0.1)
        ll.cancel(ref)

    def test_objects_larger_than_the_store(self):
        large = np.zeros(11 * MIB)
        for store in (ll.put, echo.remote):
            with pytest.raises(ll.exceptions.ObjectStoreFullError, match=r"88.0 MiB.*80.0 MiB.*object_store_memory"):
                store(large)

        @ll.remote
        def task():
            return np.zeros(11 * MIB)

        assert isinstance(error_of(task.remote()), ll.exceptions.ObjectStoreFullError)

    def test_a_blocking_get_in_an_async_actor(self):
        @ll.remote
        class Async:
            async def method(self):
                with CapturedLog("limelight") as lines:
                    ll.get(echo.remote(1))
                    ll.get(echo.remote(1))
                return lines

        (line,) = ll.get(Async.remote().method.remote(), timeout=DEADLINE)
        assert "blocks the event loop" in line
        assert "await ref" in line


class CapturedLog(logging.Handler):
    def __init__(self, name):
        super().__init__()
        self._logger = logging.getLogger(name)
        self._lines = []

    def emit(self, record):
        self._lines.append(record.getMessage())

    def __enter__(self):
        self._logger.addHandler(self)
        return self._lines

    def __exit__(self, *_):
        self._logger.removeHandler(self)


@pytest.fixture
def eventually():
    def ask(condition):
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.01)

    return ask


class TestErrorsThatNobodySees:
    @pytest.fixture
    def log(self, caplog):
        with caplog.at_level(logging.ERROR, "limelight"):
            yield caplog

    def test_they_are_logged_once_when_the_last_ref_goes(self, log, eventually):
        @ll.remote
        def unseen():
            raise UserError("nobody looks")

        refs = [unseen.remote() for _ in range(5)]
        ll.wait(refs, num_returns=5, timeout=DEADLINE)
        assert "nobody looks" not in log.text
        del refs
        eventually(lambda: "nobody has seen its error: " in log.text)
        assert "unseen() failed in pid" in log.text
        assert "in unseen" in log.text
        assert len(log.records) == 1

    def test_of_a_constructor_although_nobody_calls_the_actor(self, log, eventually):
        @ll.remote
        class Stillborn:
            def __init__(self):
                raise UserError("no life")

        actor = Stillborn.remote()
        eventually(lambda: "UserError: no life" in log.text)
        assert "constructor of an actor" in log.text
        del actor

    def test_not_those_that_somebody_has(self, log, eventually):
        @ll.remote
        def seen():
            raise UserError("somebody looks")

        @ll.remote
        def last():
            raise UserError("the last")

        error_of(seen.remote())
        error_of([seen.remote() for _ in range(3)])
        error_of(echo.remote(seen.remote()))
        with pytest.raises(UserError):
            seen.remote().future().result(DEADLINE)
        last.remote()
        eventually(lambda: "the last" in log.text)
        assert "somebody looks" not in log.text
