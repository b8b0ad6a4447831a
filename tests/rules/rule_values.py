"""Values that several tests of the rules are about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from weighbridge.rules.catalog import AddOn, Entitlement, Limit, LimitKind, Override
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


def override(entitlement: Entitlement, **changes: Any) -> Override:
    made = Override(f"override-{entitlement.feature}", "", entitlement)
    return replace(made, **changes)


numbers = st.one_of(st.none(), st.integers(0, 100))
