"""ASGI middleware that gates HTTP routes. Needs no web framework."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from weighbridge.client.aio import Client
from weighbridge.client.errors import OverloadedError, SidecarUnreachableError
from weighbridge.client.gates import (
    Extractor,
    Gate,
    Headers,
    HttpRefusal,
    Scope,
    customer_invalid,
    customer_missing,
    limit_headers,
    path_of,
    refusal_of,
    unavailable,
)
from weighbridge.client.values import Decision
from weighbridge.rules.errors import InvalidArgumentError

Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DECISION_KEY: Final = "weighbridge.decision"
"""Where in the ASGI scope the application finds the Decision that let a request through."""

_log = logging.getLogger(__name__)


class WeighbridgeMiddleware:
    """Consumes before the application runs, and answers for it where the customer may not.

        app.add_middleware(
            WeighbridgeMiddleware,
            client=client, feature="api.calls", customer=header("x-customer-id"),
        )

    The first of `gates` that matches a request decides; `feature` alone is one gate for all
    requests, and comes after `gates` where both are given. A request that no gate matches passes.
    Only HTTP is gated: lifespan and websockets pass untouched.

    Answers: 401 no customer named; 400 an impossible one; 402, 403, 429 or 503 by the reason of the
    refusal (see `refusal_of`); 503 where the sidecar gives no answer and the client's
    `when_unreachable` says "raise", or where it is overloaded. Usage stays recorded when the
    application fails afterwards. Errors that only a mistake in the application's own set-up can
    cause (a feature that cannot be consumed, an impossible amount) are raised.
    """

    def __init__(
        self,
        app: App,
        *,
        client: Client,
        customer: Extractor,
        feature: str | None = None,
        gates: Sequence[Gate] = (),
        resource: Extractor | None = None,
    ) -> None:
        if feature is None and not gates:
            raise InvalidArgumentError("gates", "are empty and there is no feature: gates nothing")
        self._app = app
        self._client = client
        self._customer = customer
        self._resource = resource
        self._gates = (*gates, Gate(feature)) if feature is not None else tuple(gates)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        gate = self._gate_for(scope)
        if gate is None or gate.feature is None:
            await self._app(scope, receive, send)
            return
        answer = await self._answer(scope, gate, gate.feature)
        if isinstance(answer, HttpRefusal):
            await _send_refusal(answer, send)
        elif not answer.allowed:
            await _send_refusal(refusal_of(answer), send)
        else:
            inner = {**scope, DECISION_KEY: answer}
            await self._app(inner, receive, _with_headers(send, limit_headers(answer)))

    def _gate_for(self, scope: Scope) -> Gate | None:
        if scope["type"] != "http":
            return None
        method, path = scope["method"], path_of(scope)
        return next((gate for gate in self._gates if gate.matches(method, path)), None)

    async def _answer(self, scope: Scope, gate: Gate, feature: str) -> Decision | HttpRefusal:
        customer = await _extracted(self._customer, scope)
        if customer is None:
            return customer_missing()
        resource = await _extracted(self._resource, scope) if self._resource else None
        amount = gate.amount_of(scope)
        try:
            if gate.records_usage:
                units = 1 if amount is None else amount
                consumption = await self._client.consume(
                    customer, feature, units, resource=resource or ""
                )
                return consumption.decision
            return await self._client.check(customer, feature, amount, resource=resource or "")
        except (SidecarUnreachableError, OverloadedError) as error:
            _log.warning("answered 503 for %s: %s", feature, error)
            return unavailable()
        except InvalidArgumentError as error:
            if error.field not in {"customer", "resource"}:
                raise
            return customer_invalid(error)


async def _extracted(extractor: Extractor, scope: Scope) -> str | None:
    found = extractor(scope)
    return await found if inspect.isawaitable(found) else found


async def _send_refusal(refusal: HttpRefusal, send: Send) -> None:
    body = json.dumps(refusal.body).encode()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        *refusal.headers,
    ]
    start = {"type": "http.response.start", "status": refusal.status, "headers": _raw(headers)}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send, extra: Headers) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start" and extra:
            message = {**message, "headers": [*message.get("headers", ()), *_raw(extra)]}
        await send(message)

    return send_with_headers


def _raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
