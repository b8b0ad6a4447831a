"""How money is parted between partner and platform: exactly, by tier, rounded once."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.revenue_share import RevenueShare, ShareBase, ShareTier, Split, split
from weighbridge.rules.window import Window, WindowKind

USD = Currency("USD", 2)
EVER = Window(WindowKind.LIFETIME)

percents = st.integers(0, 10_000).map(lambda hundredths: Decimal(hundredths) / 100)
currencies = st.sampled_from([USD, Currency("JPY", 0), Currency("BHD", 3)])
amounts = st.integers(0, 10**9)


def share(*tiers: tuple[int | None, str], fixed_minor: int = 0) -> RevenueShare:
    parts = tuple(ShareTier(bound, Decimal(percent)) for bound, percent in tiers)
    return RevenueShare(ShareBase.SALES, USD, parts, EVER, fixed_minor)


@st.composite
def shares(draw: st.DrawFn) -> RevenueShare:
    bounds = sorted(draw(st.sets(st.integers(1, 10**9), max_size=4)))
    tiers = tuple(ShareTier(bound, draw(percents)) for bound in (*bounds, None))
    fixed_minor = draw(st.integers(0, 100))
    return RevenueShare(ShareBase.SALES, draw(currencies), tiers, EVER, fixed_minor)


@given(shares(), amounts, amounts, st.integers(0, 5))
def test_the_two_parts_are_the_amount(
    of: RevenueShare, amount: int, volume: int, transactions: int
) -> None:
    parted = split(of, amount, volume, transactions)
    assert parted.partner_minor + parted.platform_minor == amount
    assert parted.partner_minor >= 0
    assert parted.platform_minor >= 0


@given(shares(), amounts, amounts)
def test_the_platform_keeps_what_fractions_say(of: RevenueShare, amount: int, volume: int) -> None:
    kept, reached = Fraction(0), volume
    for tier in of.tiers:
        bound = volume + amount if tier.up_to_minor is None else tier.up_to_minor
        held = max(0, min(bound, volume + amount) - reached)
        kept += held * Fraction(tier.platform_percent) / 100
        reached += held
    rounded = int(kept + Fraction(1, 2))
    assert split(of, amount, volume).platform_minor == min(amount, rounded + of.fixed_minor)


@given(shares(), amounts, amounts, amounts)
def test_two_sales_are_parted_like_one_to_one_minor_unit(
    of: RevenueShare, one: int, other: int, volume: int
) -> None:
    plain = RevenueShare(of.base, of.currency, of.tiers, of.window)
    together = split(plain, one + other, volume).platform_minor
    first, second = split(plain, one, volume), split(plain, other, volume + one)
    assert abs(first.platform_minor + second.platform_minor - together) <= 1


def test_tiers_are_marginal_and_bounds_belong_to_the_tier_before() -> None:
    tiered = share((1_000, "20"), (None, "10"))
    assert split(tiered, 1_000).platform_minor == 200
    assert split(tiered, 1_001).platform_minor == 200
    assert split(tiered, 2_000).platform_minor == 300
    assert split(tiered, 2_000, 500).platform_minor == 250
    assert split(tiered, 100, 5_000).platform_minor == 10


def test_a_tie_goes_to_the_platform_and_a_fixed_part_takes_at_most_all() -> None:
    assert split(share((None, "50")), 1) == Split(0, 1)
    assert split(share((None, "15"), fixed_minor=30), 10_000) == Split(8_470, 1_530)
    assert split(share((None, "15"), fixed_minor=30), 20) == Split(0, 20)
    assert split(share((None, "0"), fixed_minor=30), 10_000, transactions=3) == Split(9_910, 90)
    assert split(share((None, "0"), fixed_minor=30), 0) == Split(0, 0)


def test_a_reversal_undoes_what_was_parted() -> None:
    assert split(share((None, "15"), fixed_minor=30), 10_000).reversal() == Split(-8_470, -1_530)


def test_values_out_of_range_are_refused() -> None:
    sound = share((None, "10"))
    for build, field in (
        (lambda: share((5, "1")), "tiers[0].up_to"),
        (lambda: share((5, "1"), (5, "1"), (None, "1")), "tiers[1].up_to"),
        (lambda: share((None, "100.01")), "platform_percent"),
        (lambda: share((None, "1"), fixed_minor=-1), "fixed_per_transaction"),
        (lambda: split(sound, -1), "amount"),
        (lambda: split(sound, 1, -1), "volume"),
        (lambda: split(sound, 1, 0, -1), "transactions"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            build()
        assert caught.value.field == field
