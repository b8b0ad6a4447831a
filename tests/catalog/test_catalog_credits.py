"""Credits and partner apps from a document: what they compile to, and what changes in them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from credit_samples import compiled_credits, recredited

from control_plane.catalog import (
    CatalogChange,
    ChangeKind,
    diff_catalogs,
    load_document,
    next_plan_versions,
    notices,
)
from weighbridge.rules.catalog import Catalog, CreditDraw, LimitKind, PlanVersion
from weighbridge.rules.credits import MICRO, CreditCost, GrantEnd, GrantExpiry, GrantKind
from weighbridge.rules.revenue_share import ShareBase, ShareTier

NOBODY: frozenset[str] = frozenset()


def plan(name: str, catalog: Catalog | None = None) -> PlanVersion:
    found = (catalog or compiled_credits()).plan(name)
    assert found is not None
    return found


def changes(*pairs: tuple[str, str]) -> tuple[CatalogChange, ...]:
    return diff_catalogs(compiled_credits(), compiled_credits(*pairs))


def test_a_credit_type_has_costs_for_a_million_units() -> None:
    ai = compiled_credits().credit_types["ai"]
    assert (ai.name, ai.unit, ai.decimals) == ("AI credits", "token of account", 3)
    assert [(rate.currency.code, rate.amount) for rate in ai.worth] == [
        ("EUR", Decimal("0.009")),
        ("USD", Decimal("0.01")),
    ]
    assert ai.costs == {
        "tokens": (
            CreditCost("tokens", 25 * MICRO),
            CreditCost("tokens", 250 * MICRO, (("model", "large"),)),
        ),
        "images": (CreditCost("images", 4_500_000 * MICRO),),
    }
    gold = compiled_credits().credit_types["gold"]
    assert (gold.name, gold.unit, gold.decimals, gold.worth) == ("gold", "credit", 2, ())


def test_features_are_paid_with_credits() -> None:
    assert plan("free").entitlements["tokens"].credit == CreditDraw("ai")
    assert len(plan("free").entitlements["tokens"].limits) == 1
    soft = CreditDraw("ai", LimitKind.SOFT)
    assert plan("pro").entitlements["tokens"].credit == soft
    assert plan("team").entitlements["tokens"].credit == soft
    assert compiled_credits().add_ons["pictures"].entitlements["images"].credit == CreditDraw("ai")


def test_grants_with_their_defaults() -> None:
    bonus, monthly, tasting, weekly = plan("pro").credit_grants
    assert (monthly.micro, monthly.rollover_micro) == (1_000_500_000, 500_000_000)
    assert monthly.every is not None
    assert monthly.every.key == "anniversary:month:Europe/Berlin"
    assert (monthly.per_seat, monthly.priority, monthly.starts_after_days) == (True, 10, 1)
    assert monthly.expiry.end is GrantEnd.NEVER
    assert (bonus.kind, bonus.expiry) == (
        GrantKind.PROMOTIONAL,
        GrantExpiry(GrantEnd.AFTER_DAYS, 90),
    )
    assert (tasting.kind, tasting.expiry.end) == (GrantKind.TRIAL, GrantEnd.TRIAL_END)
    assert (weekly.kind, weekly.expiry.end) == (GrantKind.RECURRING, GrantEnd.PERIOD_END)
    (start,) = plan("free").credit_grants
    assert (start.kind, start.every, start.expiry.end) == (GrantKind.PREPAID, None, GrantEnd.NEVER)


def test_grants_and_top_ups_are_inherited_whole() -> None:
    assert plan("team").credit_grants == plan("pro").credit_grants
    assert plan("team").top_ups == plan("pro").top_ups
    emptied = compiled_credits(
        ("    features: {own_domain: false}", "    credit_grants: []\n    top_ups: []")
    )
    assert plan("team", emptied).credit_grants == ()
    assert plan("team", emptied).top_ups == ()


def test_a_top_up() -> None:
    (top_up,) = plan("pro").top_ups
    assert (top_up.threshold_micro, top_up.target_micro) == (100 * MICRO, 1_000 * MICRO)
    assert (top_up.monthly_cap_micro, top_up.priority) == (5_000 * MICRO, 200)
    assert [(rate.currency.code, rate.amount, rate.per) for rate in top_up.prices] == [
        ("EUR", Decimal("18.00"), 1_000),
        ("USD", Decimal("20.00"), 1_000),
    ]


def test_a_partner_app() -> None:
    app = compiled_credits().partner_apps["sheets"]
    assert app.name == "Time Sheets"
    assert app.permissions == ("calls", "own_domain")
    quota = app.quotas["calls"]
    assert [(limit.id, limit.limit) for limit in quota.per_customer] == [("month", 5), ("d", 1)]
    assert [(limit.id, limit.kind) for limit in quota.total] == [("month", LimitKind.SOFT)]
    sales, *usage = app.shares
    assert (sales.base, sales.currency.code, sales.fixed_minor) == (ShareBase.SALES, "USD", 30)
    assert sales.tiers == (
        ShareTier(100_050, Decimal(15)),
        ShareTier(200_000, Decimal("12.5")),
        ShareTier(None, Decimal(10)),
    )
    assert sales.window.key == "calendar:year:UTC"
    assert [share.currency.code for share in usage] == ["EUR", "USD"]


def test_the_order_of_grants_and_costs_is_no_difference() -> None:
    grant = "      - {id: weekly, type: ai, amount: 3, every: week}\n"
    first = "      - id: monthly\n"
    image = "      - {feature: images, cost: 4.5}\n"
    large = "      - {feature: tokens, match: {model: large}, cost: 250, per: 1000000}\n"
    assert changes((grant, ""), (first, grant + first), (image, ""), (large, image + large)) == ()
    assert changes() == ()


def test_a_cost_touches_all_who_pay_with_it() -> None:
    assert changes(("cost: 250,", "cost: 300,")) == (
        CatalogChange(
            "credit_types.ai.costs.tokens[model=large]",
            ChangeKind.CHANGED,
            "250 per million",
            "300 per million",
            frozenset({"free", "pro", "team"}),
            frozenset({"pack", "pictures"}),
        ),
    )
    assert changes(("decimals: 3", "decimals: 4"), ("name: AI credits", "name: Credits")) == (
        CatalogChange("credit_types.ai.name", ChangeKind.CHANGED, "AI credits", "Credits"),
        CatalogChange("credit_types.ai.decimals", ChangeKind.CHANGED, "3", "4"),
    )


def test_grants_top_ups_and_draws_are_told_by_id() -> None:
    found = changes(
        ("amount: 5}", "amount: 6}"),
        ("threshold: 100", "threshold: 50"),
        ("tokens: {limits: [{limit: 1000, window: day}], credits: ai}", "tokens: {credits: ai}"),
        ("amount: 100,", "amount: 200,"),
    )
    free = frozenset({"free"})
    assert [(change.path, change.before, change.after, change.plans) for change in found] == [
        (
            "plans.free.features.tokens.limits",
            "day: {limit: 1000, kind: hard, window: calendar:day:UTC}",
            "",
            free,
        ),
        ("plans.free.credit_grants.start.amount", "5", "6", free),
        ("plans.pro.top_ups.ai.threshold", "100", "50", frozenset({"pro"})),
        ("plans.team.top_ups.ai.threshold", "100", "50", frozenset({"team"})),
        ("add_ons.pack.credit_grants.pack.amount", "100", "200", NOBODY),
    ]
    numbers = next_plan_versions(compiled_credits(), compiled_credits(("amount: 5}", "amount: 6}")))
    assert numbers == {"free": 2, "pro": 1, "team": 1}


def test_how_a_feature_is_paid_is_a_change() -> None:
    (change,) = changes(
        ("tokens: {credits: {type: ai, kind: soft}}", "tokens: unlimited"),
        (", {credits: ai, per_unit: 0.02, per: 1}", ""),
        (", {credits: ai, per_unit: 0.018, per: 1}", ""),
    )[:1]
    assert change.path == "plans.pro.features.tokens"
    assert (change.before, change.after) == ("credits: ai soft", "unlimited")


def test_a_price_of_credits_is_told_by_the_credit() -> None:
    found = changes(("per_unit: 0.02, per: 1}", "per_unit: 3, per: 100}"))
    assert [(change.path, change.before, change.after) for change in found][:2] == [
        ("plans.pro.prices.USD.credits[ai].per_unit", "0.02", "3"),
        ("plans.pro.prices.USD.credits[ai].per", "", "100"),
    ]


def test_a_partner_app_touches_no_customer() -> None:
    found = changes(
        ("platform_percent: 12.5", "platform_percent: 12"),
        ("{id: d, limit: 1,", "{id: d, limit: 2,"),
        ("permissions: [own_domain, calls]", "permissions: [calls]"),
    )
    path = "partner_apps.sheets"
    assert [(change.path, change.before, change.after) for change in found] == [
        (f"{path}.permissions", "calls, own_domain", "calls"),
        (f"{path}.quotas.calls.per_customer.d.limit", "1", "2"),
        (f"{path}.shares.sales[USD].tiers.2000", "12.5", "12"),
    ]
    assert not any(change.plans or change.add_ons for change in found)


def test_what_is_not_enforced_yet_is_told() -> None:
    told = list(notices(compiled_credits()))
    assert [text.split(" are ")[0] for text in told] == ["partner apps"]


@pytest.mark.parametrize(
    "pairs",
    [
        (("    worth: {USD: 0.01, EUR: 0.009}\n", ""),),
        (("cost: 4.5", "cost: 0"),),
        (("monthly_cap: 5000\n", "monthly_cap: 900\n"),),
        (("platform_percent: 10}", "platform_percent: 100}"),),
        (("[own_domain, calls]", "[calls]"), ("window: year", "window: lifetime")),
    ],
)
def test_edges_that_are_valid(pairs: tuple[tuple[str, str], ...]) -> None:
    load_document(recredited(*pairs), "mail.yaml")
