"""Units settled per window: read, summed from events where no row is, and added to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    bindparam,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)

from control_plane.metering.counters import CountedWindow, Counter, CustomerCounters
from control_plane.metering.moving import MovingKey, open_parts
from control_plane.storage.rows import (
    Prepared,
    chunks_filled,
    columns_of,
    execute_rows,
    insert_rows,
    prepare,
    prepare_list,
    rows_by_key,
    size_of,
    update_rows,
    wanted_rows,
)
from control_plane.storage.tables import (
    OVERDRAWN,
    customer_ancestor,
    environment,
    usage_event,
    usage_total,
)
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import Window

HALF: Final = 2**32
FOREVER_MS: Final = 2**62

_COUNTER: Final = ("customer_id", "resource_id", "feature_id")
_USED: Final = ("customer_id", "feature_id")
_KEY: Final = (*_COUNTER, "window_key", "window_start_ms")


class TotalKey(NamedTuple):
    """One row of totals."""

    customer: str
    resource: str
    feature: str
    window_key: str
    start_ms: int

    @property
    def counter(self) -> Counter:
        return Counter(self.customer, self.resource, self.feature)


class WindowTotal(NamedTuple):
    """Units settled in one window of a customer's."""

    resource: str
    feature: str
    window: Window
    window_start_ms: int
    total: int


def total_key(counter: Counter, counted: CountedWindow) -> TotalKey:
    return TotalKey(*counter, counted.key, counted.start_ms)


def current_usage_revision(connection: Connection) -> int:
    """Return the revision of the last change of totals; 0 where nothing was ever settled."""
    return connection.execute(select(environment.c.usage_revision)).scalar_one_or_none() or 0


def next_usage_revision(connection: Connection, now_ms: int) -> int:
    """Take the next usage revision: whoever else takes one waits until the transaction ends."""
    taken: int | None = connection.execute(
        update(environment)
        .values(usage_revision=environment.c.usage_revision + 1)
        .returning(environment.c.usage_revision)
    ).scalar_one_or_none()
    if taken is not None:
        return taken
    connection.execute(
        insert(environment).values(id=1, revision=0, usage_revision=1, created_at_ms=now_ms)
    )
    return 1


def counters_changed_since(connection: Connection, usage_revision: int) -> dict[Counter, int]:
    """Return the counters with a total that changed after the usage revision, and when last."""
    table = usage_total.c
    counter = (table.customer_id, table.resource_id, table.feature_id)
    query = (
        select(*counter, func.max(table.usage_revision))
        .where(table.usage_revision > usage_revision)
        .group_by(*counter)
    )
    return {Counter(*key): changed for *key, changed in connection.execute(query).all()}


def count_overdrawn(connection: Connection) -> int:
    """Return how many totals are below 0: of allocations that more was released of than taken."""
    query = select(func.count()).select_from(usage_total).where(text(OVERDRAWN))
    return connection.execute(query).scalar_one()


def read_rows(connection: Connection, counters: Iterable[Counter]) -> dict[TotalKey, int]:
    """Return every row there is of these counters."""
    return _read(connection, _COUNTER, counters)


def read_totals(connection: Connection, keys: Iterable[TotalKey]) -> dict[TotalKey, int]:
    """Return those rows that there are."""
    return _read(connection, _KEY, keys)


def _read(
    connection: Connection, columns: tuple[str, ...], wanted: Iterable[tuple[object, ...]]
) -> dict[TotalKey, int]:
    return {
        TotalKey(*key): total
        for *key, total, _ in rows_by_key(connection, usage_total, columns, wanted)
    }


def sum_events(
    connection: Connection, windows: Iterable[tuple[TotalKey, int | None]]
) -> dict[TotalKey, int]:
    """Sum the events of windows, each given with its end.

    Of a customer itself that is all of everybody under it as well, whatever their resource.
    """
    rows = [
        (*key.counter, key.start_ms, FOREVER_MS if end_ms is None else end_ms, key)
        for key, end_ms in windows
    ]
    sums = {row[-1]: 0 for row in rows}
    _add_sums(connection, _prepared_sum, rows, sums)
    _add_sums(connection, _prepared_sum_below, [row for row in rows if not row[1]], sums)
    # A total that is full stays so, and shows: further usage is set aside as overflow.
    return {key: max(min(total, COUNTER_MAX), -COUNTER_MAX) for key, total in sums.items()}


