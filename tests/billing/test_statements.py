"""Statements of subscriptions that change, of customers under customers, and their corrections."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from control_plane.billing.closing import Closing, close_statement, list_statements
from control_plane.billing.credits import CreditMoves, credit_moves
from control_plane.billing.lines import lines_of
from control_plane.billing.statement import Statement, StatementQuery
from control_plane.crediting import (
    Book,
    Charge,
    LedgerId,
    Reversal,
    Transaction,
    charge,
    open_book,
    reverse,
)
from control_plane.provisioning import cancel_subscription, pin_subscription
from tests.billed import DAY_MS, END_MS, START_MS, Billed
from tests.golden_tables import catalog_path
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError

CATALOG = """
catalog: api
features:
  calls: {type: metered}
  seats: {type: metered, meter: allocation}
plans:
  basic:
    features: {calls: unlimited, seats: unlimited}
    prices:
      USD:
        - {id: fee, flat: 31.00}
        - {id: calls, feature: calls, graduated: [{up_to: 100, unit: 0}, {unit: 0.10}]}
  pro:
    features: {calls: unlimited, seats: unlimited}
    prices:
      USD:
        - {id: fee, flat: 62.00}
        - {id: calls, feature: calls, graduated: [{up_to: 1000, unit: 0}, {unit: 0.01}]}
        - {id: seats, feature: seats, per_unit: 2.00}
