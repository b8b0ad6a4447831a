"""Tokens over a real connection: which opens what."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from admin_server import AdminServer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from provisioned import NOW_MS, Environment
from sqlalchemy import text

from control_plane.provisioning.access import (
    Role,
    register_token,
    require_token,
    revoke_token,
)
from weighbridge.rules.errors import NotFoundError, UnauthenticatedError
from weighbridge.runtime.tokens import new_token
from weighbridge.v1 import admin_service_pb2 as pb
from weighbridge.v1 import admin_service_pb2_grpc, sync_service_pb2_grpc
from weighbridge.v1 import sync_service_pb2 as sync_pb


@pytest.fixture
async def server(environment: Environment) -> AsyncIterator[AdminServer]:
    async with AdminServer(environment.database).serving() as server:
        yield server


async def refusal(server: AdminServer, *headers: tuple[str, str]) -> str:
    """Call with those headers; return why it was refused."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListCatalogs(pb.ListCatalogsRequest(), metadata=headers)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return caught.value.details() or ""


async def test_the_right_token_opens(server: AdminServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        for scheme in ("Bearer", "bearer"):
            metadata = [("authorization", f"{scheme} {server.admin_token}")]
            response = await stub.ListCatalogs(pb.ListCatalogsRequest(), metadata=metadata)
            assert not response.catalogs


async def test_others_do_not(server: AdminServer) -> None:
    assert (await refusal(server)).startswith("no token; send the header")
    unknown = new_token()
    detail = await refusal(server, ("authorization", f"Bearer {unknown}"))
    assert detail == "the token is not known, or was revoked"
    detail = await refusal(server, ("authorization", f"Bearer {server.sync_token}"))
    assert detail == "the token is of role sync; this service takes one of role admin"
    not_bearer = "the authorization header is not `Bearer TOKEN`"
    assert await refusal(server, ("authorization", server.admin_token)) == not_bearer
    assert await refusal(server, ("authorization", f"Basic {server.admin_token}")) == not_bearer
    assert await refusal(server, ("authorization", "Bearer ")) == not_bearer
    twice = ("authorization", f"Bearer {server.admin_token}")
    assert await refusal(server, twice, twice) == not_bearer


async def test_a_revoked_token_opens_nothing(server: AdminServer) -> None:
    with server.database.writing() as connection:
        revoke_token(connection, Role.ADMIN, "file", NOW_MS)
    detail = await refusal(server, ("authorization", f"Bearer {server.admin_token}"))
    assert detail == "the token is not known, or was revoked"


async def test_a_refused_call_is_counted_and_nothing_of_it_is_read(server: AdminServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        # Bytes that are no request: a refusal must come before anybody looks at them.
        call = channel.unary_unary("/weighbridge.v1.AdminService/ApplyCatalog")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    name = "weighbridge_control_plane_admin_calls_total"
    labels = {"method": "ApplyCatalog", "code": "UNAUTHENTICATED"}
    assert server.registry.get_sample_value(name, labels) == 1


async def test_health_and_reflection_are_open(server: AdminServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        response = await health.Check(health_pb2.HealthCheckRequest())
        assert response.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
        async for answer in reflection.ServerReflectionInfo(iter(requests)):
            names = {service.name for service in answer.list_services_response.service}
    assert "weighbridge.v1.AdminService" in names


async def test_a_stream_takes_a_token_of_its_own(server: AdminServer) -> None:
    hello = sync_pb.Hello(
        sidecar_id="sc-1", epoch="e-1", mode=sync_pb.SUBSCRIPTION_MODE_ALL, software_version="1"
    )
    async with grpc.aio.insecure_channel(server.address) as channel, server.stub() as admin:
        stub = sync_service_pb2_grpc.SyncServiceStub(channel)
        for token, answer in ((server.admin_token, "of role admin"), (new_token(), "not known")):
            refused = stub.Sync(metadata=[("authorization", f"Bearer {token}")])
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await refused.read()
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert answer in (caught.value.details() or "")
        listed = await admin.ListSidecars(pb.ListSidecarsRequest())
        assert not listed.sidecars

        stream = stub.Sync(metadata=[("authorization", f"Bearer {server.sync_token}")])
        await stream.write(sync_pb.SyncRequest(hello=hello))
        first = await stream.read()
        assert first.welcome.control_plane_now_unix_ms == NOW_MS
        listed = await admin.ListSidecars(pb.ListSidecarsRequest())
        [sidecar] = listed.sidecars
        assert (sidecar.sidecar_id, sidecar.epoch, sidecar.software_version) == ("sc-1", "e-1", "1")
        assert (sidecar.mode, sidecar.customers) == (sync_pb.SUBSCRIPTION_MODE_ALL, 0)
        stream.cancel()


async def test_errors_of_a_stream_have_their_status(server: AdminServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = sync_service_pb2_grpc.SyncServiceStub(channel)
        stream = stub.Sync(metadata=[("authorization", f"Bearer {server.sync_token}")])
        await stream.write(sync_pb.SyncRequest(hello=sync_pb.Hello(epoch="e-1", mode=1)))  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith("hello.sidecar_id: is empty")


def test_a_new_token_replaces_the_one_of_its_name(environment: Environment) -> None:
    first, second, other = new_token(), new_token(), new_token()
    with environment.database.writing() as connection:
        register_token(connection, Role.ADMIN, "file", first, 1)
        register_token(connection, Role.ADMIN, "file", first, 2)
        register_token(connection, Role.ADMIN, "person", other, 2)
        require_token(connection, Role.ADMIN, first)
        register_token(connection, Role.ADMIN, "file", second, 3)
        require_token(connection, Role.ADMIN, second)
        require_token(connection, Role.ADMIN, other)
        with pytest.raises(UnauthenticatedError):
            require_token(connection, Role.ADMIN, first)
        register_token(connection, Role.ADMIN, "file", first, 4)
        require_token(connection, Role.ADMIN, first)
        with pytest.raises(NotFoundError, match="no valid sync token named 'file'"):
            revoke_token(connection, Role.SYNC, "file", 5)


def test_tokens_are_stored_as_digests(environment: Environment) -> None:
    token = new_token()
    with environment.database.writing() as connection:
        register_token(connection, Role.ADMIN, "file", token, 1)
        stored = str(connection.execute(text("SELECT * FROM access_token")).all())
        with pytest.raises(UnauthenticatedError, match="longer than 4096"):
            require_token(connection, Role.ADMIN, "x" * 2**20)
    assert token not in stored
