"""The stores that the contract is checked against, on real servers."""

import pytest

from tests.cluster.state.database_server import PostgresServer, RedisServer, running
from tests.contracts.state.backend import Backend


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis", "postgres"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def server(kind):
    classes = {"redis": RedisServer, "postgres": PostgresServer}
    if kind not in classes:
        yield None
        return
    with running(classes[kind]) as made:
        yield made


@pytest.fixture
def backend(kind, server, tmp_path):
    return Backend(kind, server, tmp_path)


@pytest.fixture
async def store(backend):
    async with backend.store() as opened:
        yield opened
