"""Rates and enforcement in a catalog: what is written, refused and compared."""

from __future__ import annotations

import pytest
from catalog_samples import changed, compiled, error_of

from control_plane.catalog import diff_catalogs
from weighbridge.rules.catalog import Enforcement
from weighbridge.rules.rate import Rate, RatePeriod

PLAN = "mails: {limits: [{limit: 50000, kind: soft, window: {anniversary: month}}]}"
ADDED = "mails: {limits: [{id: month, limit: 1000}]}"
FREE_DAY = "            window: day\n"
FREE_RATES = FREE_DAY + "        rates: [{limit: 10, per: second, burst: 20}]\n"


def test_rates_of_plans_have_defaults() -> None:
    text = changed(
        (PLAN, "mails: {rates: [{limit: 5, per: minute}, {id: slow, limit: 9, per: hour}]}"),
        (FREE_DAY, FREE_RATES),
    )
    catalog = compiled(text)
    pro, free = (catalog.plan(id_) for id_ in ("pro", "free"))
    assert pro is not None
    assert free is not None
    assert pro.entitlements["mails"].limits == ()
    assert pro.entitlements["mails"].rates == (
        Rate("per_minute", 5, RatePeriod.MINUTE, 5),
        Rate("slow", 9, RatePeriod.HOUR, 9),
    )
    assert free.entitlements["mails"].rates == (Rate("per_second", 10, RatePeriod.SECOND, 20),)
    assert [limit.id for limit in free.entitlements["mails"].limits] == ["month", "day"]


def test_an_add_on_takes_the_period_from_the_plan() -> None:
    text = changed((FREE_DAY, FREE_RATES), (ADDED, "mails: {rates: [{id: per_second, limit: 3}]}"))
    added = compiled(text).add_ons["more_mails"].entitlements["mails"]
    assert added.rates == (Rate("per_second", 3, RatePeriod.SECOND, 3),)
    assert added.limits == ()


MAILS = "plans.pro.features.mails"
MORE = "add_ons.more_mails.features.mails"


@pytest.mark.parametrize(
    ("old", "new", "path", "problem"),
    [
        (PLAN, "mails: {}", MAILS, "is empty; write limits, rates, credits or several"),
        (PLAN, "mails: {rates: []}", f"{MAILS}.rates", "is empty"),
        (PLAN, "mails: {rates: [{limit: 0, per: hour}]}", f"{MAILS}.rates[0].limit", "at least 1"),
        (PLAN, "mails: {rates: [{limit: 1}]}", f"{MAILS}.rates[0].per", "is missing"),
        (PLAN, "mails: {rates: [{limit: 1, per: day}]}", f"{MAILS}.rates[0].per", "'second'"),
        (
            PLAN,
            "mails: {rates: [{limit: 1, per: hour, window: day}]}",
            f"{MAILS}.rates[0].window",
            "known keys: id, limit, per, burst",
        ),
        (
            PLAN,
            "mails: {rates: [{limit: 1, per: hour}, {limit: 2, per: hour}]}",
            f"{MAILS}.rates[1]",
            "rates[0] has the id 'per_hour' too; give each rate an id of its own",
        ),
        (
            PLAN,
            "mails: {limits: [{limit: 1, window: day}], rates: [{id: day, limit: 2, per: hour}]}",
            f"{MAILS}.rates[0].id",
            "limits[0] has the id 'day' too",
        ),
        (
            "attachment_mb: 5",
            "attachment_mb: {rates: [{limit: 1, per: hour}]}",
            "plans.free.features.attachment_mb.rates",
            "is a number feature and takes no rates",
        ),
        (
            ADDED,
            "mails: {rates: [{id: per_second, limit: 3}]}",
            f"{MORE}.rates[0].id",
            "no plan that it suits has a rate 'per_second' on mails to add to",
        ),
        (
            ADDED,
            "mails: {rates: [{id: fast, limit: 3, window: day}]}",
            f"{MORE}.rates[0].window",
            "known keys: id, limit, per, burst",
        ),
        (
            "contacts: {type: metered, outage: deny}",
            "contacts: {type: metered, enforcement: watch}",
            "features.contacts.enforcement",
            "write one of 'enforce' or 'observe'",
        ),
    ],
)
def test_one_error_says_what_to_write(old: str, new: str, path: str, problem: str) -> None:
    told_path, _, told_problem = error_of(changed((old, new)))
    assert told_path == path
    assert problem in told_problem


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        ("{id: per_minute, limit: 3}", "has no rate 'per_minute' on mails; it has: per_second"),
        ("{id: per_second, limit: 3, per: hour}", "is not second, the period of plan 'free'"),
    ],
)
def test_a_rate_of_an_add_on_fits_those_of_its_plans(added: str, problem: str) -> None:
    text = changed((FREE_DAY, FREE_RATES), (ADDED, f"mails: {{rates: [{added}]}}"))
    assert problem in error_of(text)[2]


def test_a_changed_rate_is_one_change_of_the_plan() -> None:
    before = compiled(changed((FREE_DAY, FREE_RATES)))
    after = compiled(changed((FREE_DAY, FREE_RATES.replace("burst: 20", "burst: 30"))))
    (change,) = diff_catalogs(before, after)
    assert change.path == "plans.free.features.mails.rates.per_second.burst"
    assert (change.before, change.after, change.plans) == ("20", "30", {"free"})
    added, *_ = diff_catalogs(compiled(changed()), before)
    assert added.path == "plans.free.features.mails.rates"
    assert added.after == "per_second: {limit: 10, per: second, burst: 20, scope: sidecar}"


def test_observing_a_feature_touches_every_plan() -> None:
    before = compiled(changed())
    after = compiled(
        changed(
            ("own_domain: {type: boolean}", "own_domain: {type: boolean, enforcement: observe}")
        )
    )
    assert after.features["own_domain"].enforcement is Enforcement.OBSERVE
    (change,) = diff_catalogs(before, after)
    assert change.path == "features.own_domain.enforcement"
    assert change.plans == {"free", "pro"}
