"""The control plane's values survive the wire."""

from __future__ import annotations

import control_plane_strategies as strategies
import pytest
from hypothesis import given

from control_plane.provisioning.wanted import WantedEntitlement, WantedLimit
from control_plane.wire import entitlements as wire
from control_plane.wire.enums import FEATURE_TYPES, enum_from_proto
from control_plane.wire.snapshots import (
    catalog_to_proto,
    customer_to_proto,
    subscribed_add_on_from_proto,
    subscribed_add_on_to_proto,
)
from weighbridge.rules.catalog import Catalog, Customer, Entitlement, SubscribedAddOn
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.window import Window
from weighbridge.v1 import types_pb2


@given(strategies.windows)
def test_window_survives(window: Window) -> None:
    assert wire.window_from_proto("window", wire.window_to_proto(window)) == window


@given(strategies.entitlements)
def test_entitlement_survives(entitlement: Entitlement) -> None:
    message = types_pb2.Entitlement.FromString(
        wire.entitlement_to_proto(entitlement).SerializeToString()
    )
    assert wire.wanted_entitlement_from_proto("entitlement", message) == WantedEntitlement(
        feature=entitlement.feature,
        enabled=entitlement.enabled,
        number=entitlement.number,
        values=entitlement.values,
        limits=tuple(
            WantedLimit(limit.id, limit.limit, limit.kind, limit.window)
            for limit in entitlement.limits
        ),
        rates=entitlement.rates,
    )


@given(strategies.subscribed_add_ons)
def test_subscribed_add_on_survives(add_on: SubscribedAddOn) -> None:
    assert subscribed_add_on_from_proto(subscribed_add_on_to_proto(add_on)) == add_on


@given(strategies.catalogs)
def test_catalog_carries_every_plan_version(catalog: Catalog) -> None:
    snapshot = catalog_to_proto(catalog)
    assert (snapshot.catalog, snapshot.version) == (catalog.id, catalog.version)
    assert {(plan.plan, plan.version) for plan in snapshot.plans} == {
        (plan, version) for plan, versions in catalog.plans.items() for version in versions
    }
    for plan in snapshot.plans:
        granted = catalog.plans[plan.plan][plan.version].entitlements
        assert list(plan.entitlements) == [wire.entitlement_to_proto(e) for e in granted.values()]


@given(strategies.customers)
def test_customer_carries_all_that_is_its_own(customer: Customer) -> None:
    snapshot = customer_to_proto(customer)
    assert (snapshot.customer, snapshot.version) == (customer.id, customer.version)
    assert tuple(snapshot.resources) == customer.resources
    for message, subscription in zip(snapshot.subscriptions, customer.subscriptions, strict=True):
        assert message.id == subscription.id
        assert message.HasField("plan_version") == (subscription.plan_version is not None)
        assert message.HasField("ends_at_unix_ms") == (subscription.ends_at_ms is not None)
        assert message.anchor_unix_ms == subscription.anchor_ms
    for sent, override in zip(snapshot.overrides, customer.overrides, strict=True):
        assert sent.entitlement == wire.entitlement_to_proto(override.entitlement)
    assert not snapshot.totals


@pytest.mark.parametrize(
    ("window", "problem"),
    [
        (types_pb2.Window(), "window.kind: is not set"),
        (types_pb2.Window(kind=99), "window.kind: 99 is not a known value"),  # type: ignore[arg-type]
        (
            types_pb2.Window(kind=types_pb2.WINDOW_KIND_CALENDAR),
            "window.period: is not set",
        ),
        (
            types_pb2.Window(kind=types_pb2.WINDOW_KIND_CALENDAR, period=77),  # type: ignore[arg-type]
            "window.period: 77 is not a known value",
        ),
        (
            types_pb2.Window(
                kind=types_pb2.WINDOW_KIND_LIFETIME, period=types_pb2.WINDOW_PERIOD_DAY
            ),
            "window.period: a lifetime window has none",
        ),
        (
            types_pb2.Window(kind=types_pb2.WINDOW_KIND_ROLLING),
            "window.length_ms: 0 is not between 1 minute and 366 days",
        ),
        (
            types_pb2.Window(kind=types_pb2.WINDOW_KIND_SESSION, length_ms=90_001),
            "window.length_ms: 90001 is no whole number of minutes",
        ),
        (
            types_pb2.Window(
                kind=types_pb2.WINDOW_KIND_CALENDAR,
                period=types_pb2.WINDOW_PERIOD_DAY,
                time_zone="../../etc/passwd",
            ),
            "window.time_zone: '../../etc/passwd' is not a time zone",
        ),
        (
            types_pb2.Window(
                kind=types_pb2.WINDOW_KIND_CALENDAR,
                period=types_pb2.WINDOW_PERIOD_DAY,
                time_zone="Europe/Nowhere",
            ),
            "window.time_zone: 'Europe/Nowhere' is not a time zone",
        ),
    ],
)
def test_a_bad_window_names_its_field(window: types_pb2.Window, problem: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        wire.window_from_proto("window", window)
    assert str(caught.value).startswith(problem)


def test_an_unknown_enum_names_its_field() -> None:
    with pytest.raises(InvalidArgumentError, match="type: 9 is not a known value"):
        enum_from_proto("type", FEATURE_TYPES, 9)  # type: ignore[type-var]
