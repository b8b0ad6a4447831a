"""Totals of rolling windows and sessions, by their parts: buckets or sessions.

A part with units has a row of totals; where none has any, a row of 0 at instant 0 says that the
window is counted. So no row at all says that it was not, and its parts are derived from events:
of a rolling window what lies in each bucket, and one session, as if the first use within the last
length had opened it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Dialect,
    FromClause,
    Select,
    and_,
    column,
    func,
    literal_column,
    select,
)

from control_plane.metering.counters import Counter
from control_plane.storage.rows import (
    Prepared,
    chunks_filled,
    columns_of,
    prepare_list,
    rows_by_key,
    size_of,
    wanted_rows,
)
from control_plane.storage.tables import customer_ancestor, usage_event, usage_total
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


class Parts(ABC):
    """The parts of one window, as they will be when the transaction ends."""

    def __init__(self, length_ms: int, stored: Mapping[int, int], now_ms: int) -> None:
        self.length_ms = length_ms
        self.now_ms = now_ms
        self.stored = stored
        self.units = {start_ms: units for start_ms, units in stored.items() if units}

    @property
    @abstractmethod
    def current(self) -> Mapping[int, int]:
        """The parts that sidecars need; one of 0 where there is none."""

    @property
    @abstractmethod
    def kept(self) -> Mapping[int, int]:
        """The parts that are to have rows."""

    @abstractmethod
    def derive(self, found: Iterable[tuple[int, int, int]]) -> None:
        """Start from events: the start of each bucket, the first instant in it, and units."""

    @abstractmethod
    def has_room(self, at_ms: int, amount: int) -> bool:
        """Whether totals would hold the amount."""

    @abstractmethod
    def add(self, at_ms: int, amount: int, spent_ms: int | None = None) -> None:
        """Count units of an instant. Of a pool they are spent at `spent_ms`, where it is later."""

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
        # What was added, by when it was spent.
        self.spent: dict[int, int] = {}

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

    def add(self, at_ms: int, amount: int, spent_ms: int | None = None) -> None:
        if amount <= 0:
            return
        start_ms = bucket_start_ms(self.length_ms, at_ms)
        if start_ms >= self._oldest_ms:
            self.units[start_ms] = self.units.get(start_ms, 0) + amount
            self._used += amount
        if spent_ms is not None:
            start_ms = bucket_start_ms(self.length_ms, spent_ms)
        self.spent[start_ms] = self.spent.get(start_ms, 0) + amount


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

    def add(self, at_ms: int, amount: int, _spent_ms: int | None = None) -> None:
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
    found: dict[MovingKey, dict[int, tuple[int, int]]] = defaultdict(dict)
    _add_buckets(connection, _prepared_buckets, rows, found)
    # Of a customer itself, what everybody under it used counts as well, whatever their resource.
    of_customers = [row for row in rows if not row[1]]
    _add_buckets(connection, _prepared_buckets_below, of_customers, found)
    for key, buckets in found.items():
        unknown[key].derive((start, first, units) for start, (first, units) in buckets.items())


def _add_buckets(
    connection: Connection,
    prepared: Callable[[Dialect, int], Prepared],
    rows: Sequence[tuple[Any, ...]],
    found: dict[MovingKey, dict[int, tuple[int, int]]],
) -> None:
    for chunk in chunks_filled(connection.dialect, rows):
        statement = prepared(connection.dialect, size_of(connection.dialect, chunk))
        numbered = [(*row[:-1], position) for position, row in enumerate(chunk)]
        # By key: the last row may be there several times, to fill the chunk.
        summed: dict[tuple[MovingKey, int], tuple[int, int]] = {}
        for position, start_ms, first_ms, high, low in connection.exec_driver_sql(
            statement.text, statement.of_rows(numbered)
        ):
            summed[chunk[position][-1], start_ms] = (first_ms, int(high) * _HALF + int(low))
        for (key, start_ms), (first_ms, units) in summed.items():
            before_ms, before = found[key].get(start_ms, (first_ms, 0))
            found[key][start_ms] = (min(before_ms, first_ms), before + units)


def _span_of(parts: Parts) -> tuple[int, int]:
    """Return since when events matter, and the size of buckets to sum them in."""
    if isinstance(parts, SessionParts):
        return parts.now_ms - parts.length_ms + 1, _ONE_BUCKET_MS
    return oldest_bucket_ms(parts.length_ms, parts.now_ms), parts.length_ms // BUCKETS


@lru_cache(maxsize=16)
def _prepared_buckets(dialect: Dialect, size: int) -> Prepared:
    wanted = _wanted_spans(size)
    is_own = and_(*(usage_event.c[name] == wanted.c[name] for name in _COUNTER))
    bucket, sums = _summed(wanted)
    query: Select[Any] = (
        select(wanted.c.position, bucket, *sums)
        .join_from(wanted, usage_event, and_(is_own, _is_counted(wanted)))
        .group_by(wanted.c.position, bucket)
    )
    return prepare_list(dialect, query, (*_COUNTER, *_SPAN))


@lru_cache(maxsize=16)
def _prepared_buckets_below(dialect: Dialect, size: int) -> Prepared:
    wanted = _wanted_spans(size)
    event, below = usage_event.c, customer_ancestor.c
    is_below = and_(event.customer_id == below.customer_id, event.feature_id == wanted.c.feature_id)
    bucket, sums = _summed(wanted)
    query: Select[Any] = (
        select(wanted.c.position, bucket, *sums)
        .join_from(wanted, customer_ancestor, below.ancestor_id == wanted.c.customer_id)
        .join(usage_event, and_(is_below, _is_counted(wanted)))
        .group_by(wanted.c.position, bucket)
    )
    return prepare_list(dialect, query, (*_COUNTER, *_SPAN))


_SPAN: Final = ("since_ms", "bucket_ms", "position")


def _wanted_spans(size: int) -> FromClause:
    spans = (column(name, BigInteger) for name in _SPAN)
    return wanted_rows([*columns_of(usage_event, _COUNTER), *spans], size)


def _summed(wanted: FromClause) -> tuple[ColumnElement[int], tuple[ColumnElement[int], ...]]:
    """Return the bucket of events, and what to select of each: its first instant and its units."""
    event = usage_event.c
    # In two halves: the sum itself could overflow the database's integers.
    high = func.sum(event.amount.bitwise_rshift(literal_column("32", BigInteger)))
    low = func.sum(event.amount.bitwise_and(literal_column(str(_HALF - 1), BigInteger)))
    bucket = event.occurred_at_ms - event.occurred_at_ms % wanted.c.bucket_ms
    return bucket, (func.min(event.occurred_at_ms), high, low)


def _is_counted(wanted: FromClause) -> ColumnElement[bool]:
    event = usage_event.c
    return and_(
        event.occurred_at_ms >= wanted.c.since_ms,
        event.amount > literal_column("0", BigInteger),
    )
