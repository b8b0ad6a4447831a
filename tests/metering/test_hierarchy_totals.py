"""Usage counts with the customer and with everybody above it."""

from __future__ import annotations

import pytest
from metered import NOW_MS, Metered, entry, record

from control_plane import provisioning
from control_plane.metering.counters import Counter, CounterCache
from control_plane.metering.queries import UsageQuery
from control_plane.provisioning import WantedEntitlement, WantedLimit, WantedOverride
from weighbridge.rules.catalog import LimitKind
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import HOUR_MS, Window, WindowKind

MONTH = "calendar:month:UTC"
DAY = "calendar:day:UTC"
CALLS = ("", "api.calls", MONTH)


@pytest.fixture
def family(metered: Metered) -> Metered:
    """Put team under acme (pro), and ann and bob under team."""
    metered.create("team", parent="acme")
    metered.create("ann", parent="team", resources=("ws-1",))
    metered.create("bob", parent="team")
    return metered


def override(metered: Metered, customer: str, limit: int) -> None:
    wanted = WantedOverride(customer, WantedEntitlement("api.calls", limits=(_limit(limit),)))
    with metered.database.writing() as connection:
        provisioning.set_override(connection, metered.library, wanted, metered.now_ms)


def _limit(limit: int) -> WantedLimit:
    return WantedLimit("month", limit)


def test_one_transaction_sums_all_below_into_one_row(family: Metered) -> None:
    settled = family.settle(
        record(1, entry("ann", 3), entry("bob", 4), entry("acme", 1)),
        record(2, entry("ann", 2, resource="ws-1")),
    )
    assert (settled.events, settled.set_aside) == (4, {})
    assert family.totals("acme")[CALLS] == 10
    assert ("", "api.calls", MONTH) not in family.totals("ann")
    # Its own: the rows of a leaf without limits are none, those of acme two.
    assert {key[:2] + key[3:4] for key in family.stored_totals()} == {
        ("acme", "", MONTH),
        ("acme", "", DAY),
    }
    assert family.sum_of_events(Counter("ann", "", "api.calls")) == 3
    assert {row.customer for row in family.usage(UsageQuery())} == {"acme", "ann", "bob"}


def test_a_window_without_a_row_is_summed_from_all_below(family: Metered) -> None:
    family.settle(record(1, entry("ann", 3), entry("bob", 4), entry("team", 2)))
    assert family.totals("team") == {}
    override(family, "team", 50)
    assert family.totals("team") == {CALLS: 9}
    family.settle(record(2, entry("bob", 1), entry("ann", 5, resource="ws-1")))
    assert family.totals("team") == {CALLS: 15}
    assert family.totals("acme")[CALLS] == 15
    assert family.stored_totals()["team", "", "api.calls", MONTH, month_start(family)] == 15


def month_start(metered: Metered) -> int:
    return next(key[4] for key in metered.stored_totals() if key[3] == MONTH)


def test_an_override_of_a_leaf_counts_its_own_usage_alone(family: Metered) -> None:
    override(family, "ann", 5)
    family.settle(record(1, entry("ann", 3), entry("bob", 4)))
    assert family.totals("ann") == {CALLS: 3}
    assert family.totals("acme")[CALLS] == 7


def test_a_leaf_counts_in_the_windows_that_its_parent_gets(family: Metered) -> None:
    family.settle(record(1, entry("ann", 3)))
    override(family, "ann", 5)
    cache = CounterCache(family.library)
    with family.database.reading() as connection:
        cache.refresh(connection, ["ann"])
    ann = cache.find("ann")
    assert ann is not None
    assert ann.ancestors == ("team", "acme")
    # Its parent's subscription anchors its windows; a change of that is a change of the leaf.
    family.subscribe("team", "free")
    with family.database.reading() as connection:
        cache.refresh(connection, ["ann"])
    again = cache.find("ann")
    assert again is not None
    assert again is not ann
    assert again.customer.version == ann.customer.version
    family.settle(record(2, entry("ann", 2)))
    assert family.totals("team") == {CALLS: 5}


def test_what_one_above_cannot_hold_is_counted_nowhere(family: Metered) -> None:
    override(family, "ann", 5)
    family.settle(record(1, entry("bob", COUNTER_MAX, calls=10**9)))
    settled = family.settle(record(2, entry("ann", 1)))
    assert [reason.value for reason in settled.set_aside] == ["overflow"]
    assert family.totals("ann") == {CALLS: 0}
    assert family.totals("acme")[CALLS] == COUNTER_MAX


def test_a_grouping_customer_with_an_override_alone_counts(metered: Metered) -> None:
    metered.create("house")
    metered.create("tenant", "free", parent="house")
    lifetime = WantedLimit("ever", 9, LimitKind.HARD, Window(WindowKind.LIFETIME))
    wanted = WantedOverride("house", WantedEntitlement("api.calls", limits=(lifetime,)))
    with metered.database.writing() as connection:
        provisioning.set_override(connection, metered.library, wanted, NOW_MS)
    metered.settle(record(1, entry("tenant", 2)))
    assert metered.totals("house") == {("", "api.calls", "lifetime"): 2}
    assert metered.totals("tenant") == {CALLS: 2}


@pytest.mark.parametrize("kind", [WindowKind.ROLLING, WindowKind.SESSION])
def test_windows_that_move_start_from_what_all_below_used(
    family: Metered, kind: WindowKind
) -> None:
    hours = Window(kind, length_ms=5 * HOUR_MS)
    family.settle(record(1, entry("ann", 3), entry("bob", 4, resource="")))
    wanted = WantedLimit("hours", 50, LimitKind.HARD, hours)
    override = WantedOverride("team", WantedEntitlement("api.calls", limits=(wanted,)))
    with family.database.writing() as connection:
        provisioning.set_override(connection, family.library, override, NOW_MS)
    assert family.totals("team") == {("", "api.calls", hours.key): 7}
    family.settle(record(2, entry("bob", 1), entry("team", 2)))
    assert family.totals("team") == {("", "api.calls", hours.key): 10}