"""

MID_MS = START_MS + 15 * DAY_MS + DAY_MS // 2


def amounts(made: Statement) -> list[tuple[str, str, int]]:
    return [(line.key.plan, line.key.price, line.minor) for line in lines_of(made)]


@pytest.fixture
def acme(billed: Billed) -> Billed:
    billed.apply(CATALOG)
    billed.create("acme", "basic")
    return billed


def test_nothing_but_the_fee_without_usage(acme: Billed) -> None:
    acme.now_ms += DAY_MS
    made = acme.statement("acme")
    assert amounts(made) == [("basic", "fee", 3_100)]
    assert not made.is_final


def test_an_upgrade_is_prorated_and_usage_keeps_the_prices_it_had(acme: Billed) -> None:
    acme.use("acme", "calls", 150)
    acme.now_ms = MID_MS
    acme.subscribe("acme", "pro")
    acme.use("acme", "calls", 900)
    acme.now_ms = END_MS
    made = acme.statement("acme")
    assert made.is_final
    assert amounts(made) == [
        ("basic", "fee", 3_100),
        ("basic", "calls", 500),
        ("pro", "fee", -1_550),
        ("pro", "fee", 3_100),
        # 150 were used before: of the 900, 50 are past the 1,000.
        ("pro", "calls", 50),
    ]
    assert made.total_minor == 5_200


def test_a_subscription_that_ends_gives_back_the_rest(acme: Billed) -> None:
    acme.now_ms = MID_MS
    acme.write(lambda c: cancel_subscription(c, "acme", "", MID_MS))
    acme.now_ms = END_MS
    assert acme.statement("acme").total_minor == 1_550


def test_what_is_held_is_charged_once_as_it_is_at_the_end(acme: Billed) -> None:
    acme.subscribe("acme", "pro")
    acme.use("acme", "seats", 5)
    acme.now_ms += DAY_MS
    acme.use("acme", "seats", -2)
    acme.now_ms = END_MS
    assert ("pro", "seats", 600) in amounts(acme.statement("acme"))
    # Held still in the next month, without any event in it.
    acme.now_ms = END_MS + 31 * DAY_MS
    assert ("pro", "seats", 600) in amounts(acme.statement("acme", END_MS, acme.now_ms))


def test_a_new_price_is_charged_from_when_it_came(acme: Billed) -> None:
    acme.use("acme", "calls", 200)
    acme.now_ms = MID_MS
    acme.apply(CATALOG.replace("unit: 0.10", "unit: 0.20"))
    acme.use("acme", "calls", 10)
    acme.now_ms = END_MS
    assert [minor for _, key, minor in amounts(acme.statement("acme")) if key == "calls"] == [
        1_000,
        200,
    ]


def test_who_is_pinned_was_charged_what_it_was_on_before(acme: Billed) -> None:
    acme.use("acme", "calls", 200)
    acme.now_ms = START_MS + DAY_MS
    acme.apply(CATALOG.replace("unit: 0.10", "unit: 0.20"))
    acme.now_ms = MID_MS
    acme.write(lambda c: pin_subscription(c, acme.library, ("acme", ""), 1, MID_MS))
    acme.use("acme", "calls", 10)
    acme.use("acme", "calls", 100, START_MS + 2 * DAY_MS)
    acme.now_ms = END_MS
    calls = [minor for _, key, minor in amounts(acme.statement("acme")) if key == "calls"]
    assert calls == [1_000, 2_000, 100]


def test_usage_below_is_paid_by_who_is_above_unless_it_pays_itself(acme: Billed) -> None:
    acme.create("acme/a", parent="acme")
    acme.create("acme/a/x", parent="acme/a")
    acme.create("acme/b", "pro", parent="acme")
    acme.use("acme/a/x", "calls", 150)
    acme.use("acme/b", "calls", 1_100)
    acme.now_ms = MID_MS
    acme.subscribe("acme/a", "pro")
    acme.use("acme/a/x", "calls", 2_000)
    acme.now_ms = END_MS
    assert acme.statement("acme").total_minor == 3_100 + 500
    assert acme.statement("acme/b").total_minor == 6_200 + 100
    # Its own anchor: its first period is not over.
    own = acme.statement("acme/a")
    assert ("pro", "calls", 1_000) in amounts(own)
    assert not own.is_final
    assert acme.statement("acme/a/x").total_minor == 0


def test_a_subscription_that_ended_as_it_began_never_was(acme: Billed) -> None:
    acme.create("acme/a", "pro", parent="acme")
    acme.write(lambda c: cancel_subscription(c, "acme/a", "", acme.now_ms))
    acme.use("acme/a", "calls", 150)
    acme.now_ms = END_MS
    assert acme.statement("acme").total_minor == 3_100 + 500
    assert acme.statement("acme/a").total_minor == 0


def test_a_resource_has_a_bill_of_its_own(billed: Billed) -> None:
    billed.apply(CATALOG)
    billed.create("acme", "basic", resources=("ws-1",))
    billed.subscribe("acme", "pro", resource="ws-1")
    billed.use("acme", "calls", 1_100, resource="ws-1")
    billed.now_ms = END_MS
    made = billed.statement("acme")
    assert [(p.resource, p.total_minor) for p in made.periods] == [("", 3_100), ("ws-1", 6_300)]


def test_late_usage_becomes_a_correction_of_a_closed_statement(acme: Billed) -> None:
    query = StatementQuery("acme", START_MS, END_MS)

    def close() -> Closing:
        return acme.write(lambda c: close_statement(c, acme.library, query, acme.now_ms))

    acme.use("acme", "calls", 150)
    acme.now_ms = END_MS - 1
    with pytest.raises(FailedPreconditionError, match="still runs"):
        close()
    acme.now_ms = END_MS
    first = close()
    assert (first.closed.number, first.closed.total_minor) == (1, 3_600)
    assert close() == Closing(first.closed, is_unchanged=True)
    acme.now_ms += 5 * DAY_MS
    acme.use("acme", "calls", 30, START_MS + DAY_MS)
    correction = close()
    assert not correction.is_unchanged
    assert (correction.closed.number, correction.closed.total_minor) == (2, 300)
    (line,) = correction.closed.lines
    assert (line.key.price, line.quantity, line.minor) == ("calls", 30, 300)
    assert close().is_unchanged
    acme.use("acme", "calls", 30, START_MS + DAY_MS)
    assert close().closed.number == 3
    with acme.database.reading() as connection:
        page = list_statements(connection, "acme", 2)
        rest = list_statements(connection, "acme", 2, page.next_page_token)
    assert [each.number for each in (*page.statements, *rest.statements)] == [3, 2, 1]
    assert not rest.next_page_token
    assert (
        sum(s.total_minor for s in (*page.statements, *rest.statements))
        == acme.statement("acme").total_minor
    )


def test_a_closed_statement_cannot_be_changed(acme: Billed) -> None:
    query = StatementQuery("acme", START_MS, END_MS)
    acme.now_ms = END_MS
    acme.write(lambda c: close_statement(c, acme.library, query, END_MS))
    for change in ("UPDATE statement SET total_minor = 0", "DELETE FROM statement"):
        with pytest.raises(DBAPIError, match="append-only"):
            acme.write(lambda c, change=change: c.execute(text(change)))  # type: ignore[misc]


def test_credits_past_the_balance_are_charged_in_money(billed: Billed) -> None:
    billed.apply(catalog_path("hybrid").read_text("utf-8"))
    billed.create("acme", "pro")

    def post(work: Callable[[Book], Transaction]) -> None:
        ledger = LedgerId("acme", "ai")
        with (
            billed.database.writing() as connection,
            open_book(connection, ledger, billed.now_ms) as book,
        ):
            work(book)

    post(lambda book: charge(book, Charge("k1", 500_000_000, overage_max=None)))
    billed.now_ms = END_MS + DAY_MS
    assert billed.statement("acme").total_minor == 1_000 + 500
    # A refund that comes a month later counts when the credits were used.
    post(lambda book: reverse(book, Reversal("r1", "k1", 200_000_000)))
    assert billed.statement("acme").total_minor == 1_000 + 300
    with billed.database.reading() as connection:
        (moves,) = credit_moves(connection, "acme", START_MS, END_MS)
    assert moves == CreditMoves("ai", 0, 300_000_000, 300_000_000, 0)


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        (StatementQuery("nobody", 0, 1), NotFoundError, "nobody"),
        (StatementQuery("acme", 5, 5), InvalidArgumentError, "to_unix_ms"),
        (StatementQuery("acme", START_MS, END_MS, "EUR"), InvalidArgumentError, "currency"),
    ],
)
def test_bad_queries_are_refused(
    acme: Billed, query: StatementQuery, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        acme.statement(query.customer, query.from_ms, query.to_ms, query.currency)


def test_a_trial_costs_nothing(acme: Billed) -> None:
    acme.create("trying")
    acme.subscribe("trying", "pro", trial_days=14)
    acme.use("trying", "calls", 5_000)
    acme.now_ms = END_MS
    assert acme.statement("trying").total_minor == 0
