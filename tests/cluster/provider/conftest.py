"""What a provider's own tests are tried on."""

import pytest


@pytest.fixture(scope="module")
def ground(request, tmp_path_factory):
    """What the test's module names as its GROUND."""
    made = request.module.GROUND(tmp_path_factory.mktemp("ground"))
    yield made
    made.close()
