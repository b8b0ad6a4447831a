"""Every way partner apps can be wrong: one error with file, line and path."""

from __future__ import annotations

import pytest
from catalog_samples import error_of
from credit_samples import recredited

SHEETS = "partner_apps.sheets"
SALES = f"{SHEETS}.shares[0]"

# What is replaced by what; the path; the line that holds the text; a part of the problem.
CASES = {
    "unknown key of a partner app": (
        ("    name: Time Sheets", "    title: Time Sheets"),
        (f"{SHEETS}.title", "title", "known keys: name, permissions, quotas, shares"),
    ),
    "permission of nothing": (
        ("[own_domain, calls]", "[own_domian, calls]"),
        (f"{SHEETS}.permissions[0]", "own_domian", "there is no feature 'own_domian'"),
    ),
    "permission twice": (
        ("[own_domain, calls]", "[calls, calls]"),
        (f"{SHEETS}.permissions[1]", "[calls, calls]", "'calls' is there twice"),
    ),
    "permission that nobody has": (
        ("[own_domain, calls]", "[unsold, calls]"),
        (f"{SHEETS}.permissions[0]", "[unsold", "no plan or add-on grants unsold"),
    ),
    "quota without permission": (
        ("[own_domain, calls]", "[own_domain]"),
        (f"{SHEETS}.quotas.calls", "      calls:\n", "is not among the permissions of the app"),
    ),
    "quota of nothing": (
        ("      calls:\n        per_customer", "      call:\n        per_customer"),
        (f"{SHEETS}.quotas.call", "      call:\n", "there is no feature 'call'"),
    ),
    "quota of a switch": (
        ("      calls:\n        per_customer", "      own_domain:\n        per_customer"),
        (f"{SHEETS}.quotas.own_domain", "      own_domain:\n", "is not metered (but boolean)"),
    ),
    "quota of what is held": (
        ("      calls:\n        per_customer", "      seats:\n        per_customer"),
        (f"{SHEETS}.quotas.seats", "      seats:\n", "is held and given back"),
    ),
    "unknown key of a quota": (
        ("        total:", "        all:"),
        (f"{SHEETS}.quotas.calls.all", "all:", "known keys: per_customer, total"),
    ),
    "unknown key of a quota's limit": (
        ("{id: d, limit: 1, window: day}", "{id: d, limit: 1, window: day, per_seat: true}"),
        (
            f"{SHEETS}.quotas.calls.per_customer[1].per_seat",
            "per_seat: true}]",
            "is not a key here",
        ),
    ),
    "two limits of a quota": (
        ("{id: d, limit: 1, window: day}", "{limit: 1, window: month}"),
        (
            f"{SHEETS}.quotas.calls.per_customer[1]",
            "limit: 1, window",
            "per_customer[0] has the id",
        ),
    ),
    "quota in an unknown time zone": (
        ("kind: soft, window: month}", "window: {calendar: month, time_zone: Mars}}"),
        (f"{SHEETS}.quotas.calls.total[0].window.time_zone", "Mars", "is not a time zone"),
    ),
    "quota that rolls": (
        ("kind: soft, window: month}", "window: {rolling: day}}"),
        (f"{SHEETS}.quotas.calls.total[0].window", "total:", "which no quota does"),
    ),
    "total by anniversary": (
        ("kind: soft, window: month}", "window: {anniversary: month}}"),
        (f"{SHEETS}.quotas.calls.total[0].window", "total:", "but a total has none"),
    ),
    "share above all": (
        ("platform_percent: 12.5}", "platform_percent: 100.1}"),
        (f"{SALES}.tiers[1].platform_percent", "100.1", "is too large; at most 100"),
    ),
    "share in no currency": (
        ("        currency: USD", "        currency: ABC"),
        (f"{SALES}.currency", "ABC", "is not a currency"),
    ),
    "share of nothing said": (
        ("{of: usage, currency: EUR, platform_percent: 80}", "{of: usage, currency: EUR}"),
        (f"{SHEETS}.shares[2]", "currency: EUR}", "has platform_percent or tiers, exactly one"),
    ),
    "share said twice": (
        ("        window: year\n", "        window: year\n        platform_percent: 1\n"),
        (f"{SALES}", "      - of: sales", "exactly one of them"),
    ),
    "two shares of the same": (
        ("{of: usage, currency: EUR,", "{of: usage, currency: USD,"),
        (f"{SHEETS}.shares[2]", "80}", "shares[1] is of usage in USD too; keep one"),
    ),
    "gap between tiers": (
        ("above: 1000.50", "above: 1000.51"),
        (f"{SALES}.tiers[1].above", "above", "1000.51 leaves a gap: the tiers before it end at"),
    ),
    "overlap of tiers": (
        ("above: 1000.50", "above: 1000"),
        (f"{SALES}.tiers[1].above", "above", "1000 overlaps"),
    ),
    "tiers out of order": (
        ("above: 1000.50, up_to: 2000", "up_to: 1000"),
        (f"{SALES}.tiers[1].up_to", "up_to: 1000, ", "is not above"),
    ),
    "last tier closed": (
        ("          - {platform_percent: 10}\n", ""),
        (f"{SALES}.tiers[1].up_to", "up_to: 2000", "closes the last tier"),
    ),
    "bound finer than a cent": (
        ("up_to: 1000.50", "up_to: 1000.505"),
        (f"{SALES}.tiers[0].up_to", "1000.505", "is finer than the minor unit of USD"),
    ),
    "fixed part finer than a cent": (
        ("fixed_per_transaction: 0.30", "fixed_per_transaction: 0.305"),
        (f"{SALES}.fixed_per_transaction", "0.305", "which has 2 decimal places"),
    ),
    "fixed part of usage": (
        (
            "currency: EUR, platform_percent: 80}",
            "currency: EUR, platform_percent: 80, fixed_per_transaction: 1}",
        ),
        (f"{SHEETS}.shares[2].fixed_per_transaction", "transaction: 1}", "this share is of usage"),
    ),
    "window without tiers": (
        (
            "currency: EUR, platform_percent: 80}",
            "currency: EUR, platform_percent: 80, window: year}",
        ),
        (f"{SHEETS}.shares[2].window", "80, window: year}", "but there are none"),
    ),
    "usage in a currency nobody pays": (
        ("{of: usage, currency: EUR,", "{of: usage, currency: GBP,"),
        (f"{SHEETS}.shares", "    shares:", "plans are sold in EUR too"),
    ),
    "usage in one currency of two": (
        ("      - {of: usage, currency: EUR, platform_percent: 80}\n", ""),
        (f"{SHEETS}.shares", "    shares:", "share usage in USD, but plans are sold in EUR too"),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_error_with_path_and_line(
    case: tuple[tuple[str, str], tuple[str, str, str]],
) -> None:
    (old, new), (path, on_line, problem) = case
    text = recredited((old, new))
    told_path, line, told_problem = error_of(text)
    assert told_path == path
    assert problem in told_problem
    assert on_line.strip("\n") in text.splitlines()[line - 1]
