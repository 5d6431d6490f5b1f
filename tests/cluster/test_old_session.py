"""What outlives a session: functions go on in the next one; refs and handles are refused, and never waited for."""

import logging
import threading

import numpy as np
import pytest

import limelight as ll

DEADLINE = 30.0


@ll.remote
def echo(x=None):
    return x


@ll.remote
class Actor:
    def answer(self):
        return 42


@pytest.fixture(scope="class", params=["processes", "local"])
def left(request):
    """Refs and a handle of a session that has ended; another one is there."""
    ll.init(num_cpus=2, local_mode=request.param == "local")
    actor = Actor.remote()
    refs = {"inline": ll.put(1), "stored": ll.put(np.zeros(1_000_000)), "result": echo.remote(2)}
    ll.get([actor.answer.remote(), refs["result"]], timeout=DEADLINE)
    ll.shutdown()
    ll.init(num_cpus=2)
    yield refs, actor
    ll.shutdown()


class TestLeftOver:
    def test_functions_and_classes_go_on(self, left):
        assert ll.get([echo.remote(1), Actor.remote().answer.remote()], timeout=DEADLINE) == [1, 42]

    def test_refs_are_refused(self, left):
        refs, _ = left
        for use in (echo.remote, lambda ref: echo.remote([ref]), lambda ref: ll.put([ref])):
            for ref in refs.values():
                with pytest.raises(ll.exceptions.ObjectLostError, match="session"):
                    use(ref)
        with pytest.raises(ll.exceptions.ObjectLostError, match="session"):
            ll.get(refs["stored"], timeout=DEADLINE)

    def test_handles_are_refused(self, left):
        _, actor = left
        for use in (actor.answer.remote, lambda: echo.remote(actor), lambda: echo.remote([actor])):
            with pytest.raises(ll.exceptions.ActorHandleNotFoundError, match="create the actor again"):
                use()


def test_who_waits_when_the_session_ends_is_told():
    ll.init(num_cpus=1)
    refs = [_forever.remote(), _forever.remote()]
    caught = []
    started = threading.Event()

    def wait():
        started.set()
        with pytest.raises(ll.exceptions.TaskCancelledError) as info:
            ll.get(refs)
        caught.append(info.value)

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    ll.shutdown()
    thread.join(DEADLINE)
    assert "shutdown() ended the session" in str(caught[0])


@ll.remote
def _forever():
    threading.Event().wait()


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"num_cpus": -1}, ValueError, "num_cpus must be"),
        ({"num_cpus": "2"}, TypeError, "num_cpus must be"),
        ({"num_gpus": -1}, ValueError, "num_gpus must be"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus="),
        ({"resources": [1]}, TypeError, "resources must be a dict"),
        ({"labels": {"a": 1}}, ValueError, "labels must be"),
        ({"object_store_memory": 10}, ValueError, "object_store_memory must be"),
        ({"object_store_memory": "1GB"}, TypeError, "object_store_memory must be"),
        ({"object_store_memory": 10**16}, ValueError, "more than the .* of memory"),
        ({"namespace": ""}, ValueError, "namespace must be"),
        ({"namespace": 3}, TypeError, "namespace must be"),
        ({"logging_level": "LOUD"}, ValueError, "INFO"),
        ({"num_cpu": 1}, RuntimeError, "Did you mean 'num_cpus'"),
        ({"address": "nowhere:1"}, ConnectionError, "nowhere:1"),
    ],
    ids=str,
)
def test_arguments_of_init_that_make_no_sense(settings, error, match):
    with pytest.raises(error, match=match):
        ll.init(**settings)
    assert not ll.is_initialized()


@pytest.mark.parametrize("token", ["secret words", b"secret words"])
def test_a_wrong_token_is_not_shown(token):
    with pytest.raises(ValueError, match="token must be") as info:
        ll.init(token=token)
    assert "secret" not in str(info.value)


def test_the_level_of_the_logger_is_what_init_is_told():
    logger = logging.getLogger("limelight")
    before = logger.level
    ll.init(local_mode=True, logging_level="error")
    try:
        assert logger.level == logging.ERROR
        ll.shutdown()
        ll.init(local_mode=True, logging_level="debug", configure_logging=False)
        assert logger.level == logging.ERROR
    finally:
        ll.shutdown()
        logger.setLevel(before)
