"""Overrides: what fits a feature, and what is taken from the plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from control_plane_strategies import entitlements
from hypothesis import given
from provisioned import CATALOG, Environment

from control_plane import provisioning
from control_plane.provisioning import (
    WantedEntitlement,
    WantedLimit,
    WantedOverride,
    WantedSubscription,
)
from control_plane.provisioning.rows import entitlement_from_row, entitlement_to_row
from weighbridge.rules.catalog import Customer, Entitlement, Limit, LimitKind, SubscribedAddOn
from weighbridge.rules.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.rate import Rate, RatePeriod
from weighbridge.rules.window import Period, Window, WindowKind

MONTH = Window(WindowKind.CALENDAR, Period.MONTH, "UTC", UTC)
BERLIN_DAY = Window(WindowKind.CALENDAR, Period.DAY, "Europe/Berlin", ZoneInfo("Europe/Berlin"))


@pytest.fixture(autouse=True)
def _customer(environment: Environment) -> None:
    environment.apply()
    environment.create("acme", "pro", ("shop",))


def set_override(environment: Environment, wanted: WantedOverride) -> Customer:
    with environment.database.writing() as connection:
        record = provisioning.set_override(
            connection, environment.library, wanted, environment.now_ms
        )
    return record.customer


@given(entitlements)
def test_rows_keep_entitlements(entitlement: Entitlement) -> None:
    assert entitlement_from_row(entitlement_to_row(entitlement)) == entitlement


def test_kind_and_window_come_from_the_plan(environment: Environment) -> None:
    wanted = WantedEntitlement("api.calls", limits=(WantedLimit("month", 5000),))
    customer = set_override(environment, WantedOverride("acme", wanted))

    [override] = customer.overrides
    assert override.entitlement.limits == (Limit("month", LimitKind.HARD, 5000, MONTH),)
    assert customer.version == environment.revision()
    assert environment.customer("acme") == customer


def test_a_limit_of_its_own_needs_no_plan(environment: Environment) -> None:
    limit = WantedLimit("day", None, LimitKind.SOFT, BERLIN_DAY)
    wanted = WantedEntitlement("api.calls", limits=(limit,))
    customer = set_override(environment, WantedOverride("acme", wanted, "shop", 10, 20))

    [override] = customer.overrides
    assert override.entitlement.limits == (Limit("day", LimitKind.SOFT, None, BERLIN_DAY),)
    assert (override.resource, override.starts_at_ms, override.expires_at_ms) == ("shop", 10, 20)


def test_limits_of_add_ons_count_as_the_plans(environment: Environment) -> None:
    exports = "{limits: [{id: day, limit: 5, kind: soft, window: day}]}"
    environment.apply(
        CATALOG.replace("  sso: {", "  exports: {type: metered}\n  sso: {")
        + f"  exports:\n    features:\n      exports: {exports}\n"
    )
    with environment.database.writing() as connection:
        provisioning.set_subscription(
            connection,
            environment.library,
            WantedSubscription("acme", "pro", add_ons=(SubscribedAddOn("exports"),)),
            environment.now_ms,
        )
    wanted = WantedEntitlement("exports", limits=(WantedLimit("day", 9),))
    [override] = set_override(environment, WantedOverride("acme", wanted)).overrides
    assert override.entitlement.limits[0].kind is LimitKind.SOFT


def test_one_override_per_feature(environment: Environment) -> None:
    first = set_override(
        environment, WantedOverride("acme", WantedEntitlement("file.mib", number=50))
    )
    same = set_override(
        environment, WantedOverride("acme", WantedEntitlement("file.mib", number=50))
    )
    assert same == first
    second = set_override(
        environment, WantedOverride("acme", WantedEntitlement("file.mib", number=60))
    )
    assert second.version == first.version + 1
    assert [override.entitlement.number for override in second.overrides] == [60]


def test_removing(environment: Environment) -> None:
    def remove(resource: str, feature: str) -> Customer:
        with environment.database.writing() as connection:
            return provisioning.remove_override(
                connection, "acme", resource, feature, environment.now_ms
            ).customer

    off = WantedOverride("acme", WantedEntitlement("sso", enabled=False), "shop")
    before = set_override(environment, off)
    with pytest.raises(NotFoundError, match="customer 'acme' has no override of feature 'sso'"):
        remove("", "sso")
    customer = remove("shop", "sso")
    assert (customer.overrides, customer.version) == ((), before.version + 1)
    with pytest.raises(NotFoundError, match="resource 'shop' of customer 'acme' has no override"):
        remove("shop", "sso")
    with pytest.raises(InvalidArgumentError, match="feature: is empty"):
        remove("", "")


@pytest.mark.parametrize(
    ("entitlement", "problem"),
    [
        (WantedEntitlement(""), "entitlement.feature: is empty"),
        (WantedEntitlement("x" * 2**20), "entitlement.feature: is not an id (1048576"),
        (
            WantedEntitlement("sso", number=1),
            "entitlement.number: cannot be given: 'sso' is boolean",
        ),
        (
            WantedEntitlement("sso", limits=(WantedLimit("month", 1),)),
            "entitlement.limits: cannot be given: 'sso' is boolean",
        ),
        (
            WantedEntitlement("file.mib", values=("eu",)),
            "entitlement.values: cannot be given: 'file.mib' is number",
        ),
        (
            WantedEntitlement("file.mib", enabled=False, number=3),
            "entitlement.number: cannot be given: not enabled",
        ),
        (WantedEntitlement("file.mib", number=-1), "entitlement.number: -1 is negative"),
        (
            WantedEntitlement("file.mib", number=10**16),
            "entitlement.number: 10000000000000000 is too large",
        ),
        (WantedEntitlement("regions"), "entitlement.values: is empty; name some of eu, us, ap"),
        (
            WantedEntitlement("regions", values=("eu", "mars")),
            "entitlement.values[1]: 'mars' is not a value of 'regions': eu, us, ap",
        ),
        (
            WantedEntitlement("regions", values=("eu", "eu")),
            "entitlement.values: names 'eu' twice",
        ),
        (
            WantedEntitlement("api.calls", limits=(WantedLimit("", 1),)),
            "entitlement.limits[0].id: is empty",
        ),
        (
            WantedEntitlement("api.calls", limits=(WantedLimit("month", -5),)),
            "entitlement.limits[0].limit: -5 is negative",
        ),
        (
            WantedEntitlement("api.calls", limits=(WantedLimit("month", 5),) * 2),
            "entitlement.limits: names 'month' twice",
        ),
        (
            WantedEntitlement("api.calls", limits=(WantedLimit("month", 5),) * 17),
            "entitlement.limits: has 17 items; at most 16",
        ),
        (
            WantedEntitlement("api.calls", limits=(WantedLimit("year", 5),)),
            "entitlement.limits[0].kind: is not set, and the plan has no limit 'year'",
        ),
        (
            WantedEntitlement("api.calls", limits=(WantedLimit("year", 5, LimitKind.HARD),)),
            "entitlement.limits[0].window: is not set, and the plan has no limit 'year'",
        ),
    ],
)
def test_a_bad_override_names_the_field(
    environment: Environment, entitlement: WantedEntitlement, problem: str
) -> None:
    before = environment.customer("acme")
    with pytest.raises(InvalidArgumentError) as caught:
        set_override(environment, WantedOverride("acme", entitlement))

    assert str(caught.value).startswith(problem)
    assert environment.customer("acme") == before


def test_what_is_not_there(environment: Environment) -> None:
    with pytest.raises(NotFoundError, match="feature 'fly' is not in catalog 'api'; it has api"):
        set_override(environment, WantedOverride("acme", WantedEntitlement("fly")))
    wanted = WantedEntitlement("api.calls", limits=(WantedLimit("month", 5),))
    with pytest.raises(FailedPreconditionError, match="there is no active subscription"):
        set_override(environment, WantedOverride("acme", wanted, "shop"))
    with pytest.raises(NotFoundError, match="customer 'nobody'"):
        set_override(environment, WantedOverride("nobody", wanted))


@pytest.mark.parametrize(
    ("starts_at_ms", "expires_at_ms", "problem"),
    [
        (-1, None, "starts_at_unix_ms: -1 is negative"),
        (None, -1, "expires_at_unix_ms: -1 is negative"),
        (5, 5, "expires_at_unix_ms: 5 is not after starts_at_unix_ms"),
    ],
)
def test_a_span_that_is_none(
    environment: Environment, starts_at_ms: int | None, expires_at_ms: int | None, problem: str
) -> None:
    wanted = WantedOverride("acme", WantedEntitlement("sso"), "", starts_at_ms, expires_at_ms)
    with pytest.raises(InvalidArgumentError, match=problem):
        set_override(environment, wanted)


RATE = Rate("per_second", 50, RatePeriod.SECOND, 100)


def test_a_rate_is_kept_as_it_is(environment: Environment) -> None:
    wanted = WantedOverride("acme", WantedEntitlement("api.calls", rates=(RATE,)))
    customer = set_override(environment, wanted)
    [override] = customer.overrides
    assert (override.entitlement.rates, override.entitlement.limits) == ((RATE,), ())
    assert environment.customer("acme") == customer
    assert set_override(environment, wanted).version == customer.version, "nothing changed"


def test_rows_written_before_there_were_rates_have_none() -> None:
    row = entitlement_to_row(Entitlement("api.calls", rates=(RATE,)))
    del row["rates"]
    assert entitlement_from_row(row) == Entitlement("api.calls")


@pytest.mark.parametrize(
    ("feature", "rates", "problem"),
    [
        ("sso", (RATE,), "entitlement.rates: cannot be given"),
        ("api.calls", (RATE, RATE), "entitlement.rates"),
        ("api.calls", (replace(RATE, limit=0),), r"entitlement.rates\[0\].limit: is 0"),
        ("api.calls", (replace(RATE, burst=0),), r"entitlement.rates\[0\].burst: is 0"),
        ("api.calls", (replace(RATE, burst=-1),), r"entitlement.rates\[0\].burst: -1 is negative"),
        ("api.calls", (replace(RATE, id=""),), r"entitlement.rates\[0\].id"),
    ],
)
def test_a_rate_that_cannot_be(
    environment: Environment, feature: str, rates: tuple[Rate, ...], problem: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        set_override(environment, WantedOverride("acme", WantedEntitlement(feature, rates=rates)))
