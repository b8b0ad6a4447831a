"""Currencies by code, from the published table of ISO 4217 as the package `iso4217` carries it.

ISO 4217 and not CLDR: CLDR says how many decimals people write in a place (0 for the Iraqi dinar),
ISO 4217 how many the minor unit has (3), which is what banks and payment services count in.
"""

from __future__ import annotations

import iso4217

from weighbridge.rules.rating.money import Currency


def find_currency(code: str) -> Currency | None:
    """Return the currency with that code; None where there is none, or it has no minor unit."""
    try:
        exponent = iso4217.Currency(code).exponent
    except ValueError:
        return None
    return None if exponent is None else Currency(code, exponent)


def currency_of(code: str) -> Currency:
    """Return the currency of a code that was checked."""
    found = find_currency(code)
    assert found is not None, code
    return found
