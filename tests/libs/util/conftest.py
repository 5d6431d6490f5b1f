"""The runtimes that the utilities are checked on."""

import importlib.util

import pytest

NATIVE = importlib.util.find_spec("limelight.cluster.session") is not None


@pytest.fixture(
    scope="module",
    params=[
        "local",
        pytest.param(
            "native", marks=() if NATIVE else pytest.mark.skip(reason="limelight.cluster.session is not there")
        ),
    ],
)
def ll(request):
    """The package, with a session of four CPUs."""
    import limelight

    limelight.init(num_cpus=4, **({"local_mode": True} if request.param == "local" else {}))
    try:
        yield limelight
    finally:
        limelight.shutdown()


@pytest.fixture
def parallel(request):
    """For what needs two things to happen at once."""
    if request.node.callspec.params["ll"] == "local":
        pytest.skip("local mode has one thread")
