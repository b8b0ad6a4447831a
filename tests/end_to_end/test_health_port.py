"""gRPC probes of the sidecar, as Kubernetes asks them."""

from __future__ import annotations

import json

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sidecar.transport.health import LIVENESS, READINESS
from tests.end_to_end.world import World, eventually, free_ports

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_alive_at_once_and_ready_with_the_first_snapshot(world: World) -> None:
    world.control_plane.stop()
    (port,) = free_ports(1)
    world.another_sidecar(
        "probed", WEIGHBRIDGE_SIDECAR_HEALTH_LISTEN=f"127.0.0.1:{port}", wait_ready=False
    )
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def asked(service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
            request = health_pb2.HealthCheckRequest(service=service)
            return health.Check(request, timeout=10, wait_for_ready=True).status

        assert asked(LIVENESS) == SERVING
        assert asked(READINESS) == asked("") == NOT_SERVING
        world.control_plane.start()
        eventually(lambda: asked(READINESS) == asked("") == SERVING)

        # Nothing else is answered there: the API has no authentication.
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        with pytest.raises(grpc.RpcError) as refused:
            next(reflection.ServerReflectionInfo(question, timeout=10))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    addresses = json.loads((world.folder / "probed" / "addresses.json").read_text())
    assert addresses["health_listen"] == f"127.0.0.1:{port}"
