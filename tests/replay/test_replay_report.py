"""What a replay reports: refusals, customers, charges by billing period."""

from __future__ import annotations

import pytest

from tests.replay.replay_samples import DAY_MS, SHOP, START_MS, event, replayed
from weighbridge.replay.event import Event
from weighbridge.replay.simulation import Terms
from weighbridge.rules.decision import Reason
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.judging import Asked

WIDER = SHOP.replace("{limit: 5, window: day}", "{limit: 7, window: day}")


def free(at_ms: int, *asked: Asked, customer: str = "acme") -> Event:
    return Event(customer, "free", at_ms, asked or (Asked("calls", 1),))


def test_who_is_refused_before_and_after() -> None:
    events = [free(START_MS + number) for number in range(8)]
    events.append(free(START_MS + 100, customer="bolt"))
    row = replayed(*events, draft=WIDER, before=SHOP).plans()["free", "calls"]
    assert (row.customers, row.calls, row.units) == (2, 9, 9)
    assert (row.before.refused_calls, row.before.first_refused_ms) == (3, START_MS + 5)
    assert (row.after.refused_calls, row.after.first_refused_ms) == (1, START_MS + 7)
    assert row.before.customers_refused == row.after.customers_refused == 1
    assert row.after.reasons == {Reason.LIMIT_REACHED: 1}


def test_those_refused_most_come_first() -> None:
    events = [free(START_MS, Asked("calls", 6)), free(START_MS, Asked("calls", 9), customer="b")]
    report = replayed(*events)
    assert [name for _, name, _, _ in report.most_refused(5)] == ["b", "acme"]
    assert len(report.most_refused(1)) == 1


def test_a_row_is_one_call_unless_its_parts_are_apart() -> None:
    both = (Asked("calls", 6), Asked("tokens", 10))
    together = replayed(free(START_MS, *both)).plans()
    assert together["free", "tokens"].after.refused_units == 10
    apart = replayed(free(START_MS, *both), terms=Terms(is_apart=True)).plans()
    assert apart["free", "calls"].after.refused_units == 6
    assert apart["free", "tokens"].after.refused_calls == 0


def test_a_plan_that_the_draft_lacks_refuses_all() -> None:
    before = SHOP.replace("  pro:", "  old:\n    features: {calls: unlimited}\n  pro:")
    events = [event(START_MS, plan="old")]
    row = replayed(*events, before=before).plans()["old", "calls"]
    assert row.before.refused_calls == 0
    assert row.after.reasons == {Reason.NO_ACTIVE_SUBSCRIPTION: 1}


def test_what_is_only_observed_is_counted_apart() -> None:
    events = [free(START_MS + number, Asked("trial_calls", 1)) for number in range(5)]
    outcome = replayed(*events).plans()["free", "trial_calls"].after
    assert (outcome.refused_calls, outcome.observed_calls) == (0, 3)


def test_charges_by_dimension_period_and_feature() -> None:
    large = (("model", "large"), ("region", "eu"))
    events = [
        event(START_MS, amount=3),
        event(START_MS, amount=2, dimensions=large),
        event(START_MS, "tokens", 7),
        event(START_MS + 40 * DAY_MS, "tokens", 6),
    ]
    report = replayed(*events)
    rows = report.customers["acme"].rows
    assert rows["calls"].after.charge_minor == 30 + 100
    # Two months; six weeks of the fee; 7 - 5 and 6 - 5 units past the daily allowance.
    assert rows[""].after.charge_minor == 2 * 2000
    assert rows["tokens"].after.charge_minor == 6 * 100 + 2 + 1
    assert report.totals()["pro"].after.charge_minor == 130 + 4000 + 603
    assert report.currencies["pro"].code == "USD"


def test_each_transaction_has_its_cap() -> None:
    events = [event(START_MS, "sales", cents) for cents in (1_000, 1_000, 100_000)]
    assert replayed(*events).customers["acme"].rows["sales"].after.charge_minor == 100 + 100 + 500


def test_what_is_held_at_a_periods_end_is_charged_in_each() -> None:
    events = [
        event(START_MS, "rooms", 5),
        event(START_MS + DAY_MS, "rooms", -2),
        event(START_MS + 40 * DAY_MS, "rooms", -4),
    ]
    # 3 rooms in the first month; in the second more was given back than held.
    assert replayed(*events).customers["acme"].rows["rooms"].after.charge_minor == 900


def test_nothing_is_given_back_of_what_is_used_up() -> None:
    outcome = replayed(event(START_MS, "calls", -1)).plans()["pro", "calls"].after
    assert outcome.reasons == {Reason.VALUE_NOT_ALLOWED: 1}


def test_everybody_is_charged_until_the_last_event() -> None:
    events = [event(START_MS), event(START_MS + 65 * DAY_MS, customer="bolt")]
    customers = replayed(*events).customers
    assert customers["acme"].rows[""].after.charge_minor == 3 * 2000
    assert customers["bolt"].rows[""].after.charge_minor == 2000


def test_refused_usage_costs_nothing() -> None:
    draft = SHOP.replace("{limit: unlimited, window: month}", "{limit: 1, window: month}")
    events = [event(START_MS, amount=1), event(START_MS, amount=1)]
    rows = replayed(*events, draft=draft, before=SHOP).customers["acme"].rows
    assert (rows["calls"].before.charge_minor, rows["calls"].after.charge_minor) == (20, 10)


def test_usage_without_a_price_for_its_dimensions_is_told() -> None:
    draft = SHOP.replace("        - {feature: calls, per_unit: 0.10}\n", "")
    assert replayed(event(START_MS, amount=4), draft=draft).unpriced == {"calls": 4}


def test_a_customers_time_does_not_go_back() -> None:
    report = replayed(
        event(START_MS + 500), event(START_MS), event(START_MS + 900, customer="bolt")
    )
    assert (report.late.events, report.late.by_ms_max) == (1, 500)
    assert (report.first_ms, report.last_ms) == (START_MS, START_MS + 900)


def test_seats_and_anchor() -> None:
    draft = SHOP.replace("- {flat: 20.00}", "- {per_seat: 2.00}")
    terms = Terms(anchor_ms=START_MS - DAY_MS, seats=4)
    events = [event(START_MS), event(START_MS + 30 * DAY_MS)]
    rows = replayed(*events, draft=draft, terms=terms).customers["acme"].rows
    assert rows[""].after.charge_minor == 2 * 800


TWO_CURRENCIES = """
catalog: shop
features: {calls: {type: metered}}
plans: {pro: {features: {calls: unlimited}, prices: {USD: [{flat: 2}], EUR: [{flat: 1}]}}}
"""
EUROS = TWO_CURRENCIES.replace("USD: [{flat: 2}], ", "")


def test_the_currency_is_chosen() -> None:
    report = replayed(event(START_MS), draft=TWO_CURRENCIES, terms=Terms(currency="EUR"))
    assert report.totals()["pro"].after.charge_minor == 100


@pytest.mark.parametrize(
    ("events", "draft", "before", "field"),
    [
        ([event(START_MS, plan="none")], SHOP, SHOP, "plan"),
        ([event(START_MS), event(START_MS, plan="free")], SHOP, None, "plan"),
        ([event(START_MS)], TWO_CURRENCIES, None, "currency"),
        ([event(START_MS)], EUROS, SHOP, "currency"),
        ([], EUROS.replace("shop", "other"), EUROS, "catalog"),
    ],
)
def test_what_cannot_be_replayed(
    events: list[Event], draft: str, before: str | None, field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        replayed(*events, draft=draft, before=before)
    assert raised.value.field == field
