"""Add-ons add and overrides replace, whatever they meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_values import add_on, calls, granting, limit, numbers, override

from weighbridge.rules.catalog import AddOn, Entitlement, LimitKind
from weighbridge.rules.entitlement import with_add_ons, with_overrides
from weighbridge.rules.rate import Rate, RatePeriod
from weighbridge.rules.units import AMOUNT_MAX, COUNTER_MAX, QUANTITY_MAX

value_sets = st.lists(st.sampled_from(["eu", "us", "ap"]), unique=True).map(tuple)
limit_sets = st.one_of(
    st.just(()),
    st.builds(lambda month, day: (limit("month", month), limit("day", day)), numbers, numbers),
)
rate_sets = st.lists(
    st.builds(
        Rate,
        st.sampled_from(["one", "two"]),
        st.integers(1, 9),
        st.just(RatePeriod.SECOND),
        st.integers(1, 9),
    ),
    max_size=2,
    unique_by=lambda rate: rate.id,
).map(tuple)
features = st.fixed_dictionaries(
    {},
    optional={
        "sso": st.just(Entitlement("sso")),
        "size": st.builds(lambda number: Entitlement("size", number=number), numbers),
        "region": st.builds(lambda values: Entitlement("region", values=values), value_sets),
        "calls": st.builds(
            lambda limits, rates: replace(calls(*limits), rates=rates), limit_sets, rate_sets
        ),
    },
)
add_ons = st.builds(lambda granted: AddOn("pack", "Pack", granted), features)
quantities = st.integers(1, 5)


def without_order(entitlements: Mapping[str, Entitlement]) -> dict[str, Entitlement]:
    return {
        name: replace(
            one,
            values=tuple(sorted(one.values)),
            limits=tuple(sorted(one.limits, key=lambda x: x.id)),
            rates=tuple(sorted(one.rates, key=lambda x: x.id)),
        )
        for name, one in entitlements.items()
    }


@given(features, st.lists(st.tuples(add_ons, quantities), max_size=4), st.randoms())
def test_the_order_of_add_ons_does_not_matter(
    base: dict[str, Entitlement], bought: list[tuple[AddOn, int]], random: Random
) -> None:
    shuffled = bought.copy()
    random.shuffle(shuffled)

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
