"""What customers get: plans, add-ons, overrides, and when that changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
)
from weighbridge.rules.decision import Reason
from weighbridge.rules.entitlement import (
    Grant,
    NoGrant,
    PlanCompiler,
    grant_of,
    with_add_ons,
    with_overrides,
)
from weighbridge.rules.units import AMOUNT_MAX, COUNTER_MAX, QUANTITY_MAX
from weighbridge.rules.window import Period, Window, WindowKind

MONTH = Window(WindowKind.CALENDAR, Period.MONTH)
DAY = Window(WindowKind.CALENDAR, Period.DAY)
WINDOWS = {"month": MONTH, "day": DAY}


def limit(name: str, size: int | None, kind: LimitKind = LimitKind.HARD) -> Limit:
    return Limit(name, kind, size, WINDOWS[name])


def calls(*limits: Limit) -> Entitlement:
    return Entitlement("calls", limits=limits)


def granting(*entitlements: Entitlement) -> dict[str, Entitlement]:
    return {entitlement.feature: entitlement for entitlement in entitlements}


def add_on(*entitlements: Entitlement, name: str = "pack") -> AddOn:
    return AddOn(name, name.title(), granting(*entitlements))


def override(entitlement: Entitlement, **changes: object) -> Override:
    made = Override(f"override-{entitlement.feature}", "", entitlement)
    return replace(made, **changes)  # type: ignore[arg-type]


def subscription(**changes: object) -> Subscription:
    made = Subscription("s1", "", "pro", None, (), SubscriptionStatus.ACTIVE, 0, 0)
    return replace(made, **changes)  # type: ignore[arg-type]


def customer(*subscriptions: Subscription, **changes: object) -> Customer:
    made = Customer("acme", 1, CustomerStatus.ACTIVE, "shop", subscriptions=subscriptions)
    return replace(made, **changes)  # type: ignore[arg-type]


def plan(name: str, version: int, *entitlements: Entitlement) -> PlanVersion:
    return PlanVersion(name, version, name.title(), granting(*entitlements))


CATALOG = Catalog(
    id="shop",
    version=1,
    features={"calls": Feature("calls", FeatureType.METERED)},
    plans={
        "pro": {
            1: plan("pro", 1, calls(limit("month", 100))),
            3: plan("pro", 3, calls(limit("month", 300))),
        },
        "retired": {},
    },
    add_ons={"pack": add_on(calls(limit("month", 50)))},
)

# Sums, over every shape of entitlement.

numbers = st.one_of(st.none(), st.integers(0, 100))
value_sets = st.lists(st.sampled_from(["eu", "us", "ap"]), unique=True).map(tuple)
limit_sets = st.one_of(
    st.just(()),
    st.builds(lambda month, day: (limit("month", month), limit("day", day)), numbers, numbers),
)
features = st.fixed_dictionaries(
    {},
    optional={
        "sso": st.just(Entitlement("sso")),
        "size": st.builds(lambda number: Entitlement("size", number=number), numbers),
        "region": st.builds(lambda values: Entitlement("region", values=values), value_sets),
        "calls": st.builds(lambda limits: calls(*limits), limit_sets),
    },
)
add_ons = st.builds(lambda granted: AddOn("pack", "Pack", granted), features)
quantities = st.integers(1, 5)


def without_order(entitlements: object) -> object:
    assert isinstance(entitlements, dict)
    return {
        name: replace(
            one,
            values=tuple(sorted(one.values)),
            limits=tuple(sorted(one.limits, key=lambda x: x.id)),
        )
        for name, one in entitlements.items()
    }


@given(features, st.lists(st.tuples(add_ons, quantities), max_size=4), st.randoms())
def test_the_order_of_add_ons_does_not_matter(
    base: dict[str, Entitlement], bought: list[tuple[AddOn, int]], random: object
) -> None:
    shuffled = bought.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert without_order(with_add_ons(base, bought)) == without_order(with_add_ons(base, shuffled))


@given(features, add_ons, quantities, quantities)
def test_a_quantity_is_that_many_add_ons(
    base: dict[str, Entitlement], one: AddOn, first: int, second: int
) -> None:
    together = with_add_ons(base, [(one, first + second)])

    assert together == with_add_ons(base, [(one, first), (one, second)])
    assert together == with_add_ons(with_add_ons(base, [(one, first)]), [(one, second)])


@given(features, add_ons, quantities)
def test_an_add_on_never_takes_anything(
    base: dict[str, Entitlement], one: AddOn, quantity: int
) -> None:
    merged = with_add_ons(base, [(one, quantity)])

    assert base.keys() | one.entitlements.keys() == merged.keys()
    for name, before in base.items():
        after = merged[name]
        assert set(before.values) <= set(after.values)
        assert after.number is None or (before.number is not None and after.number >= before.number)
        sizes = {each.id: each.limit for each in before.limits}
        for each in after.limits:
            size = sizes[each.id]
            assert each.limit is None or (size is not None and each.limit >= size)


@given(features, st.lists(features, max_size=3))
def test_overriding_twice_is_overriding_once(
    base: dict[str, Entitlement], overriding: list[dict[str, Entitlement]]
) -> None:
    overrides = [override(one) for each in overriding for one in each.values()]
    once = with_overrides(base, overrides)

    assert with_overrides(once, overrides) == once
    assert with_overrides(base, [*overrides, *overrides]) == once


@given(features, st.lists(st.tuples(add_ons, quantities), max_size=3))
def test_merging_changes_no_argument(
    base: dict[str, Entitlement], bought: list[tuple[AddOn, int]]
) -> None:
    before = dict(base)
    with_add_ons(base, bought)
    with_overrides(base, [override(one) for one in base.values()])

    assert base == before


def test_an_add_on_brings_what_the_plan_lacks_whole() -> None:
    brought = calls(limit("month", 5, LimitKind.SOFT))

    assert with_add_ons({}, [(add_on(brought), 1)]) == granting(brought)
    assert with_add_ons(granting(Entitlement("calls", enabled=False)), [(add_on(brought), 1)]) == (
        granting(brought)
    )
    assert with_add_ons({}, [(add_on(brought), 3)])["calls"].limits[0].limit == 15


def test_limits_with_the_same_id_are_summed_and_others_kept() -> None:
    base = granting(calls(limit("month", 100), limit("day", 10)))
    merged = with_add_ons(base, [(add_on(calls(limit("month", 50))), 2)])

    assert merged["calls"].limits == (limit("month", 200), limit("day", 10))


def test_a_limit_the_plan_lacks_joins_its_others() -> None:
    merged = with_add_ons(
        granting(calls(limit("month", 100))), [(add_on(calls(limit("day", 5))), 1)]
    )

    assert merged["calls"].limits == (limit("month", 100), limit("day", 5))


@pytest.mark.parametrize(
    ("base", "added"),
    [
        (calls(limit("month", None)), calls(limit("month", 5))),
        (calls(limit("month", 5)), calls(limit("month", None))),
    ],
)
def test_an_unlimited_limit_stays_so(base: Entitlement, added: Entitlement) -> None:
    assert with_add_ons(granting(base), [(add_on(added), 2)])["calls"].limits == (
        limit("month", None),
    )


def test_an_unlimited_feature_stays_so_whoever_brings_it() -> None:
    limited = calls(limit("month", 5))

    assert with_add_ons(granting(calls()), [(add_on(limited), 1)]) == granting(calls())
    assert with_add_ons(granting(limited), [(add_on(calls()), 1)]) == granting(calls())


def test_numbers_are_summed_and_values_united() -> None:
    base = granting(Entitlement("size", number=10), Entitlement("region", values=("eu",)))
    more = add_on(Entitlement("size", number=5), Entitlement("region", values=("us", "eu")))

    merged = with_add_ons(base, [(more, 2)])

    assert merged["size"].number == 20
    assert merged["region"].values == ("eu", "us")


def test_sums_stay_within_what_a_counter_holds() -> None:
    most = granting(calls(limit("month", AMOUNT_MAX)), Entitlement("size", number=AMOUNT_MAX))
    merged = with_add_ons(most, [(AddOn("pack", "Pack", most), QUANTITY_MAX)])

    assert merged["calls"].limits[0].limit == COUNTER_MAX
    assert merged["size"].number == COUNTER_MAX


def test_an_override_replaces_the_limits_it_names() -> None:
    base = granting(calls(limit("month", 100), limit("day", 10)), Entitlement("size", number=3))
    own = [override(calls(limit("month", 900))), override(Entitlement("size", number=1))]

    merged = with_overrides(base, own)

    assert merged["calls"].limits == (limit("month", 900), limit("day", 10))
    assert merged["size"].number == 1


def test_an_override_may_bring_a_feature_or_a_limit() -> None:
    assert with_overrides({}, [override(calls(limit("month", 1)))]) == granting(
        calls(limit("month", 1))
    )
    base = granting(calls(limit("month", 100)))
    merged = with_overrides(base, [override(calls(limit("day", 5)))])
    assert merged["calls"].limits == (limit("month", 100), limit("day", 5))


def test_an_override_without_limits_is_unlimited() -> None:
    assert with_overrides(granting(calls(limit("month", 1))), [override(calls())]) == granting(
        calls()
    )


def test_an_override_may_take_a_feature_away() -> None:
    taken = Entitlement("calls", enabled=False)

    assert with_overrides(granting(calls(limit("month", 1))), [override(taken)]) == granting(taken)


def test_the_later_override_wins() -> None:
    own = [override(Entitlement("size", number=number)) for number in (1, 2)]

    assert with_overrides({}, own)["size"].number == 2


def granted(who: Customer, at_ms: int = 10, resource: str = "") -> Grant:
    grant = grant_of(PlanCompiler(CATALOG), who, resource, at_ms)
    assert isinstance(grant, Grant)
    return grant


def not_granted(who: Customer, at_ms: int = 10, resource: str = "") -> NoGrant:
    grant = grant_of(PlanCompiler(CATALOG), who, resource, at_ms)
    assert isinstance(grant, NoGrant)
    return grant


def month_limit(grant: Grant) -> int | None:
    return grant.entitlements["calls"].limits[0].limit


def test_a_subscription_follows_or_keeps_its_plan_version() -> None:
    assert month_limit(granted(customer(subscription()))) == 300
    assert month_limit(granted(customer(subscription(plan_version=1)))) == 100


def test_add_ons_and_overrides_come_on_top() -> None:
    with_pack = subscription(add_ons=(SubscribedAddOn("pack", 2), SubscribedAddOn("gone", 1)))
    assert month_limit(granted(customer(with_pack))) == 400

    own = override(calls(limit("month", 7)))
    assert month_limit(granted(customer(with_pack, overrides=(own,)))) == 7


def test_equal_purchases_are_compiled_once() -> None:
    compiler = PlanCompiler(CATALOG)
    first = grant_of(compiler, customer(subscription()), "", 10)
    second = grant_of(compiler, customer(subscription(id="s2"), id="other"), "", 10)

    assert isinstance(first, Grant)
    assert isinstance(second, Grant)
    assert first.entitlements is second.entitlements


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (CustomerStatus.REVOKED, Reason.REVOKED),
        (CustomerStatus.ARCHIVED, Reason.CUSTOMER_ARCHIVED),
    ],
)
def test_a_customer_who_is_not_active_has_nothing(status: CustomerStatus, reason: Reason) -> None:
    assert not_granted(customer(subscription(), status=status)).reason is reason


@pytest.mark.parametrize(
    "subscriptions",
    [
        (),
        (subscription(status=SubscriptionStatus.CANCELED),),
        (subscription(starts_at_ms=11),),
        (subscription(ends_at_ms=10),),
        (subscription(plan="unheard-of"),),
        (subscription(plan="retired"),),
        (subscription(plan_version=2),),
        (subscription(resource="other"),),
    ],
)
def test_without_a_subscription_there_is_nothing(subscriptions: tuple[Subscription, ...]) -> None:
    reason = not_granted(customer(*subscriptions, resources=("other",))).reason

    assert reason is Reason.NO_ACTIVE_SUBSCRIPTION


def test_a_resource_has_a_subscription_and_overrides_of_its_own() -> None:
    who = customer(
        subscription(),
        subscription(id="s2", resource="west", plan_version=1),
        resources=("west", "east"),
        overrides=(override(calls(limit("month", 7))),),
    )

    assert month_limit(granted(who)) == 7
    assert month_limit(granted(who, resource="west")) == 100
    assert not_granted(who, resource="east").reason is Reason.NO_ACTIVE_SUBSCRIPTION
    assert not_granted(who, resource="north").reason is Reason.RESOURCE_UNKNOWN


def test_what_is_granted_changes_at_the_instants_it_names() -> None:
    who = customer(
        subscription(id="s1", plan_version=1, starts_at_ms=100, ends_at_ms=200),
        subscription(id="s2", starts_at_ms=200),
        subscription(id="s3", resource="west", starts_at_ms=120),
        overrides=(override(calls(limit("month", 7)), starts_at_ms=150, expires_at_ms=160),),
    )
    compiler = PlanCompiler(CATALOG)
    seen: list[tuple[int, object]] = []
    at_ms: int | None = 0
    while at_ms is not None:
        grant = grant_of(compiler, who, "", at_ms)
        seen.append((at_ms, month_limit(grant) if isinstance(grant, Grant) else grant.reason))
        at_ms = grant.changes_at_ms

    assert seen == [
        (0, Reason.NO_ACTIVE_SUBSCRIPTION),
        (100, 100),
        (150, 7),
        (160, 100),
        (200, 300),
    ]


edges = st.one_of(st.none(), st.integers(0, 12))


@given(
    st.lists(st.builds(lambda a, b: subscription(starts_at_ms=a or 0, ends_at_ms=b), edges, edges)),
    st.lists(
        st.builds(
            lambda a, b, size: override(
                calls(limit("month", size)), starts_at_ms=a, expires_at_ms=b
            ),
            edges,
            edges,
            numbers,
        )
    ),
    st.integers(0, 12),
)
def test_nothing_changes_before_the_instant_it_names(
    subscriptions: list[Subscription], overrides: list[Override], at_ms: int
) -> None:
    who = customer(*subscriptions, overrides=tuple(overrides))
    compiler = PlanCompiler(CATALOG)
    grant = grant_of(compiler, who, "", at_ms)
    until_ms = 20 if grant.changes_at_ms is None else grant.changes_at_ms

    assert until_ms > at_ms
    for later_ms in range(at_ms, until_ms):
        assert grant_of(compiler, who, "", later_ms) == grant
