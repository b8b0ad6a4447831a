"""Grants that plans and add-ons come with: released when due, each once, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from credited import DAY_MS, NOW_MS, Credited

from control_plane import provisioning
from control_plane.crediting import LedgerId
from control_plane.crediting.schedule import release_due
from control_plane.provisioning import ChangeTime, WantedSubscription
from control_plane.storage.database import Database
from weighbridge.rules.catalog import CustomerStatus, SubscribedAddOn

CATALOG = """
catalog: api
features: {calls: {type: metered}, jobs: {type: metered}}
credit_types:
  credits: {costs: [{feature: calls, cost: 1}]}
  bonus: {costs: [{feature: jobs, cost: 1}]}
plans:
  free: {features: {calls: {credits: credits}, jobs: {credits: bonus}}}
  pro:
    features: {calls: {credits: credits}, jobs: {credits: bonus}}
    credit_grants:
      - {id: monthly, type: credits, amount: 100, every: {anniversary: month}, rollover_max: 30}
      - {id: weekly, type: bonus, amount: 7, every: week, per_seat: true}
      - {id: welcome, type: bonus, amount: 5, kind: promotional, expires: {after_days: 10}}
  team:
    trial: {days: 14}
    features: {calls: {credits: credits}, jobs: {credits: bonus}}
    credit_grants:
      - {id: taste, type: credits, amount: 20, kind: trial}
      - {id: late, type: credits, amount: 3, starts_after_days: 2}
add_ons:
  pack:
    credit_grants: [{id: pack, type: credits, amount: 50}]
"""
CREDIT = 1_000_000
MONTH_MS = int(datetime(2025, 12, 24, 16, tzinfo=UTC).timestamp() * 1000)
SECOND_MONTH_MS = int(datetime(2026, 1, 24, 16, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def credited(database_url: str) -> Iterator[Credited]:
    database = Database(database_url)
    database.migrate()
    made = Credited(database, CATALOG)
    yield made
    made.require_sound()
    database.close()


def release(credited: Credited) -> int:
    """Release until nothing is due; return how many grants were made."""
    made = 0
    while True:
        due = credited.write(lambda c: release_due(c, credited.library, credited.now_ms))
        made += due.grants
        if not due.is_more:
            return made


def subscribe(credited: Credited, plan: str, **more: Any) -> None:
    wanted = WantedSubscription("acme", plan, **more)
    credited.write(
        lambda c: provisioning.set_subscription(c, credited.library, wanted, credited.now_ms)
    )


def available(credited: Credited, credit_type: str = "credits") -> float:
    return credited.balance(LedgerId("acme", credit_type)).available / CREDIT


def test_a_period_is_granted_once_and_the_next_when_it_comes(credited: Credited) -> None:
    subscribe(credited, "pro")
    assert release(credited) == 3
    assert release(credited) == 0
    assert (available(credited), available(credited, "bonus")) == (100, 12)
    credited.now_ms = MONTH_MS - 1
    release(credited)
    assert available(credited) == 100
    # The rest of the first month is 100, of which 30 stay.
    credited.now_ms = MONTH_MS
    assert release(credited) == 1
    assert available(credited) == 130
    credited.now_ms = SECOND_MONTH_MS
    release(credited)
    assert available(credited) == 130


def test_weeks_expire_with_their_week(credited: Credited) -> None:
    subscribe(credited, "pro", quantity=3)
    release(credited)
    assert available(credited, "bonus") == 26
    credited.now_ms += 7 * DAY_MS
    release(credited)
    credited.expire()
    assert available(credited, "bonus") == 26
    credited.now_ms += 7 * DAY_MS
    release(credited)
    credited.expire()
    assert available(credited, "bonus") == 21, "the welcome expired after 10 days"


def test_after_a_long_stop_only_the_running_period_comes(credited: Credited) -> None:
    subscribe(credited, "pro")
    release(credited)
    credited.now_ms = SECOND_MONTH_MS
    release(credited)
    assert credited.balance().totals.granted == 200 * CREDIT


def test_no_change_of_the_subscription_grants_again(credited: Credited) -> None:
    subscribe(credited, "pro")
    release(credited)
    for plan, more in (("pro", {"quantity": 5}), ("free", {}), ("pro", {})):
        credited.now_ms += 1
        subscribe(credited, plan, **more)
        assert release(credited) == 0


def test_trials_and_later_starts(credited: Credited) -> None:
    subscribe(credited, "team")
    assert release(credited) == 2
    assert available(credited) == 20
    credited.now_ms += 2 * DAY_MS
    assert available(credited) == 23
    credited.now_ms = NOW_MS + 14 * DAY_MS
    assert available(credited) == 3
    # Without a trial there is nothing to taste.
    subscribe(credited, "team", trial_days=0)
    assert release(credited) == 0


def test_add_ons_grant_as_often_as_they_are_bought(credited: Credited) -> None:
    subscribe(credited, "free", add_ons=(SubscribedAddOn("pack", 2),))
    assert release(credited) == 1
    assert available(credited) == 100


def test_what_is_to_come_is_granted_when_it_comes(credited: Credited) -> None:
    subscribe(credited, "free")
    subscribe(credited, "pro", when=ChangeTime.PERIOD_END)
    assert release(credited) == 0
    credited.now_ms = MONTH_MS
    assert release(credited) == 3


def test_a_grant_that_a_plan_gets_is_released_to_everybody_on_it(
    credited: Credited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.crediting.schedule.CUSTOMERS_PER_PAGE", 2)
    for number in range(5):
        credited.create(f"c{number}", "free")
    assert release(credited) == 0
    grant = "credit_grants: [{id: gift, type: credits, amount: 1}]"
    credited.now_ms += 1
    free = "{features: {calls: {credits: credits}, jobs: {credits: bonus}}"
    credited.apply(CATALOG.replace(f"free: {free}", f"free: {free}, {grant}"))
    assert release(credited) == 5
    assert release(credited) == 0


def test_who_is_not_served_gets_none(credited: Credited) -> None:
    subscribe(credited, "pro")
    for status, made in ((CustomerStatus.ARCHIVED, 0), (CustomerStatus.ACTIVE, 3)):
        credited.write(
            lambda c, status=status: provisioning.set_customer_status(
                c, "acme", status, credited.now_ms
            )
        )
        assert release(credited) == made


def test_a_ledger_that_is_full_keeps_nobody_else_from_theirs(
    credited: Credited, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(credited, "pro")
    monkeypatch.setattr("control_plane.crediting.book.LEDGER_MICROS_MAX", 50 * CREDIT)
    assert release(credited) == 2
    assert available(credited, "bonus") == 12
