"""`inspect_serializability` says what in an object cannot be pickled."""

import io
import threading

from limelight.actors.pickling import diagnosis
from limelight.actors.serialization import inspect_serializability


class Config:
    def __init__(self):
        self.lock = threading.Lock()
        self.fine = 1


class Service:
    def __init__(self):
        self.config = Config()
        self.other = threading.Lock()


def inspect(obj, **options):
    out = io.StringIO()
    ok, failures = inspect_serializability(obj, print_file=out, **options)
    return ok, failures, out.getvalue()


def test_what_can_be_pickled_is_said_to_be():
    assert inspect([1, 2], name="numbers") == (True, set(), "numbers can be serialized.\n")


def test_every_innermost_culprit_is_found():
    service = Service()
    ok, failures, report = inspect(service, name="service")
    assert not ok
    assert {(failure.name, failure.parent, failure.obj) for failure in failures} == {
        ("lock", service.config, service.config.lock),
        ("other", service, service.other),
    }
    assert "service.config.lock: _thread.lock" in report
    assert "service.other: _thread.lock" in report


def test_depth_limits_how_far_it_looks():
    service = Service()
    _, failures, _ = inspect(service, depth=1)
    assert {failure.name for failure in failures} == {"config", "other"}


def test_a_function_is_named_after_itself():
    lock = threading.Lock()

    def work():
        return lock

    _, failures, report = inspect(work)
    assert report.startswith("work cannot be serialized")
    assert "lock is a variable captured by" in report
    assert "lock [path=lock" in repr(failures)


def test_the_report_goes_to_standard_output(capsys):
    inspect_serializability(1, name="one")
    assert capsys.readouterr().out == "one can be serialized.\n"


def test_a_cycle_ends():
    service = Service()
    service.me = service
    assert {failure.name for failure in inspect(service)[1]} == {"lock", "other"}


def test_many_culprits_are_cut_short():
    assert len(inspect([threading.Lock() for _ in range(100)])[1]) == diagnosis._MAX_CULPRITS


def test_a_search_that_takes_too_long_says_what_it_has(monkeypatch):
    monkeypatch.setattr(diagnosis, "_MAX_SECONDS", -1.0)
    assert inspect([Config() for _ in range(50)])[1]
