"""The runtimes that the utilities are checked on."""

import pytest


@pytest.fixture(scope="module", params=["local", "native"])
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
