"""Checks that no unit was made or lost: every term from its own rows, by SQL of its own.

Nothing here is shared with what posts. Of each pool:
`granted + overage = available + outstanding + suspended + held + settled + presumed`, each at least
0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, text

POOLS_PER_PAGE: Final = 500
HALF: Final = 2**32
FOREVER_MS: Final = 2**62

_PAGE: Final = text(
    """
    WITH page AS (SELECT * FROM lease_pool WHERE id > :after ORDER BY id LIMIT :count),
    units AS (
        SELECT lease.pool_id, holder.state, lease.presumed AS presumed,
            lease.granted - lease.returned - lease.drawn - lease.presumed AS rest,
            CASE WHEN lease.returned < 0 OR lease.drawn < 0 OR lease.presumed < 0
                OR lease.granted - lease.returned - lease.drawn - lease.presumed < 0
                THEN 1 ELSE 0 END AS broken
        FROM page JOIN lease ON lease.pool_id = page.id
        LEFT JOIN lease_holder AS holder
            ON holder.sidecar_id = lease.sidecar_id AND holder.epoch = lease.epoch
    ),
    leased AS (
        SELECT pool_id,
            SUM(CASE WHEN state = 'open' THEN rest ELSE 0 END) AS outstanding,
            SUM(CASE WHEN state = 'suspended' THEN rest ELSE 0 END) AS suspended,
            SUM(CASE WHEN state IN ('open', 'suspended') THEN 0 ELSE rest END) AS stray,
            SUM(presumed) AS presumed,
            SUM(broken) AS broken
        FROM units GROUP BY pool_id
    ),
    holds AS (
        SELECT lease_hold.pool_id,
            SUM(CASE WHEN lease_hold.is_presumed THEN 0 ELSE lease_hold.units END) AS held,
            SUM(CASE WHEN lease_hold.is_presumed THEN lease_hold.units ELSE 0 END) AS presumed
        FROM page JOIN lease_hold ON lease_hold.pool_id = page.id GROUP BY lease_hold.pool_id
    ),
    buckets AS (
        SELECT lease_bucket.pool_id, SUM(lease_bucket.units) AS spent,
            SUM(CASE WHEN lease_bucket.start_ms < page.rolled_ms THEN lease_bucket.units ELSE 0 END)
                AS left_over,
            MIN(lease_bucket.start_ms) AS first_ms
        FROM page JOIN lease_bucket ON lease_bucket.pool_id = page.id
        GROUP BY lease_bucket.pool_id
    )
    SELECT page.*, usage_total.total,
        COALESCE(buckets.spent, 0) AS spent,
        COALESCE(buckets.left_over, 0) AS left_over,
        buckets.first_ms AS first_ms,
        COALESCE(leased.outstanding, 0) AS outstanding,
        COALESCE(leased.suspended, 0) AS suspended,
        COALESCE(leased.stray, 0) AS stray,
        COALESCE(leased.presumed, 0) AS presumed,
        COALESCE(holds.presumed, 0) AS presumed_held,
        COALESCE(leased.broken, 0) AS broken,
        COALESCE(holds.held, 0) AS held
    FROM page LEFT JOIN leased ON leased.pool_id = page.id
    LEFT JOIN holds ON holds.pool_id = page.id
    LEFT JOIN buckets ON buckets.pool_id = page.id
    LEFT JOIN usage_total ON usage_total.customer_id = page.customer_id
        AND usage_total.resource_id = page.resource_id
        AND usage_total.feature_id = page.feature_id
        AND usage_total.window_key = page.window_key
        AND usage_total.window_start_ms = page.window_start_ms
    ORDER BY page.id
    """
)

# In two halves: the sum itself could overflow the database's integers.
_EVENTS: Final = text(
    """
    SELECT COALESCE(SUM(amount / :half), 0) AS high, COALESCE(SUM(amount % :half), 0) AS low
    FROM usage_event
    WHERE feature_id = :feature_id
        AND occurred_at_ms >= :start_ms AND occurred_at_ms < :end_ms
        AND (
            (customer_id = :customer_id AND resource_id = :resource_id)
            OR (:resource_id = '' AND customer_id IN (
                SELECT customer_id FROM customer_ancestor WHERE ancestor_id = :customer_id
            ))
        )
    """
)


# Of a rolling window: nothing is counted that its pool did not spend.
_COUNTED: Final = text(
    """
    SELECT COALESCE(SUM(total), 0) FROM usage_total
    WHERE customer_id = :customer_id AND resource_id = :resource_id AND feature_id = :feature_id
        AND window_key = :window_key AND window_start_ms >= :rolled_ms
    """
)


class Difference(NamedTuple):
    """Something that does not add up: which pool, which term, what it should be and what it is."""

    pool_id: int
    pool: str
    term: str
    expected: int
    found: int

    def __str__(self) -> str:
        return f"pool {self.pool_id} ({self.pool}): {self.term} {self.found}, not {self.expected}"


@dataclass(slots=True)
class PoolSums:
    """Units of many pools by state, and what does not add up in them."""

    pools: int = 0
    granted: int = 0
    available: int = 0
    outstanding: int = 0
    suspended: int = 0
    held: int = 0
    settled: int = 0
    presumed: int = 0
    overage: int = 0
    differences: list[Difference] = field(default_factory=list)

    def units(self) -> dict[str, int]:
        """Return the sum of each term."""
        names = ("granted", "available", "outstanding", "suspended", "held", "settled")
        return {name: getattr(self, name) for name in (*names, "presumed", "overage")}


def check_page(connection: Connection, after: int, sums: PoolSums) -> int | None:
    """Check the pools that come after an id, and add them up; return the last one's id.

    None where there are no more. A page is one view of the database, which is enough: no unit
    moves from pool to pool.
    """
    rows = connection.execute(_PAGE, {"after": after, "count": POOLS_PER_PAGE}).all()
    for row in rows:
        _check(connection, row, sums)
    return rows[-1].id if len(rows) == POOLS_PER_PAGE else None


def check_all(connection: Connection) -> PoolSums:
    """Check every pool."""
    sums = PoolSums()
    after: int | None = 0
    while after is not None:
        after = check_page(connection, after, sums)
    return sums


def _check(connection: Connection, row: Row[Any], sums: PoolSums) -> None:
    outstanding, suspended = int(row.outstanding), int(row.suspended)
    presumed = int(row.presumed) + int(row.presumed_held)
    settled = row.settled
    if row.window_key.startswith("rolling:"):
        settled = int(row.spent)
        _check_rolling(connection, row, sums)
    elif row.total is not None:
        settled = max(row.total, 0)
        _compare(sums, row, "settled", settled, row.settled)
    else:
        # No grant counts in the window now; what is used in it all the same is posted when one
        # does again, before anything is leased.
        events = _events(connection, row)
        _compare(sums, row, "settled, of events", min(max(events, 0), row.settled), row.settled)
    taken = outstanding + suspended + int(row.held) + presumed + settled
    put_in = row.granted_limit + row.overage
    _compare(sums, row, "granted and overage", row.available + taken, put_in)
    _compare(sums, row, "available", max(row.limit_units - taken, 0), row.available)
    _compare(sums, row, "units of leases whose epoch ended", 0, int(row.stray))
    _compare(sums, row, "leases that give more than they have", 0, int(row.broken))
    least = min(row.available, row.overage, row.granted_limit, settled)
    _compare(sums, row, "least term", max(least, 0), least)
    sums.pools += 1
    sums.granted += row.granted_limit
    sums.available += row.available
    sums.outstanding += outstanding
    sums.suspended += suspended
    sums.held += int(row.held)
    sums.settled += settled
    sums.presumed += presumed
    sums.overage += row.overage


def _check_rolling(connection: Connection, row: Row[Any], sums: PoolSums) -> None:
    spent = int(row.spent)
    _compare(sums, row, "settled, of buckets", spent, row.settled)
    _compare(sums, row, "units that have left the window", 0, int(row.left_over))
    names = ("customer_id", "resource_id", "feature_id", "window_key", "rolled_ms")
    counted = connection.execute(_COUNTED, {name: getattr(row, name) for name in names})
    _compare(sums, row, "settled, as counted", max(int(counted.scalar_one()), spent), spent)
    # Whoever waits for units to come back looks at this instant alone.
    length_ms = int(row.window_key.partition(":")[2])
    leaves_ms = None if row.first_ms is None else row.first_ms + length_ms + length_ms // 60
    _compare(sums, row, "instant at which units leave", leaves_ms or 0, row.leaves_at_ms or 0)


def _compare(sums: PoolSums, row: Row[Any], term: str, expected: int, found: int) -> None:
    if expected != found:
        of = f"{row.customer_id} {row.resource_id}".strip()
        pool = f"{of}, {row.feature_id}, limit {row.limit_id} from {row.window_start_ms}"
        sums.differences.append(Difference(row.id, pool, term, expected, found))


def _events(connection: Connection, row: Row[Any]) -> int:
    window = {
        "start_ms": row.window_start_ms,
        "end_ms": FOREVER_MS if row.window_end_ms is None else row.window_end_ms,
    }
    counter = {name: getattr(row, name) for name in ("customer_id", "resource_id", "feature_id")}
    high, low = connection.execute(_EVENTS, {"half": HALF, **counter, **window}).one()
    return int(high) * HALF + int(low)
