"""The contract of `put(value, _owner=actor)`: the actor's process owns the object."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest


class Owner:
    def __init__(self):
        self.kept = None

    def keep(self, refs):
        self.kept = refs

    def pid(self):
        return os.getpid()


LARGE = np.arange(500_000)


def gone(pid):
    """Wait until a process has ended."""
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)


def end(ll, owner):
    """Kill an actor and wait until all know."""
    pid = ll.get(owner.pid.remote())
    ll.kill(owner)
    with pytest.raises(ll.exceptions.RayActorError):
        ll.get(owner.keep.remote(None), timeout=20)
    gone(pid)


@pytest.fixture
def owner(ll):
    return ll.remote(Owner).remote()


@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
def test_it_reads_like_any_object(ll, owner, value):
    ref = ll.put(value, _owner=owner)
    assert np.array_equal(ll.get(ref), value)
    total = ll.remote(lambda given: np.array_equal(given, value))
    assert ll.get(total.remote(ref))


@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
def test_it_outlives_its_maker(ll, not_local, owner, value):
    @ll.remote
    def make(owner):
        ll.get(owner.keep.remote([ll.put(value, _owner=owner)]))
        return os.getpid()

    maker = ll.get(make.remote(owner))
    os.kill(maker, signal.SIGKILL)
    gone(maker)
    assert np.array_equal(ll.get(owner.__ray_call__.remote(lambda self: ll.get(self.kept[0]))), value)


def test_an_actor_may_name_itself(ll, owner):
    def put_own(self):
        return ll.get(ll.put("own", _owner=ll.get_runtime_context().current_actor))

    assert ll.get(owner.__ray_call__.remote(put_own)) == "own"


def test_a_busy_actor_is_not_waited_for(ll, not_local, owner, tmp_path):
    def busy(self):
        (tmp_path / "busy").touch()
        while not (tmp_path / "done").exists():
            time.sleep(0.005)

    ref = owner.__ray_call__.remote(busy)
    while not (tmp_path / "busy").exists():
        time.sleep(0.005)
    assert ll.get(ll.put("value", _owner=owner)) == "value"
    (tmp_path / "done").touch()
    ll.get(ref)


def test_refs_inside_are_kept_alive(ll, owner):
    inner = ll.put("inner")
    outer = ll.put([inner], _owner=owner)
    del inner
    assert ll.get(ll.get(outer)[0]) == "inner"


def test_it_dies_with_its_owner(ll, not_local, owner):
    ref = ll.put("value", _owner=owner)
    end(ll, owner)
    with pytest.raises(ll.exceptions.ObjectLostError):
        ll.get(ref, timeout=20)


def test_a_dead_actor_can_own_nothing(ll, not_local, owner):
    end(ll, owner)
    with pytest.raises(ll.exceptions.RayError):
        ll.get(ll.put("value", _owner=owner), timeout=20)
