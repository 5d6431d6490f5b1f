"""joblib runs on the cluster."""

import os

import joblib
import pytest

from limelight.util.joblib import register_limelight, register_ray


@pytest.fixture(params=[("limelight", register_limelight), ("ray", register_ray)], ids=["limelight", "ray"])
def backend(ll, request):
    name, register = request.param
    register()
    return name


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
def test_results_come_in_order(backend, n_jobs):
    with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
        assert joblib.Parallel()(joblib.delayed(pow)(n, 2) for n in range(50)) == [n * n for n in range(50)]


def test_one_job_at_a_time_needs_no_worker(backend):
    with joblib.parallel_config(backend=backend, n_jobs=1):
        pids = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(3))
    assert set(pids) == {os.getpid()}


def test_the_clusters_cpus_are_all_used_by_default(backend):
    with joblib.parallel_config(backend=backend):
        assert joblib.effective_n_jobs(-1) == 4
        assert joblib.effective_n_jobs(-2) == 3


def test_results_can_be_taken_as_they_come(backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        results = joblib.Parallel(return_as="generator_unordered")(joblib.delayed(pow)(n, 2) for n in range(20))
        assert sorted(results) == [n * n for n in range(20)]


def test_an_error_ends_the_run_and_the_backend_can_be_used_again(backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        with pytest.raises(ZeroDivisionError):
            joblib.Parallel()(joblib.delayed(divmod)(1, n) for n in (1, 0, 2))
        assert joblib.Parallel()(joblib.delayed(abs)(n) for n in (-1, -2)) == [1, 2]
