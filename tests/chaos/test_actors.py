"""Restartable actors while their processes are killed."""

import pytest

from tests.chaos.worker_killer import WorkerKiller

DEADLINE = 60.0


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_every_one_of_a_thousand_calls_to_restartable_actors_is_answered_right(ll, isolation):
    @ll.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, isolation=isolation)
    class Adder:
        def __init__(self, base):
            self.base = base

        def add(self, x):
            return self.base + x

    adders = [Adder.remote(1000 * number) for number in range(4)]
    with WorkerKiller(seed=1, pause=0.1) as killer:
        refs = [adders[x % 4].add.remote(x) for x in range(800)]
        one_by_one = [ll.get(adders[x % 4].add.remote(x), timeout=DEADLINE) for x in range(200)]
        assert ll.get(refs, timeout=DEADLINE) == [1000 * (x % 4) + x for x in range(800)]
        assert one_by_one == [1000 * (x % 4) + x for x in range(200)]
    assert killer.kills


def test_calls_arrive_in_order_and_only_those_in_doubt_again(ll):
    """Within one life of the actor, the numbers that it sees never go back by more than what was in flight."""

    @ll.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Recorder:
        def __init__(self):
            self.seen = []

        def see(self, x):
            self.seen.append(x)
            return self.seen == sorted(set(self.seen))

    recorder = Recorder.remote()
    with WorkerKiller(seed=2, pause=0.15):
        for start in range(0, 2000, 100):
            refs = [recorder.see.remote(x) for x in range(start, start + 100)]
            assert all(ll.get(refs, timeout=DEADLINE))


def test_an_actor_that_may_not_restart_fails_its_calls_with_the_cause(ll):
    @ll.remote(num_cpus=0)
    class Mortal:
        def nap(self):
            import time

            time.sleep(0.02)
            return 1

    with WorkerKiller(seed=3, pause=0.05):
        mortals = [Mortal.remote() for _ in range(4)]
        refs = [mortal.nap.remote() for mortal in mortals for _ in range(100)]
        errors = []
        for ref in refs:
            try:
                assert ll.get(ref, timeout=DEADLINE) == 1
            except ll.exceptions.ActorDiedError as error:
                errors.append(str(error))
    assert errors
    assert all("SIGKILL" in error for error in errors)
