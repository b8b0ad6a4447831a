"""Errors as HTTP answers: one JSON object, the field named where one is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import grpc
from starlette.responses import JSONResponse

from weighbridge.rules.errors import InvalidArgumentError, WeighbridgeError
from weighbridge.runtime.status import status_of

# As gRPC's own gateways map them.
HTTP_OF_STATUS: Final[Mapping[grpc.StatusCode, HTTPStatus]] = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    grpc.StatusCode.ABORTED: HTTPStatus.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def error_answer(error: WeighbridgeError) -> JSONResponse:
    """Return what an error is answered with."""
    status = status_of(error)
    field = error.field if isinstance(error, InvalidArgumentError) else None
    return told(HTTP_OF_STATUS[status], status.name, str(error), field)


def told(
    http_status: HTTPStatus, code: str, message: str, field: str | None = None
) -> JSONResponse:
    """Return an error's answer."""
    error: dict[str, Any] = {"code": code, "message": message}
    if field is not None:
        error["field"] = field
    headers = {"www-authenticate": "Bearer"} if http_status is HTTPStatus.UNAUTHORIZED else {}
    return JSONResponse({"error": error}, int(http_status), headers)
