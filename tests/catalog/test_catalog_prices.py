"""What prices compile to, what is inherited, and what a diff of them tells."""

from __future__ import annotations

from decimal import Decimal

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st
from price_samples import compiled_prices

from control_plane.catalog import ChangeKind, diff_catalogs, next_plan_versions
from control_plane.catalog.currencies import find_currency
from weighbridge.rules.catalog import Catalog, PlanVersion
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.prices import (
    CommitmentPrice,
    Counted,
    FeePercentagePrice,
    FlatPrice,
    MinimumPrice,
    PercentagePrice,
    Proration,
    QuantityPrice,
    prices_in,
)
from weighbridge.rules.rating.tiers import Package, Tier, TierMode, TierTable, UnitRate
from weighbridge.rules.window import Period

USD = Currency("USD", 2)
FLAT = "        - {flat: 10.00}\n"


def plan_of(catalog: Catalog, id_: str) -> PlanVersion:
    plan = catalog.plan(id_)
    assert plan is not None
    return plan


def test_fees_and_guarantees_compile_to_their_values() -> None:
    prices = plan_of(compiled_prices(), "pro").prices
    assert (prices[0], *prices[6:]) == (
        FlatPrice(key="flat", currency=USD, amount=Decimal(10)),
        QuantityPrice(
            key="discount",
            currency=USD,
            rate=TierTable(
                TierMode.VOLUME, (Tier(10, Decimal(3)), Tier(None, Decimal(0), Decimal(1)))
            ),
            counted=Counted.SEATS,
        ),
        MinimumPrice(key="minimum", currency=USD, amount=Decimal(20)),
        CommitmentPrice(key="commitment[bytes]", currency=USD, amount=Decimal(30), feature="bytes"),
        FlatPrice(
            key="support",
            currency=USD,
            amount=Decimal(100),
            feature="own_domain",
            every=Period.YEAR,
        ),
    )
    assert compiled_prices().add_ons["half"].prices == (
        FeePercentagePrice(key="percent_of_fees", currency=USD, percent=Decimal(50)),
    )


def test_prices_by_quantity_and_percentage_compile_to_their_values() -> None:
    assert plan_of(compiled_prices(), "pro").prices[1:6] == (
        QuantityPrice(
            key="per_seat",
            currency=USD,
            rate=UnitRate(Decimal(5)),
            counted=Counted.SEATS,
            included=2,
        ),
        QuantityPrice(
            key="mails",
            currency=USD,
            rate=UnitRate(Decimal("0.4"), 1000),
            feature="mails",
            past_limit="month",
        ),
        QuantityPrice(
            key="bytes",
            currency=USD,
            rate=TierTable(
                TierMode.GRADUATED,
                (Tier(100), Tier(200, Decimal(7), Decimal(1)), Tier(None, Decimal("5.6"))),
                1000,
            ),
            feature="bytes",
            included=10,
            included_per_seat=5,
        ),
        QuantityPrice(
            key="bytes[class=a, region=eu]",
            currency=USD,
            rate=Package(Decimal("2.5"), 100),
            feature="bytes",
            match=(("class", "a"), ("region", "eu")),
        ),
        PercentagePrice(
            key="sales",
            currency=USD,
            percent=Decimal("2.9"),
            feature="sales",
            flat=Decimal("0.3"),
            cap=Decimal(5),
        ),
    )


@given(st.decimals(0, 10**15, places=18) | st.decimals(0, 100, places=2), st.booleans())
def test_digits_are_taken_as_written(amount: Decimal, is_text: bool) -> None:
    written = f'"{amount:f}"' if is_text else f"{amount:f}"
    catalog = compiled_prices((FLAT, f"        - {{flat: {written}}}\n"))
    price = plan_of(catalog, "pro").prices[0]
    assert isinstance(price, FlatPrice)
    assert price.amount == amount
    assert type(price.amount) is Decimal


@pytest.mark.parametrize("written", ["0.1", ".1", "1.0e-1", '"0.1"', "0.10"])
def test_ways_to_write_a_tenth(written: str) -> None:
    catalog = compiled_prices((FLAT, f"        - {{flat: {written}}}\n"))
    assert plan_of(catalog, "pro").prices[0] == FlatPrice(
        key="flat", currency=USD, amount=Decimal("0.1")
    )


def test_prices_and_proration_are_inherited_whole() -> None:
    catalog = compiled_prices()
    assert plan_of(catalog, "free").prices == ()
    assert plan_of(catalog, "free").proration is Proration.TIME
    assert plan_of(catalog, "team").prices == plan_of(catalog, "pro").prices
    assert plan_of(catalog, "team").proration is Proration.DIFFERENCE
    own = compiled_prices(
        ("extends: pro\n", "extends: pro\n    prices: {USD: [{flat: 1}]}\n    proration: none\n")
    )
    assert [price.key for price in plan_of(own, "team").prices] == ["flat"]
    assert plan_of(own, "team").proration is Proration.NONE
    none = compiled_prices(("extends: pro\n", "extends: pro\n    prices: {}\n"))
    assert plan_of(none, "team").prices == ()


def test_a_plan_has_its_prices_in_each_currency() -> None:
    lists = (
        "    prices:\n      USD: [{flat: 10}]\n      EUR: [{flat: 9}]\n      JPY: [{flat: 1500}]\n"
    )
    catalog = compiled_prices(
        ("extends: pro\n", f"extends: pro\n{lists}"),
    )
    prices = plan_of(catalog, "team").prices
    assert [price.currency for price in prices] == [
        Currency("EUR", 2),
        Currency("JPY", 0),
        Currency("USD", 2),
    ]
    assert [price.key for price in prices_in("JPY", prices)] == ["flat"]


