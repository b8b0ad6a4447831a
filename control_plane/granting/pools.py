"""Opens pools: brings them to the limit and the total there are now, before anything is given."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from control_plane.granting.limits import FoundLimit
from control_plane.leasing.accounts import Pool, TotalPlace
from control_plane.leasing.book import LeaseBook
from control_plane.metering.counters import Counter
from control_plane.metering.moving import MovingKey, open_parts
from control_plane.metering.totals import (
    TotalKey,
    current_usage_revision,
    insert_totals,
    read_totals,
    sum_events,
)
from weighbridge.rules.lease import PoolKey
from weighbridge.rules.window import Window


def open_pools(
    book: LeaseBook, wanted: Mapping[PoolKey, FoundLimit], now_ms: int
) -> dict[PoolKey, Pool]:
    """Return the pools of limits, made where they are new."""
    turning = {f.place: f.window_end_ms for f in wanted.values() if f.rolling is None}
    totals = pool_totals(book.connection, turning)
    rolling = {f.place: f.rolling for f in wanted.values() if f.rolling is not None}
    counted = rolling_buckets(book.connection, rolling, now_ms)
    pools = book.load_pools_at([*totals, *counted])
    by_limit = {(pool.place, pool.limit_id): pool for pool in pools}
    new = [
        _new_pool(key, found)
        for key, found in wanted.items()
        if (found.place, key.limit_id) not in by_limit
    ]
    if new:
        by_limit.update(((p.place, p.limit_id), p) for p in book.make_pools(new, now_ms))
    opened = {key: by_limit[found.place, key.limit_id] for key, found in wanted.items()}
    book.buckets.load(opened.values(), now_ms)
    for key, found in wanted.items():
        pool = opened[key]
        pool.window_end_ms = found.window_end_ms
        # No change, except where the window was not counted for a while, or units have left it.
        if found.rolling is None:
            pool.settle(totals[found.place], 0)
        else:
            units = book.buckets.of(pool)
            units.cover(counted[found.place])
            pool.settle_rolling(units, 0)
        pool.set_limit(found.limit)
    return opened


def pool_totals(
    connection: Connection, places: Mapping[TotalPlace, int | None]
) -> dict[TotalPlace, int]:
    """Return what is settled in windows, given with their ends, and have it counted from now on."""
    keys = {TotalKey(*place): end_ms for place, end_ms in places.items()}
    totals = read_totals(connection, keys)
    missing = [(key, end_ms) for key, end_ms in keys.items() if key not in totals]
    if missing:
        sums = sum_events(connection, missing)
        # The revision stays: what sidecars are told of the window does not change.
        insert_totals(connection, sums.items(), current_usage_revision(connection))
        totals.update(sums)
    return {TotalPlace(*key): total for key, total in totals.items()}


def rolling_buckets(
    connection: Connection, windows: Mapping[TotalPlace, Window], now_ms: int
) -> dict[TotalPlace, Mapping[int, int]]:
    """Return what is counted of rolling windows by bucket, and have it counted from now on."""
    if not windows:
        return {}
    keys = {
        MovingKey(Counter(place.customer, place.resource, place.feature), place.window_key): place
        for place in windows
    }
    parts = open_parts(connection, {key: windows[place] for key, place in keys.items()}, now_ms)
    made = [
        (TotalKey(*key.counter, key.window_key, start_ms), units)
        for key, found in parts.items()
        if not found.stored
        for start_ms, units in found.changes().made.items()
    ]
    if made:
        insert_totals(connection, made, current_usage_revision(connection))
    return {keys[key]: found.units for key, found in parts.items()}


def _new_pool(key: PoolKey, found: FoundLimit) -> Pool:
    return Pool(
        id=0,
        place=found.place,
        limit_id=key.limit_id,
        window_end_ms=found.window_end_ms,
        granted_limit=0,
        limit_units=0,
        available=0,
        overage=0,
        settled=0,
        version=0,
    )
