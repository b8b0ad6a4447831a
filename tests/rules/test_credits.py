"""What usage costs in credits, what is granted, and how credits merge into entitlements."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.catalog import AddOn, CreditDraw, Entitlement, Limit, LimitKind, Override
from weighbridge.rules.credits import (
    MICRO,
    MICRO_MAX,
    CreditCost,
    CreditGrant,
    CreditType,
    GrantEnd,
    GrantExpiry,
    GrantKind,
    MoneyRate,
    TopUp,
    Used,
    credit_cost,
    credits_of,
    grants_bought,
    micro_of,
    overage_usage,
)
from weighbridge.rules.entitlement import with_add_ons, with_overrides
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import Window, WindowKind

LARGE = (("model", "large"),)
LARGE_EU = (("model", "large"), ("region", "eu"))
AI = CreditType(
    "ai",
    costs={
        "tokens": (
            CreditCost("tokens", 25 * MICRO),
            CreditCost("tokens", 250 * MICRO, LARGE),
            CreditCost("tokens", 300 * MICRO, LARGE_EU),
        ),
        "calls": (CreditCost("calls", 3),),
    },
)
DRAW = CreditDraw("ai")
MONTH_LIMIT = Limit("life", LimitKind.HARD, 10, Window(WindowKind.LIFETIME))

receipts = st.lists(
    st.builds(
        Used,
        st.just("tokens"),
        st.integers(0, 10**9),
        st.sampled_from([(), LARGE, LARGE_EU, (("region", "eu"),)]),
    )
    | st.builds(Used, st.just("calls"), st.integers(0, 10**9), st.just(())),
    max_size=6,
)


def exact(receipt: list[Used]) -> Fraction:
    """Work a receipt out in fractions of a micro-credit."""
    of_tokens = {LARGE: 250, LARGE_EU: 300}
    return sum(
        (
            Fraction(used.amount * of_tokens.get(used.dimensions, 25))
            if used.feature == "tokens"
            else Fraction(used.amount * 3, MICRO)
            for used in receipt
        ),
        Fraction(0),
    )


@given(receipts)
def test_a_receipt_is_summed_exactly_and_rounded_once_up(receipt: list[Used]) -> None:
    assert credit_cost(AI, receipt) == ceil(exact(receipt))


@given(receipts, receipts)
def test_parts_cost_the_whole_or_a_micro_credit_more(one: list[Used], other: list[Used]) -> None:
    together = credit_cost(AI, [*one, *other])
    apart = credit_cost(AI, one) + credit_cost(AI, other)
    assert together <= apart <= together + 1


@given(receipts)
def test_the_order_of_a_receipt_changes_nothing(receipt: list[Used]) -> None:
    assert credit_cost(AI, receipt) == credit_cost(AI, receipt[::-1])


def test_usage_is_never_free_by_rounding_and_nothing_costs_nothing() -> None:
    assert credit_cost(AI, [Used("calls", 1)]) == 1
    assert credit_cost(AI, [Used("calls", 333_333)]) == 1
    assert credit_cost(AI, [Used("calls", 333_334)]) == 2
    assert credit_cost(AI, [Used("calls", 0)]) == 0
    assert credit_cost(AI, []) == 0


def test_the_cost_with_the_most_dimensions_is_meant() -> None:
    found = [AI.cost("tokens", dimensions) for dimensions in ((), LARGE, LARGE_EU)]
    assert [cost.micro for cost in found if cost] == [25 * MICRO, 250 * MICRO, 300 * MICRO]
    only_large = CreditType("ai", costs={"tokens": (CreditCost("tokens", 1, LARGE),)})
    assert only_large.cost("tokens", (("model", "small"),)) is None
    assert only_large.cost("calls") is None


@pytest.mark.parametrize(
    ("used", "problem"),
    [
        (Used("images", 1), "'images' has no cost in 'ai'"),
        (Used("images", 1, LARGE), "'images' with model=large has no cost in 'ai'"),
        (Used("tokens", -1), "-1 is negative"),
        (Used("tokens", COUNTER_MAX), "is too large"),
        (Used("tokens", 1, (("model", "a"), ("model", "b"))), "names one of them twice"),
    ],
)
def test_usage_without_a_cost_or_out_of_range_is_an_error(used: Used, problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match="^[a-z]+: .*" + problem.replace("(", "\\(")):
        credit_cost(AI, [used])


@given(st.integers(0, MICRO_MAX))
def test_micro_credits_and_credits_are_the_same(micro: int) -> None:
    assert micro_of(credits_of(micro)) == micro


def test_what_is_finer_than_a_micro_credit_is_none() -> None:
    assert micro_of(Decimal("0.0000001")) is None
    assert micro_of(Decimal("1.5")) == 1_500_000


def grant(id_: str, credits_: int, **more: object) -> CreditGrant:
    return CreditGrant(  # type: ignore[arg-type]
        id=id_, credit_type="ai", micro=credits_ * MICRO, kind=GrantKind.RECURRING, **more
    )


def test_grants_count_seats_and_pieces() -> None:
    plan = (grant("base", 10, per_seat=True, rollover_micro=5), grant("flat", 7))
    pack = (grant("pack", 100),)
    found = grants_bought(plan, [(pack, 3), ((grant("bonus", 1),), 1)], 4)
    assert [(each.id, each.micro // MICRO) for each in found] == [
        ("base", 40),
        ("flat", 7),
        ("pack", 300),
        ("bonus", 1),
    ]
    assert found[0].rollover_micro == 20
    assert not found[0].per_seat


@given(st.integers(1, 10**6), st.integers(1, COUNTER_MAX))
def test_grants_stay_within_what_counters_hold(seats: int, micro: int) -> None:
    plan = CreditGrant(
        id="a", credit_type="ai", micro=micro, kind=GrantKind.RECURRING, per_seat=True
    )
    (found,) = grants_bought([plan], [], seats)
    assert found.micro == min(micro * seats, COUNTER_MAX)


def test_values_out_of_range_are_refused() -> None:
    for build, field in (
        (lambda: CreditCost("tokens", -1), "cost"),
        (lambda: CreditCost("tokens", 1, LARGE_EU[::-1]), "match"),
        (lambda: CreditType("ai", decimals=7), "decimals"),
        (lambda: grant("a", 1, priority=1_001), "priority"),
        (lambda: grant("a", 1, rollover_micro=-1), "rollover_max"),
        (lambda: GrantExpiry(GrantEnd.AFTER_DAYS), "after_days"),
        (lambda: MoneyRate(Currency("USD", 2), Decimal(-1)), "amount"),
        (lambda: TopUp(credit_type="ai", threshold_micro=5, target_micro=5), "target"),
        (
            lambda: TopUp(credit_type="ai", threshold_micro=5, target_micro=6, monthly_cap_micro=0),
            "monthly_cap",
        ),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            build()
        assert caught.value.field == field


def test_credits_past_the_balance_are_usage_of_no_feature() -> None:
    usage = overage_usage("ai", 5)
    assert (usage.feature, usage.quantity) == ("credits ai", 5)


def entitlement(**more: object) -> Entitlement:
    return Entitlement("tokens", **more)  # type: ignore[arg-type]


def merged(plan: Entitlement | None, *added: Entitlement) -> Entitlement:
    add_ons = [(AddOn(f"a{n}", "", {"tokens": each}), 1) for n, each in enumerate(added)]
    return with_add_ons({} if plan is None else {"tokens": plan}, add_ons)["tokens"]


def test_add_ons_leave_what_pays_and_unlimited_lifts_it() -> None:
    paid = entitlement(credit=DRAW)
    limited = entitlement(limits=(MONTH_LIMIT,))
    assert merged(paid, limited) == paid
    assert merged(paid, paid) == paid
    assert merged(paid, entitlement()) == entitlement()
    assert merged(None, paid) == paid
    assert merged(None, limited, paid) == entitlement(limits=(MONTH_LIMIT,), credit=DRAW)


def test_overrides_leave_what_pays_unless_they_lift_every_bound() -> None:
    paid = {"tokens": entitlement(credit=DRAW)}
    limited = Override("o", "", entitlement(limits=(MONTH_LIMIT,)))
    assert with_overrides(paid, [limited])["tokens"].credit == DRAW
    assert with_overrides(paid, [Override("o", "", entitlement())])["tokens"].credit is None