def test_a_price_change_touches_the_customers_of_the_plan() -> None:
    found = diff_catalogs(compiled_prices(), compiled_prices(("flat: 10.00", "flat: 12")))
    assert [(c.path, c.before, c.after, c.plans) for c in found] == [
        ("plans.pro.prices.USD.flat.flat", "10", "12", frozenset({"pro"})),
        ("plans.team.prices.USD.flat.flat", "10", "12", frozenset({"team"})),
    ]


@pytest.mark.parametrize(
    ("old", "new", "path", "before", "after"),
    [
        ("per_unit: 0.40", "per_unit: 0.35", "mails.per_unit", "0.4", "0.35"),
        ("per: 1000, past", "per: 100, past", "mails.per", "1000", "100"),
        ("unit: 7.00", "unit: 6.50", "bytes.graduated.200", "7 + 1 flat", "6.5 + 1 flat"),
        ("unit: 5.60", "unit: 5", "bytes.graduated.rest", "5.6", "5"),
        ("size: 100", "size: 50", "bytes[class=a, region=eu].size", "100", "50"),
        ("cap: 5.00", "cap: 4", "sales.cap", "5", "4"),
        ("percent: 2.9", "percent: 3", "sales.percent", "2.9", "3"),
        ("{minimum: 20}", "{minimum: 25}", "minimum.minimum", "20", "25"),
        ("commitment: 30", "commitment: 40", "commitment[bytes].commitment", "30", "40"),
        ("included: 2}", "included: 3}", "per_seat.included", "2", "3"),
        ("included_per_seat: 5", "included_per_seat: 6", "bytes.included_per_seat", "5", "6"),
        ("every: year, ", "every: day, ", "support.every", "year", "day"),
        (
            "volume: [{up_to: 10, unit: 3}",
            "volume: [{up_to: 10, unit: 2}",
            "discount.volume.10",
            "3",
            "2",
        ),
    ],
)
def test_what_of_a_price_changed(old: str, new: str, path: str, before: str, after: str) -> None:
    found = diff_catalogs(compiled_prices(), compiled_prices((old, new)))
    assert [(c.path, c.before, c.after, c.kind) for c in found if c.plans == {"pro"}] == [
        (f"plans.pro.prices.USD.{path}", before, after, ChangeKind.CHANGED)
    ]


def test_prices_more_and_less() -> None:
    before, without = compiled_prices(), compiled_prices((FLAT, ""))
    removed = diff_catalogs(before, without)[0]
    assert (removed.path, removed.kind) == ("plans.pro.prices.USD.flat", ChangeKind.REMOVED)
    assert (removed.before, removed.plans) == ("flat: 10", frozenset({"pro"}))
    (added,) = diff_catalogs(
        before, compiled_prices(("  free:\n", "  free:\n    prices: {USD: [{flat: 0}]}\n"))
    )
    assert (added.path, added.kind) == ("plans.free.prices", ChangeKind.ADDED)
    assert (added.after, added.plans) == ("USD: {flat: {flat: 0}}", frozenset({"free"}))


def test_prices_of_add_ons_and_proration_are_shown() -> None:
    (change,) = diff_catalogs(compiled_prices(), compiled_prices(("{flat: 3}", "{flat: 4}")))
    assert change.path == "add_ons.more_mails.prices.USD.flat.flat"
    assert change.add_ons == frozenset({"more_mails"})
    found = diff_catalogs(
        compiled_prices(), compiled_prices(("proration: difference", "proration: none"))
    )
    assert [(c.path, c.before, c.after) for c in found] == [
        ("plans.pro.proration", "difference", "none"),
        ("plans.team.proration", "difference", "none"),
    ]


def test_zeros_at_the_end_are_no_change_and_neither_is_the_order() -> None:
    assert diff_catalogs(compiled_prices(), compiled_prices(("10.00", "10"))) == ()
    moved = compiled_prices(
        (FLAT, ""), ("        - {minimum: 20}\n", f"        - {{minimum: 20}}\n{FLAT}")
    )
    assert diff_catalogs(compiled_prices(), moved) == ()


def test_a_plan_s_number_moves_with_its_prices() -> None:
    before = compiled_prices()
    assert next_plan_versions(before, compiled_prices(("10.00", "10"))) == {
        "free": 1,
        "pro": 1,
        "team": 1,
    }
    for pair in (("flat: 10.00", "flat: 11"), ("proration: difference", "proration: time")):
        numbers = next_plan_versions(before, compiled_prices(pair))
        assert numbers == {"free": 1, "pro": 2, "team": 2}


@pytest.mark.parametrize(
    ("code", "exponent"), [("USD", 2), ("JPY", 0), ("BHD", 3), ("CLF", 4), ("IQD", 3), ("HUF", 2)]
)
def test_exponents_are_those_of_iso_4217(code: str, exponent: int) -> None:
    assert find_currency(code) == Currency(code, exponent)


@pytest.mark.parametrize("code", ["XAU", "XTS", "ZZZ", "usd", "", "Euro"])
def test_what_has_no_minor_unit_is_no_currency(code: str) -> None:
    assert find_currency(code) is None


def test_every_currency_of_the_table_is_found_or_has_no_minor_unit() -> None:
    for each in iso4217.Currency:
        assert (find_currency(each.code) is None) == (each.exponent is None)
