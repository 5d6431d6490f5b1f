"""The engines that the contract of `Runtime` is checked against.

In an environment with Ray, numpy, pytest, pytest-asyncio and pytest-timeout, this checks the contract itself, that is,
that Ray does what these tests say of Limelight:

    LIMELIGHT_CONTRACT_ENGINE=ray pytest -c /dev/null --confcutdir=tests/contracts -o asyncio_mode=auto \\
        --import-mode=importlib tests/contracts/test_runtime*.py
"""

import importlib.util
import os

import pytest

ON_RAY = os.environ.get("LIMELIGHT_CONTRACT_ENGINE") == "ray"


def runtimes():
    if ON_RAY:
        return ["ray"]
    native = importlib.util.find_spec("limelight.cluster.session") is not None
    reason = "limelight.cluster.session is not there yet"
    return ["local", pytest.param("native", marks=() if native else pytest.mark.skip(reason=reason))]


@pytest.fixture(scope="module", params=runtimes())
def runtime(request):
    """Which runtime the tests of the module run on."""
    return request.param


@pytest.fixture(scope="module")
def ll(runtime):
    """The package, with a session of four CPUs."""
    if runtime == "ray":
        import ray

        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, namespace="contract")
        yield ray
        ray.shutdown()
        return
    import limelight

    limelight.init(num_cpus=4, namespace="contract", **({"local_mode": True} if runtime == "local" else {}))
    try:
        yield limelight
    finally:
        limelight.shutdown()


@pytest.fixture
def not_local(runtime):
    """For what cannot be in one thread; the test says why."""
    if runtime == "local":
        pytest.skip("has no meaning in local mode, where all runs in the caller's thread")


@pytest.fixture
def better_than_ray(runtime):
    """For deliberate differences; the test says what Ray does."""
    if runtime == "ray":
        pytest.skip("Limelight differs from Ray here on purpose")
