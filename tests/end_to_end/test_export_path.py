"""Usage from a sidecar to a billing system, with the control plane killed on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import grpc
import yaml

from tests.end_to_end.world import World, eventually
from tests.fake_stripe import FakeStripe
from tests.recording_server import Answer, Recorded, recording_server
from weighbridge.v1 import integration_service_pb2 as pb
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1.integration_service_pb2_grpc import IntegrationServiceStub

CUSTOMERS = 12
EACH = 5


def configure(folder: Path, url: str) -> str:
    key = folder / "stripe.key"
    key.write_text("sk_test_0123456789", encoding="utf-8")
    key.chmod(0o600)
    exporter = {
        "id": "billing",
        "kind": "stripe",
        "api_key_file": str(key),
        "base_url": url,
        "meters": [{"feature": "events", "event_name": "events"}],
        "from_start": True,
        "settle_after_s": 0,
        "timeout_s": 2,
    }
    path = folder / "exports.yaml"
    path.write_text(yaml.safe_dump({"exporters": [exporter]}), encoding="utf-8")
    return str(path)


def answered(ask: Callable[[], bool]) -> bool:
    """Whether it is so; a process that was killed meanwhile has not answered."""
    try:
        return ask()
    except grpc.RpcError:
        return False


def test_a_kill_during_export_loses_and_doubles_nothing(world: World) -> None:
    stripe, kills = FakeStripe(), [3, 7]

    def answer(request: Recorded) -> Answer:
        sent = stripe(request)
        if kills and len(stripe.events) == kills[0]:
            # Written, and no answer: the process dies with the request on its way.
            kills.pop(0)
            world.control_plane.kill()
            return Answer(hangs=True)
        return sent

    api, admin = world.api(), world.admin()
    two_hours_ago_ms = int(time.time_ns() // 1_000_000) - 2 * 3_600_000
    for number in range(CUSTOMERS):
        admin.create(f"c{number}")
        for _ in range(EACH):
            request = sidecar_pb.ReportRequest(
                customer=f"c{number}",
                feature="events",
                amount=1,
                occurred_at_unix_ms=two_hours_ago_ms,
            )
            api.Report(request, timeout=5, wait_for_ready=True)
    eventually(lambda: world.usage_records_unsettled() == 0)
    integrations = IntegrationServiceStub(world._channel(f"127.0.0.1:{world.grpc_port}"))
    for number in range(CUSTOMERS):
        named = pb.ExternalId(customer=f"c{number}", system="stripe", external_id=f"cus_{number}")
        integrations.SetExternalId(
            pb.SetExternalIdRequest(external_id=named), metadata=admin.metadata(), timeout=5
        )
    with recording_server(answer) as server:
        world.control_plane.stop()
        world.control_plane.set(
            WEIGHBRIDGE_CONTROL_PLANE_EXPORTS_FILE=configure(world.folder, server.url)
        )

        def is_sent() -> bool:
            if world.control_plane.probe("/livez")[0] != 200:
                world.control_plane.end()
                world.control_plane.start()
            listed = integrations.ListExporters(
                pb.ListExportersRequest(), metadata=admin.metadata(), timeout=5, wait_for_ready=True
            )
            (exporter,) = listed.exporters
            return exporter.sent == CUSTOMERS

        eventually(lambda: answered(is_sent), timeout_s=90)
    assert not kills
    assert {f"cus_{n}": stripe.units(f"cus_{n}") for n in range(CUSTOMERS)} == {
        f"cus_{n}": EACH for n in range(CUSTOMERS)
    }
