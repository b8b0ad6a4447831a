"""The ASGI middleware, driven by httpx, with a real client and a scripted sidecar behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest
from sidecar_double import UNAVAILABLE, ScriptedSidecar, allowed, refused

from weighbridge import Client, Gate, RetryPolicy, WeighbridgeMiddleware, header
from weighbridge import client as wb
from weighbridge.client.gates import Scope
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2

CUSTOMER = header("x-customer-id")
ACME = {"x-customer-id": "acme"}


class Application:
    """An ASGI application that remembers whom it served."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"served"})


@pytest.fixture
def application() -> Application:
    return Application()


def gated(application: Application, client: Client, **options: Any) -> httpx.AsyncClient:
    middleware = WeighbridgeMiddleware(
        application, client=client, **{"customer": CUSTOMER, **options}
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url="http://api")


def consume_reply(decision: types_pb2.Decision) -> pb.ConsumeResponse:
    return pb.ConsumeResponse(decision=decision)


async def test_an_allowed_request_is_counted_and_served(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    decision = allowed(limit=100, used=58, remaining=42, resets_in_ms=59_001)
    sidecar.script = [consume_reply(decision)]
    async with gated(application, client, feature="api.calls") as http:
        response = await http.get("/anything", headers=ACME)
    assert (response.status_code, response.text) == (200, "served")
    assert response.headers["content-type"] == "text/plain"
    assert response.headers["ratelimit-limit"] == "100"
    assert response.headers["ratelimit-remaining"] == "42"
    assert response.headers["ratelimit-reset"] == "60"
    request = sidecar.requests[0]
    assert (request.customer, request.feature, request.amount) == ("acme", "api.calls", 1)
    assert application.scopes[0]["weighbridge.decision"].remaining == 42


async def test_an_unlimited_request_has_no_limit_headers(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [consume_reply(allowed())]
    async with gated(application, client, feature="api.calls") as http:
        response = await http.get("/", headers=ACME)
    assert not [name for name in response.headers if name.startswith("ratelimit")]


async def test_a_limit_that_is_reached(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    hint = types_pb2.UpgradeHint(
        plan="pro",
        name="Pro",
        offer=types_pb2.UpgradeOffer(message="Go Pro", url="https://example.com/pro"),
    )
    decision = refused(
        types_pb2.REASON_LIMIT_REACHED,
        limit=100,
        used=100,
        remaining=0,
        window_end_unix_ms=1_769_904_000_000,
        resets_in_ms=5000,
        retry_after_ms=4001,
        upgrade_hints=[hint],
    )
    sidecar.script = [consume_reply(decision)]
    async with gated(application, client, feature="api.calls") as http:
        response = await http.get("/", headers=ACME)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "5"
    assert response.headers["ratelimit-remaining"] == "0"
    assert response.json() == {
        "reason": "limit_reached",
        "message": "The limit of the plan is reached.",
        "feature": "api.calls",
        "limit": 100,
        "used": 100,
        "remaining": 0,
        "resets_at": "2026-02-01T00:00:00+00:00",
        "retry_after_s": 5,
        "upgrade_hints": [
            {"plan": "pro", "name": "Pro", "message": "Go Pro", "url": "https://example.com/pro"}
        ],
    }
    assert application.scopes == []


STATUS_OF = {
    "CUSTOMER_UNKNOWN": 403,
    "CUSTOMER_ARCHIVED": 403,
    "RESOURCE_UNKNOWN": 403,
    "NO_ACTIVE_SUBSCRIPTION": 402,
    "TRIAL_ENDED": 402,
    "FEATURE_UNKNOWN": 403,
    "FEATURE_NOT_IN_PLAN": 403,
    "VALUE_NOT_ALLOWED": 403,
    "LIMIT_REACHED": 429,
    "RATE_LIMITED": 429,
    "CREDITS_EXHAUSTED": 402,
    "SPEND_LIMIT_REACHED": 402,
    "PARTNER_NOT_PERMITTED": 403,
    "PARTNER_LIMIT_REACHED": 429,
    "REVOKED": 403,
    "OUTAGE_POLICY": 503,
}


async def test_every_reason_has_its_status_and_a_message(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    reasons = [name.removeprefix("REASON_") for name in types_pb2.Reason.keys()][1:]  # noqa: SIM118
    async with gated(application, client, feature="api.calls") as http:
        for reason in reasons:
            sidecar.script = [consume_reply(refused(types_pb2.Reason.Value(f"REASON_{reason}")))]
            response = await http.get("/", headers=ACME)
            assert response.status_code == STATUS_OF[reason], reason
            assert response.json()["reason"] == reason.lower()
            assert response.json()["message"]
        sidecar.script = [consume_reply(types_pb2.Decision(allowed=False))]
        response = await http.get("/", headers=ACME)
    assert (response.status_code, response.json()["reason"]) == (403, "refused")
    assert application.scopes == []


@pytest.mark.parametrize(
    "headers", [[], [("x-customer-id", "")], [("x-customer-id", "a"), ("x-customer-id", "b")]]
)
async def test_a_request_without_one_customer_is_401(
    application: Application,
    client: Client,
    sidecar: ScriptedSidecar,
    headers: list[tuple[str, str]],
) -> None:
    async with gated(application, client, feature="api.calls") as http:
        response = await http.get("/", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Weighbridge ")
    assert response.json()["reason"] == "customer_missing"
    assert (application.scopes, sidecar.requests) == ([], [])


async def test_an_impossible_customer_is_400(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    async with gated(application, client, feature="api.calls") as http:
        response = await http.get("/", headers={"x-customer-id": "not an id"})
    assert (response.status_code, response.json()["reason"]) == (400, "customer_invalid")
    assert (application.scopes, sidecar.requests) == ([], [])


async def test_the_first_gate_that_matches_decides(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    gates = [
        Gate(None, path_prefix="/v1/health"),
        Gate("documents", 3, path_prefix="/v1/documents", methods=("POST",)),
        Gate("tokens", lambda scope: len(scope["path"]), path_prefix="/v1/long/"),
        Gate("reports.export", path_prefix="/v1/reports", methods=["get"], records_usage=False),
    ]
    decisions = [consume_reply(allowed())] * 3
    sidecar.script = [*decisions, pb.CheckResponse(decision=allowed(limit=25))]
    async with gated(application, client, gates=gates, feature="api.calls") as http:
        for method, path in [
            ("GET", "/v1/health"),
            ("POST", "/v1/documents/7"),
            ("GET", "/v1/documents/7"),
            ("GET", "/v1/long/path"),
            ("HEAD", "/v1/reports"),
        ]:
            response = await http.request(method, path, headers=ACME)
            assert response.status_code == 200
    assert len(application.scopes) == 5
    asked = [(type(request).__name__, request.feature) for request in sidecar.requests]
    assert asked == [
        ("ConsumeRequest", "documents"),
        ("ConsumeRequest", "api.calls"),
        ("ConsumeRequest", "tokens"),
        ("CheckRequest", "reports.export"),
    ]
    assert [request.amount for request in sidecar.requests[:3]] == [3, 1, 13]
    assert not sidecar.requests[3].HasField("amount")
    assert "ratelimit-limit" not in response.headers


async def test_what_no_gate_matches_passes(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    async with gated(application, client, gates=[Gate("a", path_prefix="/v1")]) as http:
        response = await http.get("/v10")
    assert response.status_code == 200
    assert sidecar.requests == []


async def test_a_mounted_application_is_gated_by_its_own_paths(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [consume_reply(allowed())] * 2
    middleware = WeighbridgeMiddleware(
        application, client=client, customer=CUSTOMER, gates=[Gate("a", path_prefix="/v1")]
    )
    transport = httpx.ASGITransport(middleware, root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        for path in ("/api/v1/x", "/v1/x", "/api", "/apiv1"):
            await http.get(path, headers=ACME)
    assert len(sidecar.requests) == 2


async def test_customer_and_resource_may_be_found_by_async_functions(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    async def by_api_key(scope: Scope) -> str | None:
        key = dict(scope["headers"]).get(b"authorization")
        return {b"Bearer k1": "acme"}.get(key)

    sidecar.script = [consume_reply(allowed())]
    options = {"feature": "a", "customer": by_api_key, "resource": header("x-workspace")}
    async with gated(application, client, **options) as http:
        known = {"authorization": "Bearer k1", "x-workspace": "ws1"}
        assert (await http.get("/", headers=known)).status_code == 200
        assert (await http.get("/")).status_code == 401
    assert (sidecar.requests[0].customer, sidecar.requests[0].resource) == ("acme", "ws1")


@pytest.mark.parametrize(
    "failure", [UNAVAILABLE, (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")]
)
async def test_a_sidecar_without_answer_is_503(
    application: Application,
    address: str,
    sidecar: ScriptedSidecar,
    failure: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sidecar.script = [failure]
    async with (
        Client(address, timeout_s=10, retry=RetryPolicy(attempts_max=1)) as client,
        gated(application, client, feature="api.calls") as http,
    ):
        response = await http.get("/", headers=ACME)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["reason"] == "unavailable"
    assert application.scopes == []
    assert failure[1] in caplog.text


@pytest.mark.parametrize(("choice", "status"), [("allow", 200), ("deny", 503)])
async def test_the_clients_fallback_decides(
    application: Application,
    address: str,
    sidecar: ScriptedSidecar,
    choice: wb.WhenUnreachable,
    status: int,
) -> None:
    sidecar.script = [UNAVAILABLE]
    retry = RetryPolicy(attempts_max=1)
    async with (
        Client(address, timeout_s=10, retry=retry, when_unreachable=choice) as client,
        gated(application, client, feature="api.calls") as http,
    ):
        response = await http.get("/", headers=ACME)
    assert response.status_code == status
    assert all(scope["weighbridge.decision"].is_fallback for scope in application.scopes)


async def test_a_mistake_in_the_set_up_is_raised(
    application: Application, client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [(grpc.StatusCode.INVALID_ARGUMENT, "feature: is boolean; use Check")]
    async with gated(application, client, feature="reports.export") as http:
        with pytest.raises(wb.InvalidArgumentError, match="use Check"):
            await http.get("/", headers=ACME)


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_lifespan_and_websockets_pass_untouched(
    client: Client, sidecar: ScriptedSidecar, kind: str
) -> None:
    passed: list[tuple[Any, Any, Any]] = []

    async def application(scope: Scope, receive: Any, send: Any) -> None:
        passed.append((scope, receive, send))

    async def receive() -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        raise AssertionError

    middleware = WeighbridgeMiddleware(application, client=client, customer=CUSTOMER, feature="a")
    scope: Scope = {"type": kind, "path": "/", "headers": []}
    await middleware(scope, receive, send)
    assert passed == [(scope, receive, send)]
    assert sidecar.requests == []


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Gate("a", path_prefix="v1"), "path_prefix"),
        (lambda: Gate("a", methods="GET"), "methods"),
    ],
)
def test_impossible_gates_are_refused(make: Callable[[], Gate], field: str) -> None:
    with pytest.raises(wb.InvalidArgumentError) as caught:
        make()
    assert caught.value.field == field


async def test_a_middleware_that_gates_nothing_is_refused(
    application: Application, client: Client
) -> None:
    with pytest.raises(wb.InvalidArgumentError, match="gates nothing"):
        WeighbridgeMiddleware(application, client=client, customer=CUSTOMER)
