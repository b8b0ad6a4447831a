"""Events of billing systems: 200 for what is taken or kept aside, so that it comes once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from control_plane.api.http.bodies import read_body
from control_plane.importers.importing import Importing, Receipt

Endpoint = Callable[[Request], Awaitable[Response]]

STRIPE_PATH: Final = "/v1/webhooks/stripe"


def incoming_routes(importing: Importing) -> list[tuple[str, Endpoint]]:
    """Return paths and endpoints of what is configured."""

    async def stripe(request: Request) -> Response:
        body = await read_body(request)
        signature = request.headers.get("stripe-signature", "")
        return _told(await importing.receive_stripe(body, signature))

    return [(STRIPE_PATH, stripe)] if importing.config.stripe is not None else []


def _told(receipt: Receipt) -> Response:
    return JSONResponse(
        {
            "state": receipt.taken.state.value,
            "reason": receipt.taken.reason,
            "repeated": receipt.is_repeated,
        }
    )
