"""An HTTP provider with faults: whatever it answers, credits that were paid are granted once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from standardwebhooks import Webhook
from watched import MICRO, Watched

from control_plane.crediting import Price
from control_plane.crediting.upkeep import ANSWER_WITHIN_MS
from control_plane.notifying.deliveries import RetryTerms
from control_plane.notifying.signing import new_secret
from control_plane.outgoing.asker import Endpoint, OrderAsker
from control_plane.outgoing.posting import Poster
from control_plane.storage.database import Database
from tests.recording_server import Answer, Recorded, recording_server
from tests.until import eventually
from weighbridge.rules.top_up import RETRY_MS_MIN, OrderState, Provider
from weighbridge.runtime.clock import wall_ms

SECRET = new_secret()
TERMS = RetryTerms(1_000, 60_000)


class Provided(Watched):
    """acme's orders are asked for at a provider."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        # Signatures that are old are refused.
        self.now_ms = wall_ms()
        self.posters: list[Poster] = []
        self.asked: list[str] = []
        self.provider(Provider.HTTP)
        self.grant(100 * MICRO)
        self.watch()

    def asker(self, url: str, timeout_s: float = 5.0) -> OrderAsker:
        self.posters.append(Poster(timeout_s))
        endpoint = Endpoint(url, SECRET, TERMS)
        made = OrderAsker(self.database, self.posters[-1], endpoint, lambda: self.now_ms, Random(1))
        made.on_asked = self.asked.append
        return made


class Payments:
    """A provider as it ought to be: one payment for each idempotency key."""

    def __init__(self, *faults: str) -> None:
        self.faults = list(faults)
        self.taken: dict[str, str] = {}

    def __call__(self, request: Recorded) -> Answer:
        Webhook(SECRET).verify(request.body, request.headers)
        key = request.headers["idempotency-key"]
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            return Answer(503)
        assert request.json["data"]["order"] == key
        payment = self.taken.setdefault(key, f"pay-{len(self.taken) + 1}")
        if fault == "after":
            return Answer(hangs=True)
        if fault == "garbage":
            return Answer(200, ["paid"])
        return Answer(200, {"status": "paid", "payment_id": payment})


@pytest.fixture
async def provided(database_url: str) -> AsyncIterator[Provided]:
    database = Database(database_url)
    database.migrate()
    made = Provided(database)
    yield made
    for poster in made.posters:
        await poster.close()
    made.require_sound()
    database.close()


async def test_a_paid_order_is_granted(provided: Provided) -> None:
    payments = Payments()
    with recording_server(payments) as server:
        provided.charge(90 * MICRO)
        assert await provided.asker(server.url).step() == 1
    assert provided.states() == [OrderState.PAID]
    assert provided.orders()[0].payment_id == "pay-1"
    assert provided.balance().available == 100 * MICRO
    assert provided.asked == ["paid"]
    # Nobody else is asked to pay it as well.
    assert provided.told("top_up.requested") == []
    assert len(provided.told("credits.topped_up")) == 1


@pytest.mark.parametrize("fault", ["before", "after", "garbage"])
async def test_an_unknown_outcome_is_asked_for_again_under_the_same_key(
    provided: Provided, fault: str
) -> None:
    payments = Payments(fault, fault)
    with recording_server(payments) as server:
        provided.charge(90 * MICRO)
        asker = provided.asker(server.url, timeout_s=0.3 if fault == "after" else 5.0)
        for _ in range(2):
            assert await asker.step() == 1
            assert provided.states() == [OrderState.REQUESTED]
            assert await asker.step() == 0
            provided.now_ms += 60_000
        assert await asker.step() == 1
        keys = {request.headers["idempotency-key"] for request in server.requests}
        bodies = {request.body for request in server.requests}
    assert len(keys) == len(bodies) == 1
    assert payments.taken == {provided.orders()[0].id: "pay-1"}
    assert provided.states() == [OrderState.PAID]
    assert provided.balance().available == 100 * MICRO
    assert provided.asked == ["unknown", "unknown", "paid"]


async def test_an_outcome_that_is_not_known_expires_never(provided: Provided) -> None:
    with recording_server(Payments("before")) as server:
        provided.charge(90 * MICRO)
        asker = provided.asker(server.url)
        await asker.step()
        provided.now_ms += ANSWER_WITHIN_MS
        provided.upkeep()
        assert provided.states() == [OrderState.REQUESTED]
        # The clock of the request: receivers look at it.
        provided.now_ms = wall_ms() + 61_000
        await asker.step()
    assert provided.states() == [OrderState.PAID]


async def test_a_declined_order_is_made_again_later(provided: Provided) -> None:
    answer: dict[str, Any] = {"status": "declined", "reason": "no funds"}
    with recording_server(lambda _: Answer(200, answer)) as server:
        provided.charge(90 * MICRO)
        asker = provided.asker(server.url)
        await asker.step()
        assert (provided.states(), provided.orders()[0].reason) == (
            [OrderState.FAILED],
            "no funds",
        )
        provided.now_ms += RETRY_MS_MIN
        provided.upkeep()
        answer.clear()
        answer.update(
            status="paid", payment_id="p", price_paid={"currency": "USD", "amount_minor": 77}
        )
        await asker.step()
    assert provided.states() == [OrderState.FAILED, OrderState.PAID]
    assert provided.orders()[1].price == Price("USD", 77)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "pending"},
        {"status": "paid"},
        {"status": "paid", "payment_id": 7},
        {"status": "paid", "payment_id": ""},
        {"status": "paid", "payment_id": "p", "price_paid": {"currency": "USD"}},
        {"status": "paid", "payment_id": "p", "price_paid": {"currency": "x", "amount_minor": 1}},
        {"status": "paid", "payment_id": "p" * 5_000},
        {"paid": True},
    ],
)
async def test_answers_that_do_not_say_it_leave_the_order_open(
    provided: Provided, answer: dict[str, Any]
) -> None:
    with recording_server(lambda _: Answer(200, answer)) as server:
        provided.charge(90 * MICRO)
        await provided.asker(server.url).step()
    (order,) = provided.orders()
    assert (order.state, provided.asked) == (OrderState.REQUESTED, ["unknown"])
    assert order.reason


async def test_a_payment_that_paid_another_order_grants_nothing(provided: Provided) -> None:
    answer = {"status": "paid", "payment_id": "always-the-same"}
    with recording_server(lambda _: Answer(200, answer)) as server:
        asker = provided.asker(server.url)
        for _ in range(2):
            provided.charge(90 * MICRO)
            await asker.step()
    assert provided.states() == [OrderState.PAID, OrderState.REQUESTED]
    assert "paid order" in provided.orders()[1].reason
    assert provided.balance().available == 10 * MICRO


async def test_two_control_planes_ask_once(provided: Provided) -> None:
    payments = Payments()
    with recording_server(payments) as server:
        provided.charge(90 * MICRO)
        askers = (provided.asker(server.url), provided.asker(server.url))
        await asyncio.gather(*(asker.step() for asker in askers))
        assert len(server.requests) == 1


async def test_who_died_while_asking_is_followed_by_another(provided: Provided) -> None:
    payments = Payments("after")
    with recording_server(payments) as server:
        provided.charge(90 * MICRO)
        asking = asyncio.create_task(provided.asker(server.url, timeout_s=20).step())
        await eventually(lambda: bool(payments.taken))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        second = provided.asker(server.url)
        assert await second.step() == 0
        provided.now_ms += 50_001
        assert await second.step() == 1
    assert provided.states() == [OrderState.PAID]
    assert len(payments.taken) == 1
