"""Adds the usage of one transaction to the totals of every window it counts in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from control_plane.leasing.settling import RollingUsage
from control_plane.metering.counters import CountedSpan, Counter
from control_plane.metering.moving import (
    BucketParts,
    MovingKey,
    Parts,
    SessionParts,
    open_parts,
)
from control_plane.metering.totals import (
    TotalKey,
    delete_totals,
    insert_totals,
    next_usage_revision,
    read_rows,
    read_totals,
    sum_events,
    total_key,
    update_totals,
)
from weighbridge.rules.moving import is_moving
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import Window

_DAY_MS: Final = 86_400_000
CLOSED_KEPT_MS: Final = 40 * _DAY_MS
"""How long rows of ended windows are kept: usage may be reported 35 days late."""

_LONGEST_MS: Final = {
    "hour": 3_600_000,
    # Clock changes and moves across the date line lengthen a local day, and what is made of days.
    "day": 3 * _DAY_MS,
    "week": 9 * _DAY_MS,
    "month": 33 * _DAY_MS,
    "year": 368 * _DAY_MS,
}


class _Row:
    """A total as it will be when the transaction ends, and as it was before."""

    __slots__ = ("before", "has_row", "total")

    def __init__(self, total: int, *, has_row: bool) -> None:
        self.total = self.before = total
        self.has_row = has_row


class Group:
    """The usage of one counter that counts in the same windows."""

    __slots__ = ("counter", "parts", "rows", "span")

    def __init__(self, counter: Counter, span: CountedSpan) -> None:
        self.counter = counter
        self.span = span
        self.rows: list[_Row] = []
        self.parts: list[Parts] = []

    @property
    def keys(self) -> list[TotalKey]:
        return [total_key(self.counter, window) for window in self.span.windows]

    @property
    def moving(self) -> dict[MovingKey, Window]:
        return {MovingKey(self.counter, window.key): window for window in self.span.moving}

    def add(
        self, at_ms: int, amount: int, above: Sequence[Group] = (), spent_ms: int | None = None
    ) -> bool:
        """Count an amount in every window, or in none where a total would not hold it.

        `above` are the groups of the customer's ancestors, in which it counts as well. A hold
        spends of pools at `spent_ms`, later than the instant it counts at.
        """
        rows, parts = self.rows, self.parts
        if above:
            rows = [*rows, *(row for group in above for row in group.rows)]
            parts = [*parts, *(each for group in above for each in group.parts)]
        for row in rows:
            if not -COUNTER_MAX <= row.total + amount <= COUNTER_MAX:
                return False
        for each in parts:
            if not each.has_room(at_ms, amount):
                return False
        for row in rows:
            row.total += amount
        for each in parts:
            each.add(at_ms, amount, spent_ms)
        return True


class Tally:
    """First name all usage with `group`, then `open`, then `Group.add`, then `write`."""

    def __init__(self) -> None:
        # By identity of the span: it belongs to one counter, and the group keeps it alive.
        self._groups: dict[int, Group] = {}
        self._rows: dict[TotalKey, _Row] = {}
        self._parts: dict[MovingKey, Parts] = {}

    @property
    def needs_order(self) -> bool:
        """Whether usage has to be added in the order of its time: that is how sessions open."""
        return any(isinstance(parts, SessionParts) for parts in self._parts.values())

    def group(self, counter: Counter, span: CountedSpan) -> Group:
        """Return the group of the counter's usage in that span."""
        group = self._groups.get(id(span))
        if group is None:
            group = self._groups[id(span)] = Group(counter, span)
        return group

    def open(self, connection: Connection, now_ms: int) -> None:
        """Find what is counted so far. To be called before any event of the transaction is stored.

        A window without a row starts from the sum of its events.
        """
        groups = self._groups.values()
        counted = {
            key: window.end_ms
            for group in groups
            for key, window in zip(group.keys, group.span.windows, strict=True)
        }
        self._sweep(connection, now_ms)
        found = read_totals(connection, counted)
        missing = [(key, end_ms) for key, end_ms in counted.items() if key not in found]
        self._rows = {key: _Row(total, has_row=True) for key, total in found.items()}
        for key, total in sum_events(connection, missing).items():
            self._rows[key] = _Row(total, has_row=False)
        for group in groups:
            group.rows = [self._rows[key] for key in group.keys]
        self._open_parts(connection, now_ms)

    def _open_parts(self, connection: Connection, now_ms: int) -> None:
        moving = [group for group in self._groups.values() if group.span.moving]
        if not moving:
            return
        wanted = {key: window for group in moving for key, window in group.moving.items()}
        self._parts = open_parts(connection, wanted, now_ms)
        for group in moving:
            group.parts = [self._parts[key] for key in group.moving]

    def _sweep(self, connection: Connection, now_ms: int) -> None:
        """Drop rows that usage of a span could belong to, but that it is not counted in.

        They would miss it. No grant wants them now; if one does again, the window is summed from
        its events. Windows that ended long ago go as well.
        """
        unswept = [group for group in self._groups.values() if not group.span.is_swept]
        by_counter: dict[Counter, list[TotalKey]] = defaultdict(list)
        for key in read_rows(connection, (group.counter for group in unswept)):
            by_counter[key.counter].append(key)
        closed_ms = now_ms - CLOSED_KEPT_MS
        dropped = {
            key
            for group in unswept
            for key in by_counter[group.counter]
            if _is_unwanted(group.span, key, closed_ms)
        }
        delete_totals(connection, dropped)
        for group in unswept:
            group.span.is_swept = True

    def write(self, connection: Connection, now_ms: int) -> int | None:
        """Store every total touched; return the usage revision they got, None where there is none.

        Touched is more than changed: usage that settles 0 (a repeated key) has to be told to the
        sidecar that counted it.
        """
        if not self._rows and not self._parts:
            return None
        usage_revision = next_usage_revision(connection, now_ms)
        rows = self._rows.items()
        insert_totals(
            connection,
            ((key, row.total) for key, row in rows if not row.has_row),
            usage_revision,
        )
        update_totals(
            connection, ((key, row.total) for key, row in rows if row.has_row), usage_revision
        )
        self._write_parts(connection, usage_revision)
        return usage_revision

    def totals(self) -> dict[TotalKey, int]:
        """Return every total touched, as it is now."""
        return {key: row.total for key, row in self._rows.items()}

    def rolling(self) -> dict[TotalKey, RollingUsage]:
        """Return the rolling windows touched, as they are now, and what was added to them."""
        return {
            TotalKey(*counter, window_key, 0): RollingUsage(parts.units, parts.spent)
            for (counter, window_key), parts in self._parts.items()
            if isinstance(parts, BucketParts)
        }

    def _write_parts(self, connection: Connection, usage_revision: int) -> None:
        made, changed, removed = [], [], []
        for (counter, window_key), parts in self._parts.items():
            changes = parts.changes()
            of = (*counter, window_key)
            made += [(TotalKey(*of, start), units) for start, units in changes.made.items()]
            changed += [(TotalKey(*of, start), units) for start, units in changes.changed.items()]
            removed += [TotalKey(*of, start) for start in changes.removed]
        if self._parts:
            delete_totals(connection, removed)
            insert_totals(connection, made, usage_revision)
            update_totals(connection, changed, usage_revision)

    def overdrawn(self) -> list[TotalKey]:
        """Return the allocations of which this transaction brought more back than was taken."""
        return [key for key, row in self._rows.items() if row.total < 0 and row.total < row.before]

    @property
    def has_overdraft(self) -> bool:
        """Whether a total is below 0, or was."""
        return any(row.total < 0 or row.before < 0 for row in self._rows.values())


def _is_unwanted(span: CountedSpan, key: TotalKey, closed_ms: int) -> bool:
    if is_moving(key.window_key):
        return all(window.key != key.window_key for window in span.moving)
    return _latest_end_ms(key) <= closed_ms or _may_miss(span, key)


def _may_miss(span: CountedSpan, key: TotalKey) -> bool:
    """Whether usage of the span could lie in the row's window without being counted in it."""
    begins_later = span.until_ms is not None and key.start_ms >= span.until_ms
    if begins_later or _latest_end_ms(key) <= span.from_ms:
        return False
    return not any(
        (window.key, window.start_ms) == (key.window_key, key.start_ms)
        or window.has_sibling(key.window_key, key.start_ms)
        for window in span.windows
    )


def _latest_end_ms(key: TotalKey) -> int:
    """Return an instant that the window has ended by; rows do not keep their end."""
    _, _, rest = key.window_key.partition(":")
    period, _, _ = rest.partition(":")
    return key.start_ms + _LONGEST_MS[period] if period else COUNTER_MAX
