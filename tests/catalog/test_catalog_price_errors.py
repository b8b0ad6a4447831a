"""Every way prices can be wrong: one error with file, line and path."""

from __future__ import annotations

import pytest
from catalog_samples import error_of, line_with
from price_samples import repriced

from control_plane.catalog import load_document

USD = "plans.pro.prices.USD"
FLAT = "{flat: 10.00}"
TIERS = f"{USD}[3].graduated"
TEAM = "extends: pro\n"

# What is replaced by what; the path; the line that holds the text; a part of the problem.
CASES = {
    "negative price": (
        (FLAT, "{flat: -0.01}"),
        (f"{USD}[0].flat", "flat: -0.01", "-0.01 is negative; at least 0"),
    ),
    "negative text": (
        (FLAT, '{flat: "-5"}'),
        (f"{USD}[0].flat", '"-5"', "-5 is negative"),
    ),
    "negative tier": (
        ("unit: 7.00", "unit: -7.00"),
        (f"{TIERS}[1].unit", "-7.00", "-7 is negative"),
    ),
    "price too large": (
        (FLAT, "{flat: 1000000000000001}"),
        (f"{USD}[0].flat", "0001", "is too large; at most 1000000000000000"),
    ),
    "price too fine": (
        (FLAT, "{flat: 0.0000000000000000001}"),
        (f"{USD}[0].flat", "0.000", "has 19 decimal places; at most 18"),
    ),
    "price that is a word": (
        (FLAT, "{flat: ten}"),
        (f"{USD}[0].flat", "flat: ten", "must be a decimal such as 0.05, but is the text 'ten'"),
    ),
    "price with a comma": (
        (FLAT, '{flat: "1,000.00"}'),
        (f"{USD}[0].flat", "1,000", "must be a decimal such as 0.05"),
    ),
    "price that is a switch": (
        (FLAT, "{flat: true}"),
        (f"{USD}[0].flat", "flat: true", "but is true"),
    ),
    "price that is a list": (
        (FLAT, "{flat: [1]}"),
        (f"{USD}[0].flat", "flat: [1]", "but is a list"),
    ),
    "infinite price": (
        (FLAT, "{flat: .inf}"),
        (f"{USD}[0].flat", ".inf", "must be a decimal"),
    ),
    "no kind of price": (
        (FLAT, "{feature: mails}"),
        (f"{USD}[0]", "{feature: mails}", "says no price; write one of credits, flat, per_seat"),
    ),
    "two kinds of price": (
        (FLAT, "{flat: 10, per_seat: 3}"),
        (f"{USD}[0].per_seat", "per_seat: 3}", "is not a key here; known keys: id, every, flat"),
    ),
    "price that is no mapping": (
        (FLAT, "10.00"),
        (f"{USD}[0]", "- 10.00", "must be a mapping, but is the number 10.00"),
    ),
    "prices that are a list": (
        ("      USD:\n", "      - USD:\n"),
        ("plans.pro.prices", "prices:", "must be a mapping, but is a list"),
    ),
    "no prices in a currency": (
        (TEAM, f"{TEAM}    prices: {{USD: []}}\n"),
        ("plans.team.prices.USD", "USD: []", "is empty"),
    ),
    "unknown currency": (
        ("      USD:\n", "      USX:\n"),
        ("plans.pro.prices.USX", "USX", "is not a currency with a minor unit; write an ISO 4217"),
    ),
    "currency in small letters": (
        ("      USD:\n", "      usd:\n"),
        ("plans.pro.prices.usd", "usd", "'usd' is not a currency with a minor unit"),
    ),
    "gold is no currency": (
        ("{USD: [{percent", "{XAU: [{percent"),
        ("add_ons.half.prices.XAU", "XAU", "is not a currency with a minor unit"),
    ),
    "a currency inside a list of another": (
        (FLAT, "{flat: 10.00, currency: EUR}"),
        (f"{USD}[0].currency", "currency: EUR", "is not a key here"),
    ),
    "something costs in one currency only": (
        (TEAM, f"{TEAM}    prices: {{USD: [{{flat: 1}}, {{per_seat: 2}}], EUR: [{{flat: 1}}]}}\n"),
        ("plans.team.prices.EUR", "EUR: [", "has no price 'per_seat', but USD has"),
    ),
    "an add-on in another currency than its plan": (
        ("{USD: [{flat: 3}]}", "{EUR: [{flat: 3}]}"),
        (
            "add_ons.more_mails.prices",
            "EUR: [{flat: 3}]",
            "has no prices in USD, in which plan 'pro' is sold",
        ),
    ),
    "tiers out of order": (
        ("up_to: 200, unit: 7.00", "up_to: 50, unit: 7.00"),
        (f"{TIERS}[1].up_to", "up_to: 50", "50 is not above 100, where the tier before ends"),
    ),
    "tiers that repeat a bound": (
        ("up_to: 200, unit: 7.00", "up_to: 100, unit: 7.00"),
        (f"{TIERS}[1].up_to", "up_to: 100, unit: 7", "100 is not above 100"),
    ),
    "a gap between tiers": (
        ("above: 100", "above: 101"),
        (f"{TIERS}[1].above", "above: 101", "101 leaves a gap: the tiers before it end at 100"),
    ),
    "tiers that overlap": (
        ("above: 100", "above: 99"),
        (f"{TIERS}[1].above", "above: 99", "99 overlaps: the tiers before it end at 100"),
    ),
    "a gap before the first tier": (
        ("{up_to: 100, unit: 0}", "{above: 1, up_to: 100, unit: 0}"),
        (f"{TIERS}[0].above", "above: 1,", "1 leaves a gap: the tiers before it end at 0"),
    ),
    "last tier not open": (
        ("{unit: 5.60}", "{up_to: 300, unit: 5.60}"),
        (f"{TIERS}[2].up_to", "up_to: 300", "closes the last tier; leave it out"),
    ),
    "a tier after the open one": (
        ("up_to: 200, unit: 7.00", "unit: 7.00"),
        (f"{TIERS}[1].up_to", "above: 100", "is missing: only the last tier is open"),
    ),
    "a tier without a price": (
        ("{up_to: 100, unit: 0}", "{up_to: 100}"),
        (f"{TIERS}[0]", "{up_to: 100}", "has no price; write unit, flat or both (0 is free)"),
    ),
    "a tier up to nothing": (
        ("{up_to: 100, unit: 0}", "{up_to: 0, unit: 0}"),
        (f"{TIERS}[0].up_to", "up_to: 0", "0 is not above 0"),
    ),
    "no tiers": (
        ("volume: [{up_to: 10, unit: 3}, {flat: 1}]", "volume: []"),
        (f"{USD}[6].volume", "volume: []", "is empty"),
    ),
    "unknown key of a tier": (
        ("{up_to: 100, unit: 0}", "{upto: 100, unit: 0}"),
        (f"{TIERS}[0].upto", "upto", "known keys: above, up_to, unit, flat"),
    ),
    "price of an unknown feature": (
        ("{feature: mails, per_unit", "{feature: mail, per_unit"),
        (f"{USD}[2].feature", "feature: mail,", "there is no feature 'mail'; known: mails, bytes"),
    ),
    "fee for an unknown feature": (
        ("feature: own_domain}", "feature: domain}"),
        (f"{USD}[9].feature", "feature: domain}", "there is no feature 'domain'"),
    ),
    "price of usage without a feature": (
        ("{feature: mails, per_unit", "{per_unit"),
        (f"{USD}[2].feature", "{per_unit", "is missing"),
    ),
    "table of usage without a feature": (
        ("of: seats, volume", "volume"),
        (f"{USD}[6].feature", "id: discount", "is missing; a price of usage says of what"),
    ),
    "price of usage of a boolean": (
        ("feature: sales, percent", "feature: own_domain, percent"),
        (f"{USD}[5].feature", "own_domain, percent", "own_domain is not metered (but boolean)"),
    ),
    "percentage without a base": (
        ("of: usage, ", ""),
        (f"{USD}[5].of", "percent: 2.9", "is missing; a percentage is of usage or of fees"),
    ),
    "percentage of something else": (
        ("of: usage, ", "of: sales, "),
        (f"{USD}[5].of", "of: sales", "write one of 'usage' or 'fees'"),
    ),
    "percentage of usage of nothing": (
        ("{feature: sales, percent", "{percent"),
        (f"{USD}[5].feature", "percent: 2.9", "is missing; a price of usage says of what"),
    ),
    "percentage above 100": (
        ("percent: 50", "percent: 100.5"),
        ("add_ons.half.prices.USD[0].percent", "100.5", "is too large; at most 100"),
    ),
    "percentage of fees with a cap": (
        ("{percent: 50, of: fees}", "{percent: 50, of: fees, cap: 9}"),
        ("add_ons.half.prices.USD[0].cap", "cap: 9", "this price is of fees; leave it out"),
    ),
    "seats with dimensions": (
        ("of: seats, volume", "of: seats, match: {a: b}, volume"),
        (f"{USD}[6].match", "match: {a: b}", "this price is of seats; leave it out"),
    ),
    "dimension that is no text": (
        ("region: eu", "region: 5"),
        (f"{USD}[4].match.region", "region: 5", "must be text, but is the number 5"),
    ),
    "package without a size": (
        (", size: 100", ""),
        (f"{USD}[4].size", "package: 2.50", "is missing"),
    ),
    "price for no units": (
        ("per_unit: 0.40, per: 1000", "per_unit: 0.40, per: 0"),
        (f"{USD}[2].per", "per: 0", "0 is too small; at least 1"),
    ),
    "two prices for the same usage": (
        ("{minimum: 20}", "{feature: mails, package: 1, size: 10}"),
        (f"{USD}[7]", "size: 10}", "fits the same usage as USD[2]; let their matches differ"),
    ),
    "two prices of the same name": (
        ("{minimum: 20}", "{flat: 20}"),
        (f"{USD}[7]", "{flat: 20}", "USD[0] is called 'flat' too; give each price an id"),
    ),
    "unknown period": (
        ("every: year", "every: decade"),
        (f"{USD}[9].every", "decade", "write one of 'hour', 'day'"),
    ),
    "unknown proration": (
        ("proration: difference", "proration: full"),
        ("plans.pro.proration", "full", "write one of 'time', 'difference' or 'none'"),
    ),
    "past a limit and an allowance too": (
        ("past_limit: month", "past_limit: month, included: 5"),
        (f"{USD}[2].included", "included: 5}", "is there beside past_limit; keep one of them"),
    ),
    "past a limit that is not there": (
        ("past_limit: month", "past_limit: day"),
        (
            f"{USD}[2].past_limit",
            "past_limit: day",
            "plan 'pro' has no limit 'day' on mails to charge past; it has: month",
        ),
    ),
    "past a limit that an heir replaced": (
        ("      own_domain: true", "      mails: unlimited"),
        (
            f"{USD}[2].past_limit",
            "past_limit: month",
            "plan 'team', which inherits this price, has no limit 'month' on mails",
        ),
    ),
    "past a hard limit": (
        ("kind: soft, ", ""),
        (
            f"{USD}[2].past_limit",
            "past_limit: month",
            "has a limit 'month' on mails that is hard, so usage never goes past it; make it soft",
        ),
    ),
    "past a limit without a number": (
        ("limit: 50000", "limit: unlimited"),
        (f"{USD}[2].past_limit", "past_limit: month", "is unlimited, so there is nothing past it"),
    ),
    "past a limit in another rhythm": (
        ("kind: soft, window: month", "kind: soft, window: day, id: month"),
        (
            f"{USD}[2].past_limit",
            "past_limit: month",
            "turns by calendar:day:UTC, but the price is charged every month; let them agree",
        ),
    ),
    "past a limit that never turns": (
        ("kind: soft, window: month", "kind: soft, window: lifetime, id: month"),
        (f"{USD}[2].past_limit", "past_limit: month", "never turns, but the price is charged"),
    ),
    "past a limit that rolls": (
        ("kind: soft, window: month", "kind: soft, window: {rolling: {days: 30}}, id: month"),
        (f"{USD}[2].past_limit", "past_limit: month", "turns by rolling:30d, but the price"),
    ),
    "an add-on's price past a limit that its plan lacks": (
        ("{USD: [{flat: 3}]}", "{USD: [{feature: bytes, per_unit: 1, past_limit: month}]}"),
        (
            "add_ons.more_mails.prices.USD[0].past_limit",
            "past_limit: month}]",
            "plan 'pro' has no limit 'month' on bytes to charge past",
        ),
    ),
    "an add-on of nothing": (
        ("    prices: {USD: [{percent: 50, of: fees}]}\n", ""),
        ("add_ons.half.features", "half:", "an add-on adds features or credits, or has prices"),
    ),
    "an add-on of no prices": (
        ("{USD: [{percent: 50, of: fees}]}", "{}"),
        ("add_ons.half.prices", "prices: {}", "is empty"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_error_with_path_and_line(case: str) -> None:
    replacement, (path, line_holds, problem) = CASES[case]
    text = repriced(replacement)
    told_path, told_line, told_problem = error_of(text)
    assert told_path == path
    assert problem in told_problem
    assert "\n" not in told_problem
    assert told_line == line_with(text, line_holds)


def test_the_sample_itself_is_sound() -> None:
    assert load_document(repriced(), "mail.yaml").catalog == "mail"


def test_of_features_and_prices_the_first_mistake_by_line_is_told() -> None:
    text = repriced((FLAT, "{flat: 10, feature: nothing}"), ("extends: pro", "extends: por"))
    assert error_of(text)[0] == f"{USD}[0].feature"
    text = repriced(("limit: 1000, window", "limit: 1000, id: a, window"), ("[pro]", "[por]"))
    assert error_of(text)[0] == "add_ons.half.plans[0]"


def test_prices_are_bounded() -> None:
    many = "".join(f"        - {{flat: 1, id: f{n}}}\n" for n in range(501))
    path, _, problem = error_of(repriced((f"        - {FLAT}\n", many)))
    assert (path, problem) == (USD, "has 510 entries; at most 500")
    tiers = ", ".join(f"{{up_to: {n}, unit: 1}}" for n in range(1, 101))
    path, _, problem = error_of(
        repriced(("[{up_to: 10, unit: 3}, {flat: 1}]", f"[{tiers}, {{unit: 1}}]"))
    )
    assert (path, problem) == (f"{USD}[6].volume", "has 101 entries; at most 100")


def test_what_inheritance_multiplies_is_bounded() -> None:
    prices = "".join(f"        - {{flat: 1, id: f{n}}}\n" for n in range(300))
    heirs = "".join(f"  heir{n}: {{extends: team}}\n" for n in range(80))
    text = repriced((f"        - {FLAT}\n", prices), ("add_ons:", f"{heirs}add_ons:"))
    path, _, problem = error_of(text)
    assert path == "plans"
    assert "prices and tiers, inherited ones included; at most 20000" in problem
