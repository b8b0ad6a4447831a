"""The HTTP application: routes to the services, usage to the reporter, each call with a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as StarletteRoute

from control_plane.api.authentication import bearer_token
from control_plane.api.http.bodies import read_body
from control_plane.api.http.errors import error_answer, told
from control_plane.api.http.events import usage_of_request
from control_plane.api.http.incoming import incoming_routes
from control_plane.api.http.openapi import openapi_document
from control_plane.api.http.routes import ROUTES, Route
from control_plane.api.http.transcoding import answer_of, request_of
from control_plane.importers.importing import Importing
from control_plane.metering.reporting import Reporter
from control_plane.provisioning.access import Role, require_token
from control_plane.storage.database import Database
from weighbridge.rules.errors import UnauthenticatedError, UnavailableError, WeighbridgeError
from weighbridge.runtime.logs import get_logger

Endpoint = Callable[[Request], Awaitable[Response]]
Observe = Callable[[str, int], None]

_log = get_logger("http")

EVENTS: Final = "/v1/events"


class Parts(NamedTuple):
    """What the application serves: services by name, and where usage goes."""

    database: Database
    services: Mapping[str, Any]
    reporter: Reporter
    now_ms: Callable[[], int]
    observe: Observe
    importing: Importing


def make_app(parts: Parts) -> Starlette:
    """Return the application."""
    document = openapi_document()

    async def openapi(_request: Request) -> Response:
        return JSONResponse(document)

    async def report(request: Request) -> Response:
        body = await read_body(request)
        usage = usage_of_request(request.headers, body, parts.now_ms())
        await parts.reporter.report(usage)
        return JSONResponse({"accepted": len(usage)}, HTTPStatus.ACCEPTED)

    serving = _Serving(parts)
    routes = [
        StarletteRoute(
            route.path, serving.wrap(_endpoint(parts, route), Role.ADMIN), methods=[route.verb]
        )
        for route in ROUTES
    ]
    routes.append(
        StarletteRoute(EVENTS, serving.wrap(report, Role.ADMIN, Role.SYNC), methods=["POST"])
    )
    # They carry a signature instead of a token.
    routes += [
        StarletteRoute(path, serving.wrap(endpoint), methods=["POST"])
        for path, endpoint in incoming_routes(parts.importing)
    ]
    # What the interface is tells nothing of a customer.
    routes.append(StarletteRoute("/openapi.json", openapi, methods=["GET"]))
    return Starlette(routes=routes)


def _endpoint(parts: Parts, route: Route) -> Endpoint:
    method = getattr(parts.services[route.service], route.method)

    async def serve(request: Request) -> Response:
        body = await read_body(request) if route.verb in {"POST", "PUT"} else b""
        query: dict[str, list[str]] = {}
        for name, value in request.query_params.multi_items():
            query.setdefault(name, []).append(value)
        asked = request_of(route, request.path_params, query, body)
        # The services look at no context: errors and tokens are the business of those around them.
        return JSONResponse(answer_of(await method(asked, None)))

    return serve


class _Serving:
    """What every call has around it: the token, errors, and counting."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def wrap(self, endpoint: Endpoint, *roles: Role) -> Endpoint:
        """Return an endpoint that lets pass who has a token of one of the roles; none: anybody."""

        async def serve(request: Request) -> Response:
            response = await self._answer(endpoint, roles, request)
            self._parts.observe(request.scope["route"].path, response.status_code)
            return response

        return serve

    async def _answer(
        self, endpoint: Endpoint, roles: tuple[Role, ...], request: Request
    ) -> Response:
        try:
            if roles:
                await self._authenticate(request, roles)
            return await endpoint(request)
        except WeighbridgeError as error:
            return error_answer(error)
        except Exception:  # noqa: BLE001 (logged; the caller learns no internals)
            _log.exception("call failed", path=request.scope["route"].path)
            message = "internal error; see the control plane's log"
            return told(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", message)

    async def _authenticate(self, request: Request, roles: tuple[Role, ...]) -> None:
        token = bearer_token(request.headers.items())
        refused: UnauthenticatedError | None = None
        for role in roles:
            try:
                await self._parts.database.read(partial(_require, role, token))
            except UnauthenticatedError as error:
                refused = error
            except UnavailableError as error:
                # The error names the database's host and user, and who asks may be anybody.
                raise UnavailableError("the token cannot be checked now; try again") from error
            else:
                return
        assert refused is not None, "there is a role"
        raise refused


def _require(role: Role, token: str, connection: Connection) -> None:
    require_token(connection, role, token)
