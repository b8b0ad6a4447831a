"""Reads the body of a request, so far as it may be."""

from __future__ import annotations

from starlette.requests import Request

from control_plane.api.http.transcoding import BODY_BYTES_MAX
from weighbridge.rules.errors import InvalidArgumentError


async def read_body(request: Request) -> bytes:
    """Return the body. Raises InvalidArgumentError where it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            problem = f"is longer than {BODY_BYTES_MAX} bytes; send less at once"
            raise InvalidArgumentError("body", problem)
    return bytes(body)
