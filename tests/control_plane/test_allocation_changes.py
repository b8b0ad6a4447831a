"""Allocation features in overrides and catalogs, and changes that would lose what is held."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from provisioned import CATALOG, Environment
from sqlalchemy import Connection, delete

from control_plane import provisioning
from control_plane.metering.counters import CounterCache
from control_plane.metering.ingest import settle_records
from control_plane.metering.records import UsageEntry, UsageKind, UsageRecord
from control_plane.provisioning import (
    ChangeTime,
    NewCustomer,
    WantedEntitlement,
    WantedLimit,
    WantedOverride,
    WantedSubscription,
)
from control_plane.provisioning.holding import read_held
from control_plane.provisioning.loading import CustomerRecord
from control_plane.storage.tables import usage_total
from weighbridge.rules.catalog import Customer, Limit, LimitKind, SubscribedAddOn
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError
from weighbridge.rules.units import AMOUNT_MAX
from weighbridge.rules.window import Period, Window, WindowKind

HELD = Window(WindowKind.LIFETIME)
ALLOCATED = (
    CATALOG.replace(
        "  sso: {type: boolean}\n",
        "  sso: {type: boolean}\n  projects: {type: metered, meter: allocation}\n",
    )
    .replace("      file.mib: 5\n", "      file.mib: 5\n      projects: {limits: [{limit: 3}]}\n")
    .replace("      sso: true\n", "      sso: true\n      projects: {limits: [{limit: 10}]}\n")
)


@pytest.fixture(autouse=True)
def _customer(environment: Environment) -> None:
    environment.apply(ALLOCATED)
    environment.create("acme", "pro", ("shop",))


def override(environment: Environment, *limits: WantedLimit) -> Customer:
    wanted = WantedOverride("acme", WantedEntitlement("projects", limits=limits))
    with environment.database.writing() as connection:
        record = provisioning.set_override(
            connection, environment.library, wanted, environment.now_ms
        )
    return record.customer


def test_an_override_of_what_is_held_has_no_window(environment: Environment) -> None:
    customer = override(environment, WantedLimit("held", 20), WantedLimit("x", 5, LimitKind.SOFT))
    assert customer.overrides[0].entitlement.limits == (
        Limit("held", LimitKind.HARD, 20, HELD),
        Limit("x", LimitKind.SOFT, 5, HELD),
    )
    monthly = WantedLimit("held", 20, window=Window(WindowKind.CALENDAR, Period.MONTH))
    with pytest.raises(InvalidArgumentError, match=r"limits\[0\].window: .* leave it out"):
        override(environment, monthly)


def test_a_meter_never_changes(environment: Environment) -> None:
    summed = ALLOCATED.replace("metered, meter: allocation", "metered").replace(
        "projects: {limits: [{limit: 3}]}", "projects: unlimited"
    )
    summed = summed.replace("projects: {limits: [{limit: 10}]}", "projects: unlimited")
    with pytest.raises(FailedPreconditionError, match="the meter of feature 'projects'"):
        environment.apply(summed)


class Held:
    """A customer on plan pro of ALLOCATED, and usage settled for it."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.cache = CounterCache(environment.library)
        self.number = 0

    def hold(self, amount: int, resource: str = "", customer: str = "acme") -> None:
        self.number += 1
        now_ms = self.environment.now_ms
        entry = UsageEntry(customer, resource, "projects", amount, now_ms, UsageKind.CONSUME)
        record = UsageRecord("sc-1", "e1", self.number, b"d", (entry,))
        with self.environment.database.writing() as connection:
            settled = settle_records(connection, [record], self.cache, now_ms)
        assert settled.events == 1

    def put_on(self, plan: str, **terms: Any) -> Customer:
        wanted = replace(WantedSubscription("acme", plan), **terms)
        return self._in_transaction(
            lambda connection: provisioning.set_subscription(
                connection, self.environment.library, wanted, self.environment.now_ms
            )
        )

    def pin(self, version: int) -> Customer:
        return self._in_transaction(
            lambda connection: provisioning.pin_subscription(
                connection,
                self.environment.library,
                ("acme", ""),
                version,
                self.environment.now_ms,
            )
        )

    def follow(self) -> Customer:
        return self._in_transaction(
            lambda connection: provisioning.follow_plan(
                connection, self.environment.library, ("acme", ""), self.environment.now_ms
            )
        )

    def _in_transaction(self, work: Callable[[Connection], CustomerRecord]) -> Customer:
        with self.environment.database.writing() as connection:
            return work(connection).customer


@pytest.fixture
def held(environment: Environment) -> Held:
    return Held(environment)


TOO_MUCH = re.escape("plan 'free' allows 3 projects, customer 'acme' holds 5; release 2 first")


