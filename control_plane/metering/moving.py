"""Totals of rolling windows and sessions, by their parts: buckets or sessions.

A part with units has a row of totals; where none has any, a row of 0 at instant 0 says that the
window is counted. So no row at all says that it was not, and its parts are derived from events:
of a rolling window what lies in each bucket, and one session, as if the first use within the last
length had opened it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Dialect,
    Select,
    and_,
    column,
    func,
    literal_column,
    select,
)

from control_plane.metering.counters import Counter
from control_plane.metering.rows import (
    Prepared,
    chunks_filled,
    columns_of,
    prepare_list,
    rows_by_key,
    size_of,
    wanted_rows,
)
from control_plane.storage.tables import usage_event, usage_total
from weighbridge.rules.moving import (
    BUCKETS,
    SESSIONS_MAX,
    Sessions,
    bucket_start_ms,
    oldest_bucket_ms,
)
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import Window, WindowKind

_COUNTED: Final = {0: 0}
_COUNTER: Final = ("customer_id", "resource_id", "feature_id")
_HALF: Final = 2**32
_ONE_BUCKET_MS: Final = 2**62


class MovingKey(NamedTuple):
    """A rolling window or session of a counter."""

    counter: Counter
    window_key: str


class Changes(NamedTuple):
    """Rows to make, to set and to remove, by the start of their part."""

    made: Mapping[int, int]
    changed: Mapping[int, int]
    removed: Iterable[int]


class Parts:
    """The parts of one window, as they will be when the transaction ends."""

    def __init__(self, length_ms: int, stored: Mapping[int, int], now_ms: int) -> None:
        self.length_ms = length_ms
        self.now_ms = now_ms
        self.stored = stored
        self.units = {start_ms: units for start_ms, units in stored.items() if units}

    @property
    def current(self) -> Mapping[int, int]:
        """The parts that sidecars need; one of 0 where there is none."""
        raise NotImplementedError

    @property
    def kept(self) -> Mapping[int, int]:
        """The parts that are to have rows."""
        raise NotImplementedError

    def derive(self, found: Iterable[tuple[int, int, int]]) -> None:
        """Start from events: the start of each bucket, the first instant in it, and units."""
        raise NotImplementedError

    def has_room(self, at_ms: int, amount: int) -> bool:
        """Whether totals would hold the amount."""
        raise NotImplementedError

    def add(self, at_ms: int, amount: int) -> None:
        """Count units of an instant."""
        raise NotImplementedError

    def changes(self) -> Changes:
        """Return what to do to the rows: always something, for usage of 0 is to be told too."""
        stored, kept = self.stored, self.kept or _COUNTED
        made = {start: units for start, units in kept.items() if start not in stored}
        changed = {s: units for s, units in kept.items() if s in stored and stored[s] != units}
        if not made and not changed:
            newest = max(kept)
            changed = {newest: kept[newest]}
        return Changes(made, changed, stored.keys() - kept.keys())


class BucketParts(Parts):
    """The buckets of a rolling window. Those that count no more have no rows."""

    def __init__(self, length_ms: int, stored: Mapping[int, int], now_ms: int) -> None:
        super().__init__(length_ms, stored, now_ms)
        self._oldest_ms = oldest_bucket_ms(length_ms, now_ms)
        self.units = {s: units for s, units in self.units.items() if s >= self._oldest_ms}
        self._used = sum(self.units.values())

    @property
    def current(self) -> Mapping[int, int]:
        return self.units or _COUNTED

    @property
    def kept(self) -> Mapping[int, int]:
        return self.units

    def derive(self, found: Iterable[tuple[int, int, int]]) -> None:
        for start_ms, _, units in sorted(found):
            # A total that is full stays so, and shows: further usage is set aside as overflow.
            self.units[start_ms] = min(units, COUNTER_MAX - self._used)
            self._used += self.units[start_ms]

    def has_room(self, at_ms: int, amount: int) -> bool:
        return self._used + amount <= COUNTER_MAX

    def add(self, at_ms: int, amount: int) -> None:
        start_ms = bucket_start_ms(self.length_ms, at_ms)
        if amount > 0 and start_ms >= self._oldest_ms:
            self.units[start_ms] = self.units.get(start_ms, 0) + amount
            self._used += amount


class SessionParts(Parts):
    """The sessions of a counter: the newest of them have rows. To be added to in order of time."""

    def __init__(self, length_ms: int, stored: Mapping[int, int], now_ms: int) -> None:
        super().__init__(length_ms, stored, now_ms)
        self._sessions = Sessions(length_ms, self.units)

    @property
    def current(self) -> Mapping[int, int]:
        # Ended ones too while a sidecar may have usage of them that is not settled.
        since_ms = self.now_ms - 2 * self.length_ms
        return {s: units for s, units in self.units.items() if s > since_ms} or _COUNTED

    @property
    def kept(self) -> Mapping[int, int]:
        return {start_ms: self.units[start_ms] for start_ms in sorted(self.units)[-SESSIONS_MAX:]}

    def derive(self, found: Iterable[tuple[int, int, int]]) -> None:
        for _, first_ms, units in found:
            start_ms, _ = self._sessions.place(first_ms, self.now_ms)
            self.units[start_ms] = min(units, COUNTER_MAX)

    def has_room(self, at_ms: int, amount: int) -> bool:
        # Which session that is, placing tells; the fullest says enough.
        return max(self.units.values(), default=0) + amount <= COUNTER_MAX

    def add(self, at_ms: int, amount: int) -> None:
        if amount <= 0:
            return
        start_ms, moved_ms = self._sessions.place(at_ms, self.now_ms)
        if moved_ms is not None:
            self.units[start_ms] = self.units.pop(moved_ms)
        self.units[start_ms] = self.units.get(start_ms, 0) + amount


def open_parts(
    connection: Connection, wanted: Mapping[MovingKey, Window], now_ms: int
) -> dict[MovingKey, Parts]:
    """Return the parts of windows, with what is settled. To be called before events are stored."""
    stored: dict[MovingKey, dict[int, int]] = defaultdict(dict)
    place = (*_COUNTER, "window_key")
    rows = rows_by_key(
        connection, usage_total, place, [(*counter, window_key) for counter, window_key in wanted]
    )
    for *counter, window_key, start_ms, total, _ in rows:
        stored[MovingKey(Counter(*counter), window_key)][start_ms] = total
    parts = {
        key: _parts(window, stored.get(key, {}), now_ms)
        for key, window in sorted(wanted.items(), key=lambda item: item[0])
    }
    _derive(connection, {key: each for key, each in parts.items() if not each.stored})
    return parts


def _parts(window: Window, stored: Mapping[int, int], now_ms: int) -> Parts:
    assert window.length_ms is not None, "a moving window"
    kind = SessionParts if window.kind is WindowKind.SESSION else BucketParts
    return kind(window.length_ms, stored, now_ms)


def _derive(connection: Connection, unknown: Mapping[MovingKey, Parts]) -> None:
    rows = [(*key.counter, *_span_of(parts), key) for key, parts in unknown.items()]
    found: dict[MovingKey, set[tuple[int, int, int]]] = defaultdict(set)
    for chunk in chunks_filled(connection.dialect, rows):
        statement = _prepared_buckets(connection.dialect, size_of(connection.dialect, chunk))
        numbered = [(*row[:-1], position) for position, row in enumerate(chunk)]
        for position, start_ms, first_ms, high, low in connection.exec_driver_sql(
            statement.text, statement.of_rows(numbered)
        ):
            found[chunk[position][-1]].add((start_ms, first_ms, int(high) * _HALF + int(low)))
    for key, events in found.items():
        unknown[key].derive(events)


def _span_of(parts: Parts) -> tuple[int, int]:
    """Return since when events matter, and the size of buckets to sum them in."""
    if isinstance(parts, SessionParts):
        return parts.now_ms - parts.length_ms + 1, _ONE_BUCKET_MS
    return oldest_bucket_ms(parts.length_ms, parts.now_ms), parts.length_ms // BUCKETS


@lru_cache(maxsize=16)
def _prepared_buckets(dialect: Dialect, size: int) -> Prepared:
    span = ("since_ms", "bucket_ms", "position")
    columns = [*columns_of(usage_event, _COUNTER), *(column(name, BigInteger) for name in span)]
    wanted = wanted_rows(dialect, columns, size)
    event = usage_event.c
    bucket = event.occurred_at_ms - event.occurred_at_ms % wanted.c.bucket_ms
    # In two halves: the sum itself could overflow the database's integers.
    high = func.sum(event.amount.bitwise_rshift(literal_column("32", BigInteger)))
    low = func.sum(event.amount.bitwise_and(literal_column(str(_HALF - 1), BigInteger)))
    is_counted = and_(
        *(event[name] == wanted.c[name] for name in _COUNTER),
        event.occurred_at_ms >= wanted.c.since_ms,
        event.amount > literal_column("0", BigInteger),
    )
    query: Select[Any] = (
        select(wanted.c.position, bucket, func.min(event.occurred_at_ms), high, low)
        .join_from(wanted, usage_event, is_counted)
        .group_by(wanted.c.position, bucket)
    )
    return prepare_list(dialect, query, (*_COUNTER, *span))
