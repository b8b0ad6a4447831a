"""Top-up orders: made at once when a balance falls, one at a time, paid once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from credited import DAY_MS
from watched import CATALOG, MICRO, Watched

from control_plane.crediting import Price
from control_plane.crediting.upkeep import ANSWER_WITHIN_MS
from control_plane.storage.database import Database
from weighbridge.rules.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.top_up import RETRY_MS_MIN, OrderState, Provider

PAID, FAILED = OrderState.PAID, OrderState.FAILED
REQUESTED, EXPIRED = OrderState.REQUESTED, OrderState.EXPIRED


@pytest.fixture
def watched(database_url: str) -> Iterator[Watched]:
    database = Database(database_url)
    database.migrate()
    made = Watched(database)
    made.grant(100 * MICRO)
    made.watch()
    yield made
    made.require_sound()
    database.close()


def test_the_charge_that_crosses_the_threshold_orders_at_once(watched: Watched) -> None:
    watched.charge(80 * MICRO)
    assert watched.orders() == []
    watched.charge(MICRO)
    (order,) = watched.orders()
    assert (order.state, order.amount) == (REQUESTED, 81 * MICRO)
    assert order.prices == (Price("USD", 81),)
    watched.charge(10 * MICRO)
    assert len(watched.orders()) == 1
    (told,) = watched.told("top_up.requested")
    assert told == {
        "customer": "acme",
        "order": order.id,
        "credit_type": "credits",
        "amount_micro": 81 * MICRO,
        "prices": [{"currency": "USD", "amount_minor": 81}],
        "requested_at": "2025-11-24T16:00:00.000Z",
    }


def test_what_sidecars_hold_is_not_gone(watched: Watched) -> None:
    watched.carve("sidecar-1", 95 * MICRO)
    assert watched.orders() == []


def test_a_charge_that_is_rolled_back_orders_and_tells_nothing(watched: Watched) -> None:
    with pytest.raises(FailedPreconditionError):
        watched.charge(101 * MICRO)
    assert watched.orders() == watched.told("top_up.requested") == []


def test_a_paid_order_is_a_prepaid_grant_once(watched: Watched) -> None:
    watched.charge(90 * MICRO)
    (order,) = watched.orders()
    assert watched.confirm(order.id, "pay-1") is False
    assert watched.confirm(order.id, "pay-1") is True
    (paid,) = watched.orders()
    assert (paid.state, paid.payment_id, paid.price) == (PAID, "pay-1", Price("USD", 90))
    assert watched.balance().available == 100 * MICRO
    grants = watched.rows("credit_grant")
    assert [row.kind for row in grants] == ["prepaid", "prepaid"]
    assert watched.told("credits.topped_up")[0]["payment_id"] == "pay-1"
    with pytest.raises(ConflictError, match="paid already"):
        watched.confirm(order.id, "pay-2")
    with pytest.raises(FailedPreconditionError, match="is paid"):
        watched.fail(order.id)


def test_one_payment_pays_one_order(watched: Watched) -> None:
    watched.charge(90 * MICRO)
    watched.confirm(watched.orders()[0].id, "pay-1")
    watched.charge(90 * MICRO)
    with pytest.raises(ConflictError, match="pay-1"):
        watched.confirm(watched.orders()[1].id, "pay-1")
    assert watched.states() == [PAID, REQUESTED]


def test_the_month_has_a_cap_and_the_next_has_its_own(watched: Watched) -> None:
    for number in range(3):
        watched.charge(watched.balance().available)
        watched.confirm(watched.orders()[number].id, f"pay-{number}")
    assert [order.amount // MICRO for order in watched.orders()] == [100, 100, 50]
    watched.charge(watched.balance().available)
    watched.upkeep()
    assert len(watched.orders()) == 3
    # The 24th of November; the month turns in UTC.
    watched.now_ms += 7 * DAY_MS
    watched.upkeep()
    assert [order.amount // MICRO for order in watched.orders()] == [100, 100, 50, 100]


def test_an_order_that_failed_is_made_again_after_longer_and_longer(watched: Watched) -> None:
    watched.charge(90 * MICRO)
    waits = []
    for number in range(3):
        watched.fail(watched.orders()[number].id, "card declined")
        begun_ms = watched.now_ms
        watched.charge(MICRO)
        while len(watched.orders()) == number + 1:
            watched.now_ms += RETRY_MS_MIN
            watched.upkeep()
        waits.append((watched.now_ms - begun_ms) // RETRY_MS_MIN)
    assert waits == [1, 2, 4]
    assert watched.told("top_up.failed")[0]["reason"] == "card declined"
    first = watched.orders()[0].id
    assert watched.fail(first, "said again").reason == "card declined"
    # What failed does not count under the cap.
    assert watched.orders()[-1].amount == 93 * MICRO


def test_money_that_comes_late_has_its_credits(watched: Watched) -> None:
    watched.charge(90 * MICRO)
    (order,) = watched.orders()
    watched.now_ms += ANSWER_WITHIN_MS
    watched.upkeep()
    assert watched.states() == [EXPIRED]
    watched.now_ms += RETRY_MS_MIN
    watched.upkeep()
    assert watched.states() == [EXPIRED, REQUESTED]
    assert watched.confirm(order.id, "late") is False
    assert watched.states() == [PAID, REQUESTED]
    assert watched.balance().available == 100 * MICRO
    # The order that is open stays so: it is not the one that was paid.
    watched.charge(95 * MICRO)
    assert watched.states() == [PAID, REQUESTED]


def test_without_a_provider_nothing_is_ordered_until_there_is_one(watched: Watched) -> None:
    watched.provider(Provider.NONE)
    watched.charge(90 * MICRO)
    assert watched.orders() == []
    watched.provider(Provider.HTTP)
    watched.upkeep()
    assert watched.states() == [REQUESTED]
    # The provider is asked; nobody else is to pay it as well.
    assert watched.told("top_up.requested") == []


def test_a_plan_with_other_terms_is_followed(watched: Watched) -> None:
    watched.charge(50 * MICRO)
    watched.apply(CATALOG.replace("threshold: 20", "threshold: 60"))
    watched.watch()
    assert [order.amount for order in watched.orders()] == [50 * MICRO]
    watched.apply(CATALOG.replace("top_ups: [{", "top_ups: []  # [{"))
    watched.watch()
    watched.confirm(watched.orders()[0].id, "pay-1")
    watched.charge(100 * MICRO)
    assert watched.states() == [PAID]


def test_which_price_was_paid_has_to_be_said_where_there_are_two(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()
    watched = Watched(database, CATALOG.replace("{USD: 0.01}", "{USD: 0.01, EUR: 0.02}"))
    watched.watch()
    (order,) = watched.orders()
    with pytest.raises(InvalidArgumentError, match="price_paid"):
        watched.confirm(order.id, "pay-1")
    watched.confirm(order.id, "pay-1", Price("EUR", 200))
    assert watched.orders()[0].price == Price("EUR", 200)
    database.close()


def test_answers_that_name_nothing(watched: Watched) -> None:
    with pytest.raises(NotFoundError, match="top-up order 'x'"):
        watched.confirm("x", "pay-1")
    with pytest.raises(InvalidArgumentError, match="payment_id"):
        watched.confirm("x", "")


def test_thresholds_are_told_once_until_the_balance_is_above_them(watched: Watched) -> None:
    def told() -> list[int]:
        return [
            each["threshold_micro"] // MICRO for each in watched.told("credits.threshold_reached")
        ]

    watched.charge(40 * MICRO)
    watched.charge(10 * MICRO)
    assert told() == [50]
    watched.charge(5 * MICRO)
    watched.charge(36 * MICRO)
    assert told() == [50, 10]
    watched.now_ms += 1
    watched.grant(100 * MICRO)
    watched.charge(70 * MICRO)
    assert told() == [50, 10, 50]
