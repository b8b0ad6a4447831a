"""examples/app.py: its endpoints, in front of a scripted sidecar."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from sidecar_double import UNAVAILABLE, ScriptedSidecar, allowed, consumed, entitlements, refused

from weighbridge import Client
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2

EXAMPLE = Path(__file__).parents[2] / "examples" / "app.py"
ACME = {"x-customer-id": "acme"}


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_app", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def http(example: ModuleType, client: Client) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(example.application(client))
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=ACME) as http:
        yield http


async def test_a_token_is_metered_by_the_middleware(
    http: httpx.AsyncClient, sidecar: ScriptedSidecar
) -> None:
    granted = pb.ConsumeResponse(decision=allowed(limit=5, used=1, remaining=4))
    reached = pb.ConsumeResponse(decision=refused(types_pb2.REASON_LIMIT_REACHED))
    sidecar.script = [granted, reached]
    response = await http.post("/tokens")
    assert (response.status_code, response.json()["left"]) == (201, 4)
    assert (await http.post("/tokens")).status_code == 429
    assert [request.feature for request in sidecar.requests] == ["tokens.machine"] * 2


async def test_only_new_users_are_reported_and_once(
    http: httpx.AsyncClient, sidecar: ScriptedSidecar
) -> None:
    check = pb.CheckResponse(decision=allowed())
    sidecar.script = [check, pb.ReportResponse(), check, UNAVAILABLE, pb.ReportResponse()]
    assert (await http.post("/users", json=["ann", "bob"])).status_code == 201
    response = await http.post("/users", json=["ann", "cy"])
    assert response.json() == {"created": ["cy"]}
    checks = [request for request in sidecar.requests if isinstance(request, pb.CheckRequest)]
    reports = [request for request in sidecar.requests if isinstance(request, pb.ReportRequest)]
    assert [check.amount for check in checks] == [2, 2]
    assert [report.amount for report in reports] == [2, 1, 1]
    assert reports[1] == reports[2]
    assert reports[0].idempotency_key != reports[1].idempotency_key


async def test_users_past_the_limit_are_not_created(
    http: httpx.AsyncClient, sidecar: ScriptedSidecar
) -> None:
    reached = refused(types_pb2.REASON_LIMIT_REACHED, retry_after_ms=5000)
    sidecar.script = [pb.CheckResponse(decision=reached)]
    response = await http.post("/users", json=["ann"])
    assert (response.status_code, response.headers["retry-after"]) == (429, "5")
    assert len(sidecar.requests) == 1


async def test_the_domain_is_asked_for_and_never_consumed(
    http: httpx.AsyncClient, sidecar: ScriptedSidecar
) -> None:
    not_sold = refused(types_pb2.REASON_FEATURE_NOT_IN_PLAN)
    sidecar.script = [pb.CheckResponse(decision=not_sold), pb.CheckResponse(decision=allowed())]
    assert (await http.put("/domain", json="a.example.com")).status_code == 403
    assert (await http.put("/domain", json="a.example.com")).status_code == 200
    assert all(isinstance(request, pb.CheckRequest) for request in sidecar.requests)


async def test_entitlements_are_shown(http: httpx.AsyncClient, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [pb.GetEntitlementsResponse(entitlements=entitlements("pro"))]
    assert (await http.get("/entitlements")).json() == {
        "plan": "pro",
        "included": ["api.calls", "file.size"],
        "left": {"api.calls": {"monthly": 600}},
    }


async def test_bad_requests(http: httpx.AsyncClient, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [pb.CheckResponse(decision=allowed()), consumed()]
    assert (await http.post("/users", content=b"{")).status_code == 400
    assert (await http.post("/users", json={"a": 1})).status_code == 400
    assert (await http.put("/domain", json=1)).status_code == 400
    assert (await http.post("/tokens", headers={"x-customer-id": ""})).status_code == 401
    assert (await http.get("/entitlements", headers={"x-customer-id": ""})).status_code == 401


async def test_without_a_sidecar_it_answers_503(
    http: httpx.AsyncClient, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [UNAVAILABLE] * 6
    assert (await http.post("/tokens")).status_code == 503
    assert (await http.get("/entitlements")).status_code == 503
