"""Allocation features in a catalog: what is written, refused and compared."""

from __future__ import annotations

import pytest
from catalog_samples import changed, compiled, error_of

from control_plane.catalog import diff_catalogs
from weighbridge.rules.catalog import Limit, LimitKind, Meter
from weighbridge.rules.window import Window, WindowKind

CONTACTS = "contacts: {type: metered, outage: deny}"
HELD = Window(WindowKind.LIFETIME)
ALLOCATED = (CONTACTS, "contacts: {type: metered, meter: allocation}")
PRO = "      contacts: unlimited\n"
ADDED = "      mails: {limits: [{id: month, limit: 1000}]}\n"


def limited(limits: str) -> tuple[str, str]:
    return PRO, f"      contacts: {{limits: [{limits}]}}\n"


def test_a_limit_of_an_allocation_is_on_what_is_held() -> None:
    catalog = compiled(changed(ALLOCATED, limited("{limit: 3, per_seat: true}, {id: x, limit: 9}")))
    assert catalog.features["contacts"].meter is Meter.ALLOCATION
    assert catalog.features["mails"].meter is Meter.SUM
    plan = catalog.plan("pro")
    assert plan is not None
    assert plan.entitlements["contacts"].limits == (
        Limit("held", LimitKind.HARD, 3, HELD, per_seat=True),
        Limit("x", LimitKind.HARD, 9, HELD),
    )


def test_an_add_on_adds_to_what_may_be_held_and_brings_it_where_a_plan_lacks_it() -> None:
    more = (ADDED, ADDED + "      contacts: {limits: [{id: held, limit: 2}]}\n")
    catalog = compiled(changed(ALLOCATED, limited("{limit: 3}"), more))
    added = catalog.add_ons["more_mails"].entitlements["contacts"]
    assert added.limits == (Limit("held", LimitKind.HARD, 2, HELD),)


@pytest.mark.parametrize("window", ["month", "lifetime", "{calendar: day}"])
def test_a_window_is_refused(window: str) -> None:
    text = changed(ALLOCATED, limited(f"{{limit: 3, window: {window}}}"))
    path, _, problem = error_of(text)
    assert path == "plans.pro.features.contacts.limits[0].window"
    assert problem.endswith("what is held now counts: leave it out")


def test_what_is_summed_needs_a_window() -> None:
    path, _, problem = error_of(changed(limited("{limit: 3}")))
    assert (path, problem) == ("plans.pro.features.contacts.limits[0].window", "is missing")


def test_an_unknown_meter_is_refused() -> None:
    path, _, problem = error_of(changed((CONTACTS, "contacts: {type: metered, meter: max}")))
    assert path == "features.contacts.meter"
    assert "'sum', 'allocation' or 'spend'" in problem


def test_a_change_of_the_meter_shows() -> None:
    changes = diff_catalogs(compiled(changed()), compiled(changed(ALLOCATED)))
    paths = {change.path for change in changes}
    assert "features.contacts.meter" in paths
