"""Hypothesis strategies for credits and partner apps."""

from __future__ import annotations

from decimal import Decimal

from control_plane_strategies import amounts, granted, ids, limits, windows
from hypothesis import strategies as st

from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    PartnerApp,
    PartnerQuota,
    PlanVersion,
)
from weighbridge.rules.credits import (
    CreditCost,
    CreditGrant,
    CreditType,
    GrantEnd,
    GrantExpiry,
    GrantKind,
    MoneyRate,
    TopUp,
)
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.revenue_share import RevenueShare, ShareBase, ShareTier

decimals = st.integers(0, 10**5).map(lambda thousandths: Decimal(thousandths) / 1000)
currencies = st.sampled_from([Currency("USD", 2), Currency("JPY", 0), Currency("BHD", 3)])
money_rates = st.lists(
    st.builds(MoneyRate, currencies, decimals, st.integers(1, 10**6)), max_size=2
).map(tuple)
expiries = st.one_of(
    st.builds(GrantExpiry, st.sampled_from([GrantEnd.NEVER, GrantEnd.PERIOD_END])),
    st.builds(GrantExpiry, st.just(GrantEnd.AFTER_DAYS), st.integers(1, 3_660)),
)
matches = st.dictionaries(ids, st.text(max_size=5), max_size=2).map(
    lambda m: tuple(sorted(m.items()))
)
credit_costs = st.lists(st.builds(CreditCost, ids, amounts, matches), max_size=3)
credit_types = st.builds(
    CreditType,
    id=ids,
    name=ids,
    unit=ids,
    decimals=st.integers(0, 6),
    worth=money_rates,
    costs=credit_costs.map(lambda costs: {cost.feature: (cost,) for cost in costs}),
)
credit_grants = st.lists(
    st.builds(
        CreditGrant,
        id=ids,
        credit_type=ids,
        micro=amounts,
        kind=st.sampled_from(GrantKind),
        every=st.none() | windows,
        per_seat=st.booleans(),
        priority=st.integers(0, 1_000),
        starts_after_days=st.integers(0, 9),
        expiry=expiries,
        rollover_micro=st.none() | amounts,
    ),
    max_size=2,
).map(tuple)
top_ups = st.lists(
    st.builds(
        TopUp,
        credit_type=ids,
        threshold_micro=st.integers(0, 99),
        target_micro=st.integers(100, 10**15),
        monthly_cap_micro=st.none() | st.integers(1, 10**15),
        prices=money_rates,
        priority=st.integers(0, 1_000),
        expiry=expiries,
    ),
    max_size=2,
).map(tuple)
share_tiers = st.builds(
    lambda bounds, percents: tuple(
        ShareTier(bound, percent)
        for bound, percent in zip([*sorted(bounds), None], percents, strict=False)
    ),
    st.sets(st.integers(1, 10**12), max_size=2),
    st.lists(decimals, min_size=3, max_size=3),
)
shares = st.builds(
    RevenueShare,
    base=st.sampled_from(ShareBase),
    currency=currencies,
    tiers=share_tiers,
    window=windows,
    fixed_minor=st.integers(0, 10**6),
)
quota_limits = st.lists(limits, max_size=2).map(tuple)
partner_apps = st.builds(
    PartnerApp,
    id=ids,
    name=ids,
    permissions=st.lists(ids, max_size=3).map(tuple),
    quotas=st.dictionaries(ids, st.builds(PartnerQuota, quota_limits, quota_limits), max_size=2),
    shares=st.lists(shares, max_size=2).map(tuple),
)
add_ons = st.builds(
    AddOn,
    id=ids,
    name=ids,
    entitlements=st.lists(granted, max_size=2).map(lambda es: {e.feature: e for e in es}),
    credit_grants=credit_grants,
)
plans = st.builds(
    PlanVersion,
    plan=st.just("pro"),
    version=st.just(1),
    name=st.just("Pro"),
    entitlements=st.just({}),
    credit_grants=credit_grants,
    top_ups=top_ups,
)
catalogs = st.builds(
    Catalog,
    id=st.just("credits"),
    version=st.just(1),
    features=st.just({}),
    plans=plans.map(lambda plan: {plan.plan: {1: plan}}),
    add_ons=add_ons.map(lambda add_on: {add_on.id: add_on}),
    credit_types=credit_types.map(lambda credit_type: {credit_type.id: credit_type}),
    partner_apps=partner_apps.map(lambda app: {app.id: app}),
)
