"""How many units went to each price so far in its billing period."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

from sqlalchemy import Connection, Text, cast, delete, func, select

from control_plane.metering.counters import Counter
from control_plane.storage.rows import insert_rows, rows_by_key, update_rows
from control_plane.storage.spend_tables import priced_usage
from control_plane.storage.tables import usage_event
from weighbridge.rules.matching import Match, most_specific
from weighbridge.rules.spending import PricedBy
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import Window, WindowKind, window_bounds

_KEY: Final = ("customer_id", "resource_id", "price", "every", "period_start_ms")
_COLUMNS: Final = (*_KEY, "units", "updated_at_ms")
_HALF: Final = 2**32
_DAY_MS: Final = 86_400_000

KEPT_MS: Final = 45 * _DAY_MS
"""How long units of a period are kept that nobody used: usage may be reported 35 days late.

A row that is needed after all is made again from events.
"""

ROWS_MAX: Final = 2_000


class UnitsKey(NamedTuple):
    """Units of one price in one billing period."""

    customer: str
    resource: str
    price: str
    every: str
    start_ms: int


class _Asked(NamedTuple):
    counter: Counter
    matches: tuple[Match, ...]
    position: int
    end_ms: int


class _Units:
    """Units as they will be when the transaction ends."""

    __slots__ = ("has_row", "units")

    def __init__(self, units: int, *, has_row: bool) -> None:
        self.units = units
        self.has_row = has_row


class PricedUnits:
    """First name all prices with `ask`, then `open`, then `take`, then `write`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked: dict[UnitsKey, _Asked] = {}
        self._units: dict[UnitsKey, _Units] = {}

    def ask(
        self, counter: Counter, priced: tuple[PricedBy, tuple[Match, ...]], at: tuple[int, int]
    ) -> UnitsKey:
        """Name a price of a counter's usage; `at` is an instant of the usage, and the anchor."""
        each, matches = priced
        at_ms, anchor_ms = at
        window = Window(WindowKind.ANNIVERSARY, each.price.every)
        bounds = window_bounds(window, at_ms, anchor_ms)
        price = _price_key(each, matches)
        every = each.price.every.value
        key = UnitsKey(counter.customer, counter.resource, price, every, bounds.start_ms)
        end_ms = COUNTER_MAX if bounds.end_ms is None else bounds.end_ms
        self._asked[key] = _Asked(counter, matches, each.position, end_ms)
        return key

    def open(self) -> None:
        """Find what was used so far. To be called before any event of the transaction is stored."""
        for *found, units, _ in rows_by_key(self._connection, priced_usage, _KEY, self._asked):
            self._units[UnitsKey(*found)] = _Units(units, has_row=True)
        for key, asked in self._asked.items():
            if key not in self._units:
                self._units[key] = _Units(self._used(key, asked), has_row=False)

    def take(self, key: UnitsKey, units: int) -> int:
        """Count units; return how many there were before."""
        row = self._units[key]
        before = row.units
        row.units = min(before + units, COUNTER_MAX)
        return before

    def write(self, now_ms: int) -> None:
        """Store what was counted."""
        rows = self._units.items()
        new = [(*key, row.units, now_ms) for key, row in rows if not row.has_row]
        insert_rows(self._connection, priced_usage, _COLUMNS, new)
        changed = [(row.units, now_ms, *key) for key, row in rows if row.has_row]
        columns = ("units", "updated_at_ms")
        update_rows(self._connection, priced_usage, columns, _KEY, changed)

    def _used(self, key: UnitsKey, asked: _Asked) -> int:
        """Sum the events of the period that the price is for."""
        total = 0
        for dimensions, units in self._events(asked.counter, key.start_ms, asked.end_ms):
            if most_specific(asked.matches, dimensions) == asked.position:
                total += units
        return max(min(total, COUNTER_MAX), 0)

    def _events(self, counter: Counter, start_ms: int, end_ms: int) -> Iterator[tuple[Match, int]]:
        event = usage_event.c
        dimensions = cast(event.dimensions, Text)
        # In two halves: the sum itself could overflow the database's integers.
        high, low = func.sum(event.amount // _HALF), func.sum(event.amount % _HALF)
        query = (
            select(dimensions, high, low)
            .where(
                event.customer_id == counter.customer,
                event.resource_id == counter.resource,
                event.feature_id == counter.feature,
                event.occurred_at_ms >= start_ms,
                event.occurred_at_ms < end_ms,
            )
            .group_by(dimensions)
        )
        for text, high_half, low_half in self._connection.execute(query):
            had = json.loads(text) if text else {}
            yield tuple(sorted((had or {}).items())), int(high_half) * _HALF + int(low_half)


def prune_priced_units(connection: Connection, now_ms: int) -> int:
    """Remove at most a few thousand rows that nobody used for long; return how many went."""
    table = priced_usage.c
    old = (
        select(table.updated_at_ms)
        .where(table.updated_at_ms <= now_ms - KEPT_MS)
        .order_by(table.updated_at_ms)
        .limit(ROWS_MAX)
    )
    instants = connection.scalars(old).all()
    if not instants:
        return 0
    is_old = table.updated_at_ms <= instants[-1]
    return connection.execute(delete(priced_usage).where(is_old)).rowcount


def _price_key(each: PricedBy, matches: tuple[Match, ...]) -> str:
    """Tell prices apart by the usage that goes to them.

    So units are counted on where only amounts change, and anew where usage goes elsewhere.
    """
    price = each.price
    said = repr((price.currency.code, price.feature, matches, each.position))
    return blake2b(said.encode(), digest_size=16).hexdigest()