@pytest.mark.parametrize("when", ChangeTime)
def test_a_downgrade_that_loses_what_is_held_is_refused(held: Held, when: ChangeTime) -> None:
    held.hold(7)
    held.hold(-2)
    before = held.environment.customer("acme")
    with pytest.raises(FailedPreconditionError, match=TOO_MUCH):
        held.put_on("free", when=when)
    assert held.environment.customer("acme") == before
    held.hold(-2)
    assert held.put_on("free", when=when).subscriptions[-1].plan == "free"


def test_what_an_override_or_a_soft_limit_allows_is_not_lost(held: Held) -> None:
    held.hold(5)
    override(held.environment, WantedLimit("held", 5))
    assert held.put_on("free").subscriptions[0].plan == "free"


def test_a_plan_without_the_feature_allows_none(held: Held) -> None:
    bare = ALLOCATED.replace("plans:\n", "plans:\n  bare: {features: {file.mib: 1}}\n")
    held.environment.apply(bare)
    held.hold(1)
    with pytest.raises(FailedPreconditionError, match="plan 'bare' allows 0 projects"):
        held.put_on("bare")


def test_fewer_seats_and_add_ons_are_refused_alike(held: Held) -> None:
    seated = ALLOCATED.replace("{limit: 10}", "{limit: 2, per_seat: true}") + (
        "  two_projects: {features: {projects: {limits: [{id: held, limit: 2}]}}}\n"
    )
    held.environment.apply(seated)
    add_on = (SubscribedAddOn("two_projects"),)
    held.put_on("pro", quantity=3, add_ons=add_on)
    held.hold(7)
    with pytest.raises(FailedPreconditionError, match=r"allows 6 projects, .* release 1 first"):
        held.put_on("pro", quantity=3)
    with pytest.raises(FailedPreconditionError, match=r"allows 6 projects, .* release 1 first"):
        held.put_on("pro", quantity=2, add_ons=add_on, when=ChangeTime.PERIOD_END)
    held.hold(-1)
    held.put_on("pro", quantity=3)


def test_a_resource_holds_its_own(held: Held) -> None:
    held.put_on("pro", resource="shop")
    held.hold(4, "shop")
    assert held.put_on("free").subscriptions[0].plan == "free"
    with pytest.raises(FailedPreconditionError, match="resource 'shop' of customer 'acme' holds 4"):
        held.put_on("free", resource="shop")


def test_a_catalog_may_lower_a_limit_and_what_does_not_lower_it_passes(held: Held) -> None:
    held.hold(8)
    lowered = ALLOCATED.replace("{limit: 10}", "{limit: 2}")
    assert held.environment.apply(lowered).version == 2
    # No less than before, though still less than is held.
    assert held.put_on("free").subscriptions[0].plan == "free"


def test_a_version_by_hand_is_a_change_too(held: Held) -> None:
    held.environment.apply(ALLOCATED.replace("{limit: 10}", "{limit: 20}"))
    held.hold(15)
    with pytest.raises(FailedPreconditionError, match="plan 'pro' allows 10 projects"):
        held.pin(1)
    held.pin(2)
    held.environment.apply(ALLOCATED)
    with pytest.raises(FailedPreconditionError, match="plan 'pro' allows 10 projects"):
        held.follow()
    with pytest.raises(FailedPreconditionError, match="plan 'pro' allows 10 projects"):
        held.put_on("pro", plan_version=1)
    held.hold(-5)
    held.follow()


def test_what_is_canceled_or_only_observed_is_not_asked(held: Held) -> None:
    held.hold(5)
    held.environment.apply(
        ALLOCATED.replace("meter: allocation}", "meter: allocation, enforcement: observe}")
    )
    assert held.put_on("free").subscriptions[0].plan == "free"


@pytest.mark.parametrize("has_row", [True, False])
def test_held_is_read_from_the_total_or_from_the_events(held: Held, *, has_row: bool) -> None:
    held.hold(AMOUNT_MAX)
    held.hold(-5)
    with held.environment.database.writing() as connection:
        if not has_row:
            connection.execute(delete(usage_total))
        read = read_held(connection, ("acme", ""), ["projects", "api.calls"])
    assert read == {"projects": AMOUNT_MAX - 5, "api.calls": 0}


@pytest.mark.parametrize("has_row", [True, False])
def test_what_those_below_hold_is_held_by_all_above(held: Held, *, has_row: bool) -> None:
    environment = held.environment
    with environment.database.writing() as connection:
        new = NewCustomer("team", parent="acme")
        provisioning.create_customer(connection, environment.library, new, environment.now_ms)
    held.hold(2)
    held.hold(3, customer="team")
    if not has_row:
        with environment.database.writing() as connection:
            connection.execute(delete(usage_total))
    with pytest.raises(FailedPreconditionError, match=TOO_MUCH):
        held.put_on("free")