def _add_sums(
    connection: Connection,
    prepared: Callable[[Dialect, int], Prepared],
    rows: Sequence[tuple[Any, ...]],
    sums: dict[TotalKey, int],
) -> None:
    for chunk in chunks_filled(connection.dialect, rows):
        statement = prepared(connection.dialect, size_of(connection.dialect, chunk))
        numbered = [(*row[:-1], position) for position, row in enumerate(chunk)]
        added: dict[TotalKey, int] = {}
        for position, high, low in connection.exec_driver_sql(
            statement.text, statement.of_rows(numbered)
        ):
            # The last row may be there several times, to fill the chunk.
            added[chunk[position][-1]] = int(high) * HALF + int(low)
        for key, total in added.items():
            sums[key] += total


@lru_cache(maxsize=16)
def _prepared_sum(dialect: Dialect, size: int) -> Prepared:
    wanted = _wanted_spans(size)
    event = usage_event.c
    is_in_window = and_(*(event[name] == wanted.c[name] for name in _COUNTER), _is_within(wanted))
    query: Select[Any] = (
        select(wanted.c.position, *_HALVES)
        .join_from(wanted, usage_event, is_in_window)
        .group_by(wanted.c.position)
    )
    return prepare_list(dialect, query, (*_COUNTER, *_SPAN))


@lru_cache(maxsize=16)
def _prepared_sum_below(dialect: Dialect, size: int) -> Prepared:
    wanted = _wanted_spans(size)
    event, below = usage_event.c, customer_ancestor.c
    is_in_window = and_(
        event.customer_id == below.customer_id,
        event.feature_id == wanted.c.feature_id,
        _is_within(wanted),
    )
    query: Select[Any] = (
        select(wanted.c.position, *_HALVES)
        .join_from(wanted, customer_ancestor, below.ancestor_id == wanted.c.customer_id)
        .join(usage_event, is_in_window)
        .group_by(wanted.c.position)
    )
    return prepare_list(dialect, query, (*_COUNTER, *_SPAN))


_SPAN: Final = ("start_ms", "end_ms", "position")

# In two halves: the sum itself could overflow the database's integers. Halves by bits and
# literals, for the parameters are the cells alone. Of a negative amount the high half is
# rounded down and the low one is positive: both engines shift in the sign.
_HALVES: Final = (
    func.sum(usage_event.c.amount.bitwise_rshift(literal_column("32", BigInteger))),
    func.sum(usage_event.c.amount.bitwise_and(literal_column(str(HALF - 1), BigInteger))),
)


def _wanted_spans(size: int) -> FromClause:
    spans = (column(name, BigInteger) for name in _SPAN)
    return wanted_rows([*columns_of(usage_event, _COUNTER), *spans], size)


def _is_within(wanted: FromClause) -> ColumnElement[bool]:
    occurred_at_ms = usage_event.c.occurred_at_ms
    return and_(occurred_at_ms >= wanted.c.start_ms, occurred_at_ms < wanted.c.end_ms)


def read_current(
    connection: Connection,
    wanted: Sequence[tuple[CustomerCounters, Sequence[Counter]]],
    now_ms: int,
) -> dict[str, tuple[WindowTotal, ...]]:
    """Return the totals of the windows that these counters of customers are in now.

    Creates nothing: a window without a row is summed from its events.
    """
    windows = {
        total_key(counter, counted): counted
        for customer, counters in wanted
        for counter in counters
        for counted in _current_windows(customer, counter, now_ms)
    }
    found = read_totals(connection, windows)
    missing = [(key, counted.end_ms) for key, counted in windows.items() if key not in found]
    found.update(sum_events(connection, missing))
    totals: dict[str, list[WindowTotal]] = defaultdict(list)
    for key, counted in windows.items():
        totals[key.customer].append(
            WindowTotal(key.resource, key.feature, counted.window, key.start_ms, found[key])
        )
    for moving in _read_moving(connection, wanted, now_ms):
        totals[moving.customer].append(moving.total)
    return {customer.customer.id: tuple(totals[customer.customer.id]) for customer, _ in wanted}


