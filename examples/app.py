"""A small log-in API that gates its endpoints with Weighbridge.

Sells what examples/catalogs/freemium.yaml describes. Start Weighbridge with that catalog, make a
customer on the smallest plan, and start the application:

    weighbridge up --catalog examples/catalogs/freemium.yaml
    weighbridge customer create acme --catalog freemium --plan sandbox
    python examples/app.py --sidecar 127.0.0.1:7700 --port 8000

Four ways to gate an endpoint:

    POST /tokens         metered by the middleware: one token each; 429 past the plan's limit
    POST /users          check, work, report: charges the users that were really new
    PUT  /domain         a boolean feature, asked for by the middleware; 403 where it is not sold
    GET  /entitlements   gated by nothing: what the customer has, and what is left of it

    curl -i -X POST localhost:8000/tokens -H 'x-customer-id: acme'
    curl -i -X POST localhost:8000/users -H 'x-customer-id: acme' -d '["ann@example.com"]'
    curl -i -X PUT localhost:8000/domain -H 'x-customer-id: acme' -d '"login.example.com"'
    curl -i localhost:8000/entitlements -H 'x-customer-id: acme'

The header names the customer to keep the example short. A real API takes the customer from the
credentials of the request: what a caller can write, a caller can forge.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeGuard

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import weighbridge
from weighbridge.client import HttpRefusal, SidecarUnreachableError, refusal_of, unavailable

USERS: Final = "users.monthly"
GATES: Final = (
    weighbridge.Gate("tokens.machine", path_prefix="/tokens", methods=("POST",)),
    weighbridge.Gate("custom_domain", path_prefix="/domain", records_usage=False),
)
REPORT_AGAIN_S: Final = 1.0
STOP_GRACE_S: Final = 20
"""How long open requests may take once the application is told to end."""


class LoginService:
    """The API: its accounts, in memory, and the client it asks first."""

    def __init__(self, client: weighbridge.Client) -> None:
        self._client = client
        self._users: dict[str, set[str]] = defaultdict(set)
        self._domains: dict[str, str] = {}

    async def create_token(self, request: Request) -> Response:
        """Hand out a token. The middleware has counted it already."""
        left = request.scope["weighbridge.decision"].remaining
        return JSONResponse({"token": secrets.token_urlsafe(24), "left": left}, status_code=201)

    async def create_users(self, request: Request) -> Response:
        """Create the users that do not exist yet, and charge for those alone."""
        customer = _customer_of(request)
        names = await _json_of(request)
        if not _are_names(names):
            raise HTTPException(400, "send the names as a JSON list of strings")
        # The worst case is asked for before the work; what it really was is known only after.
        decision = await self._client.check(customer, USERS, len(names))
        if not decision:
            return _response(refusal_of(decision))
        new = set(names) - self._users[customer]
        self._users[customer] |= new
        report = BackgroundTask(self._report, customer, len(new))
        return JSONResponse({"created": sorted(new)}, status_code=201, background=report)

    async def set_domain(self, request: Request) -> Response:
        """Set the customer's own domain. The middleware has asked whether it may have one."""
        domain = await _json_of(request)
        if not isinstance(domain, str):
            raise HTTPException(400, "send the domain as a JSON string")
        self._domains[_customer_of(request)] = domain
        return JSONResponse({"domain": domain})

    async def show_entitlements(self, request: Request) -> Response:
        """Show what the customer has, for an account page."""
        found = await self._client.entitlements(_customer_of(request))
        left = {
            name: {limit.id: limit.remaining for limit in feature.limits}
            for name, feature in found.features.items()
            if feature.limits
        }
        included = sorted(name for name, feature in found.features.items() if feature.enabled)
        return JSONResponse({"plan": found.plan, "included": included, "left": left})

    async def _report(self, customer: str, created: int) -> None:
        """Report usage until the sidecar confirms it; one key, so it counts once."""
        key = uuid.uuid4().hex
        while True:
            try:
                await self._client.report(customer, USERS, created, idempotency_key=key)
            except SidecarUnreachableError:
                await asyncio.sleep(REPORT_AGAIN_S)
            else:
                return


def application(client: weighbridge.Client) -> Starlette:
    """Put the routes behind their gates."""
    service = LoginService(client)
    customer = weighbridge.header("x-customer-id")

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    app = Starlette(
        routes=[
            Route("/tokens", service.create_token, methods=["POST"]),
            Route("/users", service.create_users, methods=["POST"]),
            Route("/domain", service.set_domain, methods=["PUT"]),
            Route("/entitlements", service.show_entitlements, methods=["GET"]),
        ],
        lifespan=lifespan,
        exception_handlers={SidecarUnreachableError: _unreachable},
    )
    app.add_middleware(
        weighbridge.WeighbridgeMiddleware, client=client, customer=customer, gates=GATES
    )
    return app


def _customer_of(request: Request) -> str:
    customer = request.headers.get("x-customer-id")
    if not customer:
        raise HTTPException(401, "name the customer in x-customer-id")
    return customer


async def _json_of(request: Request) -> object:
    try:
        body: object = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HTTPException(400, "the body is not JSON") from error
    return body


def _are_names(names: object) -> TypeGuard[list[str]]:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _response(refusal: HttpRefusal) -> Response:
    return JSONResponse(refusal.body, refusal.status, dict(refusal.headers))


async def _unreachable(_request: Request, _error: Exception) -> Response:
    return _response(unavailable())


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A log-in API gated by Weighbridge.")
    parser.add_argument("--sidecar", help="host:port or unix:///path (default: 127.0.0.1:7700)")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    client = weighbridge.Client(arguments.sidecar)
    uvicorn.run(
        application(client),
        host=arguments.host,
        port=arguments.port,
        timeout_graceful_shutdown=STOP_GRACE_S,
    )


if __name__ == "__main__":
    main()
