"""Hypothesis strategies for catalogs and customers."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from weighbridge.rules.catalog import (
    Catalog,
    CreditDraw,
    Customer,
    CustomerStatus,
    Enforcement,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    LimitKind,
    Meter,
    Migration,
    Override,
    PlanVersion,
    SubscribedAddOn,
    Subscription,
    SubscriptionStatus,
    Trial,
    VersionStep,
)
from weighbridge.rules.lease import Consistency, LostLease
from weighbridge.rules.rate import Rate, RatePeriod
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.prices import (
    CommitmentPrice,
    Counted,
    FeePercentagePrice,
    FlatPrice,
    MinimumPrice,
    PercentagePrice,
    QuantityPrice,
)
from weighbridge.rules.rating.tiers import Package, Tier, TierMode, TierTable, UnitRate
from weighbridge.rules.spend import Spend
from weighbridge.rules.window import Period, Window, WindowKind

ids = st.from_regex(r"[A-Za-z0-9._:@/-]{1,24}", fullmatch=True)
amounts = st.integers(0, 10**15)
instants = st.integers(0, 10**13)
zones = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]).map(
    lambda name: (name, UTC if name == "UTC" else ZoneInfo(name))
)
windows = st.one_of(
    st.just(Window(WindowKind.LIFETIME)),
    st.builds(
        lambda kind, minutes: Window(kind, length_ms=minutes * 60_000),
        st.sampled_from([WindowKind.ROLLING, WindowKind.SESSION]),
        st.integers(1, 366 * 24 * 60),
    ),
    st.builds(
        lambda kind, period, zone: Window(kind, period, *zone),
        st.sampled_from([WindowKind.CALENDAR, WindowKind.ANNIVERSARY]),
        st.sampled_from(Period),
        zones,
    ),
)
limits = st.builds(Limit, ids, st.sampled_from(LimitKind), st.none() | amounts, windows)
rates = st.builds(Rate, ids, amounts, st.sampled_from(RatePeriod), amounts)
entitlements = st.builds(
    Entitlement,
    ids,
    st.booleans(),
    st.none() | amounts,
    st.lists(ids, max_size=3).map(tuple),
    st.lists(limits, max_size=3).map(tuple),
    st.lists(rates, max_size=2).map(tuple),
)
draws = st.builds(CreditDraw, ids, st.sampled_from(LimitKind))
granted = st.builds(
    Entitlement,
    ids,
    credit=st.none() | draws,
    limits=st.lists(
        st.builds(Limit, ids, st.sampled_from(LimitKind), amounts, windows, st.booleans()),
        max_size=2,
    ).map(tuple),
)
currencies = st.sampled_from([Currency("USD", 2), Currency("JPY", 0)])
money = st.decimals(0, 10**6, places=6).map(abs)
price_tiers = st.lists(st.tuples(st.integers(1, 9), money, money), max_size=2).map(
    lambda parts: (
        *(Tier(10 * at + up_to, *costs) for at, (up_to, *costs) in enumerate(parts)),
        Tier(None, Decimal(1)),
    )
)
unit_rates = st.one_of(
    st.builds(UnitRate, money, st.integers(1, 1_000)),
    st.builds(Package, money, st.integers(1, 1_000)),
    st.builds(TierTable, st.sampled_from(TierMode), price_tiers, st.integers(1, 1_000)),
)
matches = st.dictionaries(ids, st.text("ab", max_size=3), max_size=2).map(
    lambda found: tuple(sorted(found.items()))
)
priced = {"key": ids, "currency": currencies, "every": st.sampled_from(Period)}
prices = st.one_of(
    st.builds(FlatPrice, amount=money, feature=st.just("") | ids, **priced),
    st.builds(
        QuantityPrice,
        rate=unit_rates,
        feature=ids,
        match=matches,
        included=st.integers(0, 9),
        included_per_seat=st.integers(0, 9),
        past_limit=st.just("") | ids,
        **priced,
    ),
    st.builds(QuantityPrice, rate=unit_rates, counted=st.just(Counted.SEATS), **priced),
    st.builds(
        PercentagePrice,
        percent=st.decimals(0, 100, places=3).map(abs),
        feature=ids,
        match=matches,
        flat=money,
        cap=st.none() | money,
        **priced,
    ),
    st.builds(FeePercentagePrice, percent=st.decimals(0, 100, places=3).map(abs), **priced),
    st.builds(MinimumPrice, amount=money, feature=st.just("") | ids, **priced),
    st.builds(CommitmentPrice, amount=money, feature=st.just("") | ids, **priced),
)
plan_versions = st.builds(
    PlanVersion,
    plan=ids,
    version=st.integers(1, 9),
    name=st.text(max_size=10),
    entitlements=st.lists(granted, max_size=3).map(lambda es: {e.feature: e for e in es}),
    trial=st.none() | st.builds(Trial, st.integers(1, 366), st.just("") | ids),
    prices=st.lists(prices, max_size=3).map(tuple),
)
version_steps = st.builds(VersionStep, st.integers(1, 9), instants, st.sampled_from(Migration))
features = st.builds(
    Feature,
    id=ids,
    type=st.sampled_from(FeatureType),
    unit=ids,
    enforcement=st.sampled_from(Enforcement),
    consistency=st.sampled_from(Consistency),
    meter=st.sampled_from(Meter),
    spend=st.none() | st.builds(Spend, currencies, st.lists(ids, max_size=2).map(tuple)),
    lost_lease=st.sampled_from(LostLease),
)
catalogs = st.builds(
    Catalog,
    id=ids,
    version=st.integers(1, 99),
    features=st.lists(features, max_size=3).map(lambda found: {each.id: each for each in found}),
    plans=st.lists(plan_versions, max_size=3).map(lambda ps: {p.plan: {p.version: p} for p in ps}),
    steps=st.dictionaries(
        ids, st.lists(version_steps, min_size=1, max_size=3).map(tuple), max_size=2
    ),
    addition=st.integers(0, 9),
    default_plan=st.just("") | ids,
)
subscribed_add_ons = st.builds(SubscribedAddOn, ids, st.integers(1, 10**6))
subscriptions = st.builds(
    Subscription,
    id=ids,
    resource=st.just("") | ids,
    plan=ids,
    plan_version=st.none() | st.integers(1, 9),
    add_ons=st.lists(subscribed_add_ons, max_size=2).map(tuple),
    status=st.sampled_from(SubscriptionStatus),
    anchor_ms=instants,
    starts_at_ms=instants,
    ends_at_ms=st.none() | instants,
    on_plan_since_ms=st.none() | instants,
    status_until_ms=st.none() | instants,
    is_trial=st.booleans(),
    quantity=st.integers(1, 10**6),
)
overrides = st.builds(
    Override,
    id=ids,
    resource=st.just("") | ids,
    entitlement=entitlements,
    starts_at_ms=st.none() | instants,
    expires_at_ms=st.none() | instants,
)
customers = st.builds(
    Customer,
    id=ids,
    version=st.integers(1, 10**9),
    status=st.sampled_from(CustomerStatus),
    catalog=ids,
    catalog_version_min=st.integers(0, 99),
    resources=st.lists(ids, max_size=3).map(tuple),
    subscriptions=st.lists(subscriptions, max_size=2).map(tuple),
    overrides=st.lists(overrides, max_size=2).map(tuple),
    catalog_addition_min=st.integers(0, 9),
)