class _MovingTotal(NamedTuple):
    customer: str
    total: WindowTotal


def _read_moving(
    connection: Connection,
    wanted: Sequence[tuple[CustomerCounters, Sequence[Counter]]],
    now_ms: int,
) -> Iterator[_MovingTotal]:
    """Yield the totals of all parts of rolling windows and sessions."""
    windows = {
        MovingKey(counter, window.key): window
        for customer, counters in wanted
        for counter in counters
        for window in customer.span(counter, now_ms, now_ms).moving
    }
    for key, parts in open_parts(connection, windows, now_ms).items():
        _, resource, feature = key.counter
        for start_ms, units in parts.current.items():
            total = WindowTotal(resource, feature, windows[key], start_ms, units)
            yield _MovingTotal(key.counter.customer, total)


def used_counters(
    connection: Connection, customers: Sequence[CustomerCounters]
) -> list[tuple[CustomerCounters, list[Counter]]]:
    """Return, of each customer, the counters of features it or any under it ever used.

    All others stand at 0. Working out the windows of everything that a customer could use costs
    far more than asking.
    """
    asked = {
        (customer.customer.id, feature)
        for customer in customers
        for feature in customer.catalog.metered
    }
    used = _used(connection, asked)
    return [
        (
            customer,
            [
                Counter(customer.customer.id, resource, feature)
                for resource in customer.resources
                for feature in customer.catalog.metered
                if (customer.customer.id, feature) in used
            ],
        )
        for customer in customers
    ]


def _used(connection: Connection, asked: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    used: set[tuple[str, str]] = set()
    for chunk in chunks_filled(connection.dialect, sorted(asked)):
        statement = _prepared_used(connection.dialect, size_of(connection.dialect, chunk))
        found = connection.exec_driver_sql(statement.text, statement.of_rows(chunk))
        used.update((customer, feature) for customer, feature in found)
    return used


@lru_cache(maxsize=16)
def _prepared_used(dialect: Dialect, size: int) -> Prepared:
    wanted = wanted_rows(columns_of(usage_event, _USED), size)
    event, below = usage_event.c, customer_ancestor.c
    is_used = exists().where(*(event[name] == wanted.c[name] for name in _USED))
    is_used_below = exists().where(
        below.ancestor_id == wanted.c.customer_id,
        event.customer_id == below.customer_id,
        event.feature_id == wanted.c.feature_id,
    )
    query: Select[Any] = select(*(wanted.c[name] for name in _USED)).where(
        or_(is_used, is_used_below)
    )
    return prepare_list(dialect, query, _USED)


def _current_windows(
    customer: CustomerCounters, counter: Counter, now_ms: int
) -> Iterator[CountedWindow]:
    """Yield one window of each kind: where grants to come share it, that of the one in force."""
    seen: set[str] = set()
    for counted in customer.span(counter, now_ms, now_ms).windows:
        if counted.key not in seen:
            seen.add(counted.key)
            yield counted


def insert_totals(
    connection: Connection, totals: Iterable[tuple[TotalKey, int]], usage_revision: int
) -> None:
    """Make the rows of windows that had none."""
    columns = [column.name for column in usage_total.columns]
    insert_rows(
        connection, usage_total, columns, [(*key, total, usage_revision) for key, total in totals]
    )


def update_totals(
    connection: Connection, totals: Iterable[tuple[TotalKey, int]], usage_revision: int
) -> None:
    """Set the totals of rows that were read in this transaction."""
    rows = ((total, usage_revision, *key) for key, total in totals)
    update_rows(connection, usage_total, ("total", "usage_revision"), _KEY, rows)


def delete_totals(connection: Connection, keys: Iterable[TotalKey]) -> None:
    """Remove rows that no grant counts in any more; from events they can be made again."""
    execute_rows(connection, _prepared_delete(connection.dialect), keys)


@lru_cache(maxsize=4)
def _prepared_delete(dialect: Dialect) -> Prepared:
    is_row = [usage_total.c[name] == bindparam(name) for name in _KEY]
    return prepare(dialect, delete(usage_total).where(*is_row), _KEY)
