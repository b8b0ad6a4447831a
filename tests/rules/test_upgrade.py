"""Upgrade hints name what would have allowed the call, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    Customer,
    CustomerStatus,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    LimitKind,
    Override,
    PlanVersion,
    SubscribedAddOn,
    Subscription,
    SubscriptionStatus,
    UpgradeOffer,
)
from weighbridge.rules.decision import LimitState, UpgradeHint
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.granting import Grant, grant_of
from weighbridge.rules.upgrade import Question, upgrade_hints
from weighbridge.rules.window import Period, Window, WindowKind, window_bounds

NOW_MS = 1_700_000_000_000
MONTH = Window(WindowKind.CALENDAR, Period.MONTH)
DAY = Window(WindowKind.CALENDAR, Period.DAY)
OFFER = UpgradeOffer("Talk to us", "https://example.com/plans")


def calls(size: int | None, window: Window = MONTH) -> Entitlement:
    return Entitlement("calls", limits=(Limit("calls", LimitKind.HARD, size, window),))


def plan(name: str, *entitlements: Entitlement, upgrades_to: tuple[str, ...] = ()) -> PlanVersion:
    granted = {one.feature: one for one in entitlements}
    return PlanVersion(name, 1, name.title(), granted, upgrades_to, OFFER)


PLANS = [
    plan("free", calls(10), Entitlement("size", number=1), upgrades_to=("team", "gone", "pro")),
    plan(
        "team",
        calls(100),
        Entitlement("size", number=5),
        Entitlement("sso", enabled=False),
        upgrades_to=("pro", "free"),
    ),
    plan("pro", calls(None), Entitlement("sso"), Entitlement("region", values=("eu", "us"))),
]
ADD_ONS = [
    AddOn("pack", "Pack", {"calls": calls(20)}, offer=OFFER),
    AddOn("team-pack", "Team pack", {"calls": calls(1_000)}, plans=("team",)),
    AddOn("login", "Login", {"sso": Entitlement("sso")}),
]
CATALOG = Catalog(
    "shop",
    1,
    {
        "calls": Feature("calls", FeatureType.METERED),
        "size": Feature("size", FeatureType.NUMBER),
        "sso": Feature("sso", FeatureType.BOOLEAN),
        "region": Feature("region", FeatureType.ENUM, values=("eu", "us")),
    },
    {one.plan: {1: one} for one in PLANS},
    {one.id: one for one in ADD_ONS},
)


def granted(
    on: str = "free",
    overrides: tuple[Override, ...] = (),
    add_ons: tuple[SubscribedAddOn, ...] = (),
) -> Grant:
    subscription = Subscription("s1", "", on, None, add_ons, SubscriptionStatus.ACTIVE, 0, 0)
    customer = Customer(
        "acme", 1, CustomerStatus.ACTIVE, "shop", subscriptions=(subscription,), overrides=overrides
    )
    grant = grant_of(PlanCompiler(CATALOG), customer, "", NOW_MS)
    assert isinstance(grant, Grant)
    return grant


def hinted(grant: Grant, question: Question) -> list[str]:
    hints = upgrade_hints(PlanCompiler(CATALOG), grant, question)
    return [hint.plan or f"+{hint.add_on}" for hint in hints]


def metered(grant: Grant, amount: int | None, used: int) -> Question:
    entitlement = grant.entitlements["calls"]
    states = [
        LimitState(limit, window_bounds(limit.window, NOW_MS, 0), used)
        for limit in entitlement.limits
    ]
    return Question("calls", FeatureType.METERED, amount, "", states, NOW_MS)


def plain(feature: str, amount: int | None = None, value: str = "") -> Question:
    return Question(feature, CATALOG.features[feature].type, amount, value, (), NOW_MS)


@pytest.mark.parametrize(
    ("amount", "used", "expected"),
    [
        (None, 10, ["+pack", "team", "pro"]),
        (1, 29, ["+pack", "team", "pro"]),
        (1, 30, ["team", "pro"]),
        (50, 10, ["team", "pro"]),
        (91, 10, ["pro"]),
    ],
)
def test_usage_so_far_counts_under_the_upgrade(
    amount: int | None, used: int, expected: list[str]
) -> None:
    grant = granted()

    assert hinted(grant, metered(grant, amount, used)) == expected


def test_hints_carry_name_and_offer() -> None:
    grant = granted()
    hints = upgrade_hints(PlanCompiler(CATALOG), grant, metered(grant, 1, 10))

    assert hints[0] == UpgradeHint("", "pack", "Pack", OFFER)
    assert hints[1] == UpgradeHint("team", "", "Team", OFFER)


def test_an_add_on_is_hinted_only_for_plans_it_suits() -> None:
    grant = granted("team")

    assert hinted(grant, metered(grant, 500, 0)) == ["+team-pack", "pro"]


def test_one_more_of_an_add_on_that_is_bought_counts() -> None:
    grant = granted(add_ons=(SubscribedAddOn("pack", 1),))

    assert "+pack" in hinted(grant, metered(grant, 1, 30))


def test_a_feature_outside_the_plan_is_hinted_where_it_is_granted() -> None:
    assert hinted(granted(), plain("sso")) == ["+login", "pro"]


def test_numbers_and_values_are_compared() -> None:
    assert hinted(granted(), plain("size", amount=3)) == ["team"]
    assert hinted(granted(), plain("size", amount=9)) == []
    assert hinted(granted(), plain("region", value="us")) == ["pro"]
    assert hinted(granted(), plain("region", value="ap")) == []


def test_plans_that_lead_back_end() -> None:
    assert hinted(granted("team"), plain("size", amount=1)) == ["free"]


def test_usage_of_another_window_starts_from_zero() -> None:
    daily = plan("daily", calls(10, DAY))
    monthly = replace(PLANS[0], upgrades_to=("daily",))
    catalog = replace(CATALOG, plans={"free": {1: monthly}, "daily": {1: daily}}, add_ons={})
    grant = granted()._replace(plan=monthly)

    hints = upgrade_hints(PlanCompiler(catalog), grant, metered(grant, 5, 10))

    assert [hint.plan for hint in hints] == ["daily"]


def test_what_an_override_takes_away_no_upgrade_brings() -> None:
    taken = Override("o1", "", Entitlement("sso", enabled=False))

    assert hinted(granted(overrides=(taken,)), plain("sso")) == []


def test_an_overridden_limit_stays_after_the_upgrade() -> None:
    own = Override("o1", "", calls(3))
    grant = granted(overrides=(own,))

    assert hinted(grant, metered(grant, 1, 3)) == []


def test_an_override_of_another_feature_stands_in_no_way() -> None:
    own = Override("o1", "", Entitlement("size", number=2))

    assert hinted(granted(overrides=(own,)), plain("sso")) == ["+login", "pro"]
