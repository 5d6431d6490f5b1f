"""Which worker processes a node starts, reuses and stops."""

from limelight.cluster.scheduling.lease_message import CancelStart, StartWorker
from limelight.cluster.scheduling.worker_pool import PoolConfig, WorkerPool

JOB = b"job1"


def started(pool, now=0.0):
    """Bring up all workers that the pool starts with."""
    names = []
    while starts := pool.plan({}, now):
        for start in starts:
            names.append(f"w{start.start_id}")
            pool.started(start.start_id, names[-1], now)
    return names


def test_prestarts_one_after_the_other_once_and_not_more_than_asked():
    pool = WorkerPool(PoolConfig(prestart=3))
    for number in (1, 2, 3):
        assert pool.plan({}, 0.0) == [StartWorker(number, "", b"")]
        assert pool.plan({}, 0.0) == []
        pool.started(number, f"w{number}", 0.0)
    assert pool.plan({}, 1.0) == []
    pool.forget("w1")
    assert pool.plan({}, 2.0) == []


def test_fresh_workers_serve_any_job_and_belong_to_it_from_then_on():
    pool = WorkerPool(PoolConfig(prestart=1))
    (worker,) = started(pool)
    assert pool.take("", JOB) == worker
    pool.give_back(worker, 1.0)
    assert pool.take("", b"job2") is None
    assert pool.take("", JOB) == worker


def test_workers_are_reused_within_their_environment_only():
    pool = WorkerPool(PoolConfig(prestart=1))
    started(pool)
    assert pool.take("other", JOB) is None


def test_starts_in_flight_are_bounded_and_counted():
    pool = WorkerPool(PoolConfig(max_starting=4))
    assert len(pool.plan({("", JOB): 10}, 0.0)) == 4
    assert pool.plan({("", JOB): 10}, 0.0) == []
    pool.started(1, "w1", 0.1)
    assert len(pool.plan({("", JOB): 9}, 0.1)) == 1


def test_the_newest_idle_worker_is_taken_and_the_oldest_reaped():
    pool = WorkerPool(PoolConfig(prestart=3, idle_timeout=10, keep_idle=1))
    first, second, third = started(pool)
    taken = pool.take("", JOB)
    assert taken == third
    pool.give_back(third, 5.0)
    assert pool.reap(9.0) == []
    assert pool.wake_at() == 10.0
    assert [stop.worker_id for stop in pool.reap(10.0)] == [first, second]
    assert pool.reap(100.0) == []
    assert pool.take("", JOB) == third


def test_a_start_that_takes_too_long_is_given_up_and_its_worker_unwanted():
    pool = WorkerPool(PoolConfig(start_timeout=5))
    pool.plan({("", JOB): 1}, 0.0)
    assert pool.overdue(4.9) == []
    assert pool.overdue(5.0) == [1]
    assert pool.start_failed(1) == ("", JOB)
    assert pool.start_failed(1) is None
    assert not pool.started(1, "late", 6.0)
    assert "late" not in pool


def test_a_jobs_idle_workers_end_with_it():
    pool = WorkerPool(PoolConfig(prestart=2))
    started(pool)
    worker = pool.take("", JOB)
    pool.give_back(worker, 0.0)
    assert [stop.worker_id for stop in pool.stop_job(JOB)] == [worker]
    assert pool.idle_count() == 1


def test_a_spare_that_is_taken_is_replaced_and_spares_are_not_reaped():
    pool = WorkerPool(PoolConfig(spares=2, idle_timeout=10, keep_idle=0))
    first, second = started(pool)
    assert pool.plan({}, 1.0) == []
    taken = pool.take("", JOB)
    assert len(pool.plan({}, 1.0)) == 1
    assert pool.plan({}, 1.0) == []
    pool.give_back(taken, 2.0)
    assert [stop.worker_id for stop in pool.reap(100.0)] == [taken]
    assert {first, second} - {taken}


def test_starts_for_those_who_wait_come_before_spares():
    pool = WorkerPool(PoolConfig(spares=1))
    assert pool.plan({("", JOB): 2}, 0.0) == [StartWorker(1, "", JOB), StartWorker(2, "", JOB)]
    pool.started(1, "w1", 0.1)
    assert pool.plan({}, 0.1) == []
    pool.started(2, "w2", 0.2)
    assert pool.plan({}, 0.2) == [StartWorker(3, "", b"")]


def test_environments_in_the_making_take_no_room_and_have_their_own_time():
    pool = WorkerPool(PoolConfig(max_starting=2, start_timeout=10.0))
    assert pool.plan({("env", JOB): 5}, 0.0) == [StartWorker(1, "env", JOB), StartWorker(2, "env", JOB)]
    assert pool.plan({("env", JOB): 5}, 0.0) == []
    assert pool.plan({("env", JOB): 5, ("other", JOB): 1}, 0.0) == [StartWorker(3, "other", JOB)]
    assert pool.plan({("", JOB): 3}, 0.0) == [StartWorker(4, "", JOB), StartWorker(5, "", JOB)]
    assert pool.overdue(600.0) == [4, 5]


def test_an_environments_workers_start_once_it_is_made():
    pool = WorkerPool(PoolConfig(max_starting=2, start_timeout=10.0))
    pool.plan({("env", JOB): 2}, 0.0)
    pool.prepared(1, 100.0)
    pool.prepared(1, 101.0)  # doubled
    assert pool.overdue(1000.0) == []  # how long a hook may take is the environment's to say
    assert pool.started(1, "w1", 100.0)
    assert pool.take("env", JOB) == "w1"
    assert pool.start_failed(2) == ("env", JOB)
    assert pool.start_failed(2) is None
    pool.prepared(2, 100.0)  # late
    assert pool.overdue(1000.0) == []


def test_a_start_whose_environment_is_made_for_nobody_any_more_is_given_up():
    pool = WorkerPool(PoolConfig())
    waiting = {("env", JOB): 2, ("other", JOB): 1, ("", JOB): 1}
    assert len(pool.plan(waiting, 0.0)) == 4
    assert pool.cancel(waiting) == pool.cancel({("env", JOB): 1, ("other", JOB): 1}) == []
    assert pool.cancel({("other", JOB): 1}) == [CancelStart(1), CancelStart(2)]
    assert pool.start_failed(1) is None
    pool.prepared(3, 1.0)
    assert pool.cancel({}) == [], "its process starts: it may as well come"
    assert pool.started(3, "w3", 2.0)
    assert [start.start_id for start in pool.plan({("env", JOB): 1}, 3.0)] == [5], "who comes later has another"
