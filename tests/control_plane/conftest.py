"""An environment on each engine, and administration of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from admin_server import AdminServer
from provisioned import CATALOG, Environment

from control_plane.storage.database import Database
from weighbridge.v1 import admin_service_pb2 as pb

if TYPE_CHECKING:
    # Only the type stubs tell the two kinds of stub apart.
    from weighbridge.v1.admin_service_pb2_grpc import AdminServiceAsyncStub


@pytest.fixture
def environment(database_url: str) -> Iterator[Environment]:
    """Make an environment without a catalog."""
    database = Database(database_url)
    database.migrate()
    yield Environment(database)
    database.close()


@pytest.fixture
async def server(environment: Environment) -> AsyncIterator[AdminServer]:
    async with AdminServer(environment.database).serving() as server:
        yield server


@pytest.fixture
async def admin(server: AdminServer) -> AsyncIterator[AdminServiceAsyncStub]:
    async with server.stub() as stub:
        yield stub


@pytest.fixture
async def acme(admin: AdminServiceAsyncStub) -> pb.Customer:
    await admin.ApplyCatalog(pb.ApplyCatalogRequest(document=CATALOG, source_name="c.yaml"))
    response = await admin.CreateCustomer(
        pb.CreateCustomerRequest(id="acme", name="Acme", resources=["shop"], plan="pro")
    )
    return response.customer
