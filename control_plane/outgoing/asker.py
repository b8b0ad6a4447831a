"""Asks a provider over HTTP to have top-up orders paid, until it says whether they are."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from sqlalchemy import Connection

from control_plane.crediting.asking import claim_orders, has_due_orders, put_off
from control_plane.crediting.ordering import confirm_order, fail_order
from control_plane.crediting.rows import Price
from control_plane.crediting.telling import top_up_requested
from control_plane.crediting.top_up_rows import TopUpOrder
from control_plane.notifying.deliveries import RetryTerms
from control_plane.notifying.messages import body_of
from control_plane.notifying.signing import signed_headers
from control_plane.outgoing.posting import Answer, Poster
from control_plane.storage.database import Database
from weighbridge.rules.errors import UnavailableError, WeighbridgeError
from weighbridge.runtime.logs import get_logger

POLL_S: Final = 0.25
CLAIM_MARGIN_MS: Final = 5_000

_log = get_logger("outgoing")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask; requests are signed with the secret."""

    url: str
    secret: str
    terms: RetryTerms


class Paid(NamedTuple):
    """The provider's word that an order is paid."""

    payment_id: str
    price: Price | None


class Declined(NamedTuple):
    """The provider's word that an order is not going to be paid."""

    reason: str


class Unknown(NamedTuple):
    """No word: the order may be paid or not, and is asked for again under the same key."""

    reason: str


Word = Paid | Declined | Unknown


class OrderAsker:
    """One control plane's questions. `on_asked` is told how each ended."""

    def __init__(
        self,
        database: Database,
        poster: Poster,
        endpoint: Endpoint,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        self._database = database
        self._poster = poster
        self._endpoint = endpoint
        self._now_ms = now_ms
        self._random = random
        self._claimant = f"cp-{secrets.token_hex(8)}"
        self._claim_ms = int(poster.timeout_s * 1_000) + CLAIM_MARGIN_MS
        self.on_asked: Callable[[str], None] = _ignore

    async def run(self) -> None:
        """Ask until cancelled. What was asked for then is asked for again, under the same key."""
        while True:
            try:
                asked = await self.step()
            except UnavailableError as error:
                _log.warning("top-ups not asked for; tried again later", error=str(error))
                asked = 0
            if not asked:
                await asyncio.sleep(POLL_S)

    async def step(self) -> int:
        """Ask for what is due, side by side; return how many orders that were."""
        if not await self._database.read(lambda c: has_due_orders(c, self._now_ms())):
            return 0
        orders = await self._database.write(
            lambda c: claim_orders(c, self._claimant, self._claim_ms, self._now_ms())
        )
        await asyncio.gather(*(self._ask(order) for order in orders))
        return len(orders)

    async def _ask(self, order: TopUpOrder) -> None:
        body = body_of(top_up_requested(order))
        headers = signed_headers(order.id, body, (self._endpoint.secret,), self._now_ms())
        headers["idempotency-key"] = order.id
        word = word_of(await self._poster.post(self._endpoint.url, body, headers))
        try:
            await self._database.write(lambda c: self._take_in(c, order, word))
        except UnavailableError:
            raise
        except WeighbridgeError as error:
            # The word cannot be booked, such as a payment that paid another order: people look.
            word = Unknown(str(error))
            _log.error("top-up answer refused", order=order.id, error=str(error))
            await self._database.write(lambda c: self._take_in(c, order, word))
        self.on_asked(type(word).__name__.lower())

    def _take_in(self, connection: Connection, order: TopUpOrder, word: Word) -> None:
        now_ms = self._now_ms()
        match word:
            case Paid(payment_id, price):
                confirm_order(connection, order.id, payment_id, price, now_ms)
            case Declined(reason):
                fail_order(connection, order.id, reason, now_ms)
            case Unknown(reason):
                _log.warning("top-up not answered", order=order.id, reason=reason)
                wait_ms = self._endpoint.terms.backoff_ms(order.attempts + 1, self._random)
                put_off(connection, order.id, self._claimant, reason, now_ms + wait_ms)


def word_of(answer: Answer) -> Word:
    """Return what an answer says. Only a 2xx that says paid or declined is one."""
    if answer.status_code is None or answer.error:
        return Unknown(answer.error)
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = None
    match said:
        case {"status": "paid", "payment_id": str(payment_id), **rest} if payment_id:
            return _paid(payment_id, rest.get("price_paid"))
        case {"status": "declined", **rest}:
            return Declined(str(rest.get("reason") or "declined")[:256])
        case {"status": "pending"}:
            return Unknown("the provider says that it is pending")
        case _:
            problem = "is no JSON with a status paid and its payment_id, declined or pending"
            return Unknown(f"the answer {problem}")


def _paid(payment_id: str, price: object) -> Word:
    match price:
        case None:
            return Paid(payment_id, None)
        case {"currency": str(currency), "amount_minor": int(minor)} if not isinstance(minor, bool):
            return Paid(payment_id, Price(currency, minor))
        case _:
            return Unknown("the answer's price_paid has no currency and amount_minor")


def _ignore(_result: str) -> None:
    return
