"""The engines that the contract of `Runtime` is checked against.

In an environment with Ray, numpy, pytest, pytest-asyncio and pytest-timeout, this checks the contract itself, that is,
that Ray does what these tests say of Limelight:

    LIMELIGHT_CONTRACT_ENGINE=ray pytest -c /dev/null --confcutdir=tests/contracts -o asyncio_mode=auto \\
        --import-mode=importlib tests/contracts/test_runtime*.py
"""

import os
import time

import pytest

DEADLINE = 30.0
ON_RAY = os.environ.get("LIMELIGHT_CONTRACT_ENGINE") == "ray"


@pytest.fixture(scope="module", params=["ray"] if ON_RAY else ["local", "native"])
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


@pytest.fixture(scope="module")
def counter_class(ll):
    @ll.remote
    class Counter:
        """Counts."""

        def __init__(self, start=0):
            self.n = start

        def add(self, k=1):
            self.n += k
            return self.n

        def _private(self):
            return "private"

        @staticmethod
        def static(x):
            return x

        @classmethod
        def cls_name(cls):
            return cls.__name__

        @property
        def prop(self):
            return self.n

        def __call__(self, x):
            return x

        def fail(self):
            raise ValueError("bad")

        def pid(self):
            return os.getpid()

    return Counter


@pytest.fixture
def eventually():
    """Asks a condition again and again; gives its first true value."""

    def ask(condition):
        deadline = time.monotonic() + DEADLINE
        while not (value := condition()):
            assert time.monotonic() < deadline, "the condition did not come true in time"
        return value

    return ask
