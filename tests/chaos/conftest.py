"""A session for tests in which workers are killed."""

import pytest


@pytest.fixture(scope="module")
def ll():
    import limelight

    limelight.init(num_cpus=4, object_store_memory=200e6, log_to_driver=False)
    try:
        yield limelight
    finally:
        limelight.shutdown()
