"""Units settled per window: read, summed from events where no row is, and added to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    Connection,
    Delete,
    String,
    Tuple,
    Update,
    bindparam,
    column,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
    values,
)

from control_plane.metering.counters import CountedWindow, Counter, CustomerCounters
from control_plane.metering.rows import insert_rows
from control_plane.storage.tables import environment, usage_event, usage_total
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import Window

T = TypeVar("T")
ChangeT = TypeVar("ChangeT", Update, Delete)

COUNTERS_PER_QUERY: Final = 200
HALF: Final = 2**32


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
    """Take the next usage revision. Its row stays locked until the transaction ends."""
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


def counters_changed_since(connection: Connection, usage_revision: int) -> list[Counter]:
    """Return the counters with a total that changed after the usage revision."""
    table = usage_total.c
    query = (
        select(table.customer_id, table.resource_id, table.feature_id)
        .where(table.usage_revision > usage_revision)
        .distinct()
    )
    return [Counter(*row) for row in connection.execute(query)]


def read_rows(connection: Connection, counters: Iterable[Counter]) -> dict[TotalKey, int]:
    """Return every row there is of these counters; locked, where this transaction writes."""
    table = usage_total.c
    counter = tuple_(table.customer_id, table.resource_id, table.feature_id)
    return _read(connection, counter, sorted(set(counters)))


def read_totals(connection: Connection, keys: Iterable[TotalKey]) -> dict[TotalKey, int]:
    """Return those rows that there are; locked, where this transaction writes."""
    return _read(connection, tuple_(*usage_total.primary_key.columns), sorted(keys))


def _read(
    connection: Connection, columns: Tuple, wanted: Sequence[tuple[object, ...]]
) -> dict[TotalKey, int]:
    primary_key = tuple(usage_total.primary_key.columns)
    is_writing = connection.get_execution_options().get("weighbridge_writes", False)
    found: dict[TotalKey, int] = {}
    for chunk in _chunks(wanted, COUNTERS_PER_QUERY):
        # In order, so that two transactions never wait for each other's rows.
        query = (
            select(*primary_key, usage_total.c.total)
            .where(columns.in_(chunk))
            .order_by(*primary_key)
        )
        if is_writing:
            query = query.with_for_update()
        for *key, total in connection.execute(query):
            found[TotalKey(*key)] = total
    return found


def sum_events(
    connection: Connection, windows: Sequence[tuple[TotalKey, int | None]]
) -> dict[TotalKey, int]:
    """Sum the events of windows, each given with its end."""
    sums: dict[TotalKey, int] = {}
    for chunk in _chunks(windows, COUNTERS_PER_QUERY):
        wanted = (
            values(
                column("position", BigInteger),
                column("customer", String),
                column("resource", String),
                column("feature", String),
                column("start_ms", BigInteger),
                column("end_ms", BigInteger),
                name="wanted",
            )
            .data([_wanted_row(i, key, end_ms) for i, (key, end_ms) in enumerate(chunk)])
            .cte("wanted")
        )
        event = usage_event.c
        # In two halves: the sum itself could overflow the database's integers.
        query = (
            select(
                wanted.c.position,
                func.sum(event.amount // HALF),
                func.sum(event.amount % HALF),
            )
            .join(
                usage_event,
                (event.customer_id == wanted.c.customer)
                & (event.resource_id == wanted.c.resource)
                & (event.feature_id == wanted.c.feature)
                & (event.occurred_at_ms >= wanted.c.start_ms)
                & (event.occurred_at_ms < wanted.c.end_ms),
            )
            .group_by(wanted.c.position)
        )
        for position, high, low in connection.execute(query):
            # A total that is full stays so, and shows: further usage is set aside as overflow.
            sums[chunk[position][0]] = min(int(high) * HALF + int(low), COUNTER_MAX)
    return {key: sums.get(key, 0) for key, _ in windows}


def _wanted_row(
    position: int, key: TotalKey, end_ms: int | None
) -> tuple[int, str, str, str, int, int]:
    last_ms = 2**62 if end_ms is None else end_ms
    return (position, key.customer, key.resource, key.feature, key.start_ms, last_ms)


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
    return {customer.customer.id: tuple(totals[customer.customer.id]) for customer, _ in wanted}


def all_counters(customer: CustomerCounters) -> list[Counter]:
    """Return every counter a customer can have."""
    return [
        Counter(customer.customer.id, resource, feature)
        for resource in customer.resources
        for feature in customer.catalog.metered
    ]


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
    rows = [
        {**_row_parameters(key), "new_total": total, "new_revision": usage_revision}
        for key, total in totals
    ]
    if rows:
        changed = _matching(update(usage_total)).values(
            total=bindparam("new_total"), usage_revision=bindparam("new_revision")
        )
        connection.execute(changed, rows)


def delete_totals(connection: Connection, keys: Iterable[TotalKey]) -> None:
    """Remove rows that no grant counts in any more; from events they can be made again."""
    rows = [_row_parameters(key) for key in keys]
    if rows:
        connection.execute(_matching(delete(usage_total)), rows)


def _matching(statement: ChangeT) -> ChangeT:
    table = usage_total.c
    return statement.where(
        table.customer_id == bindparam("in_customer"),
        table.resource_id == bindparam("in_resource"),
        table.feature_id == bindparam("in_feature"),
        table.window_key == bindparam("in_window"),
        table.window_start_ms == bindparam("in_start_ms"),
    )


def _row_parameters(key: TotalKey) -> dict[str, object]:
    return {
        "in_customer": key.customer,
        "in_resource": key.resource,
        "in_feature": key.feature,
        "in_window": key.window_key,
        "in_start_ms": key.start_ms,
    }


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))
