"""What pools of rolling windows have spent by bucket: read with the pools, written with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, delete

from control_plane.leasing.accounts import Pool
from control_plane.storage.lease_tables import lease_bucket
from control_plane.storage.rows import execute_rows, insert_rows, prepare, rows_by_key, update_rows
from weighbridge.rules.rolling import RollingUnits

_KEY: Final = ("pool_id", "start_ms")
_COLUMNS: Final = ("pool_id", "start_ms", "units")


class RollingBuckets:
    """The buckets of one transaction's pools."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._units: dict[int, RollingUnits] = {}
        self._before: dict[int, dict[int, int]] = {}

    def load(self, pools: Iterable[Pool], now_ms: int) -> None:
        """Read those of rolling windows that are not read so far; what has left by now is gone."""
        wanted = [p for p in pools if p.place.rolling_ms is not None and p.id not in self._units]
        found: dict[int, dict[int, int]] = {pool.id: {} for pool in wanted}
        ids = [(pool_id,) for pool_id in found]
        for pool_id, start_ms, units in rows_by_key(
            self._connection, lease_bucket, ("pool_id",), ids
        ):
            found[pool_id][start_ms] = units
        for pool in wanted:
            assert pool.place.rolling_ms is not None, "of a rolling window"
            units = RollingUnits(pool.place.rolling_ms, found[pool.id], pool.rolled_ms or 0)
            units.roll(now_ms)
            self._units[pool.id], self._before[pool.id] = units, found[pool.id]

    def of(self, pool: Pool) -> RollingUnits:
        """Return what a pool that was loaded has spent."""
        return self._units[pool.id]

    def write(self) -> None:
        """Store what changed."""
        made, changed, gone = [], [], []
        for pool_id, spent in self._units.items():
            before = self._before[pool_id]
            for start_ms, units in spent.units.items():
                if start_ms not in before:
                    made.append((pool_id, start_ms, units))
                elif before[start_ms] != units:
                    changed.append((units, pool_id, start_ms))
            gone += [(pool_id, start_ms) for start_ms in before.keys() - spent.units.keys()]
            self._before[pool_id] = dict(spent.units)
        connection = self._connection
        is_row = [lease_bucket.c[name] == bindparam(name) for name in _KEY]
        statement = prepare(connection.dialect, delete(lease_bucket).where(*is_row), _KEY)
        execute_rows(connection, statement, sorted(gone))
        insert_rows(connection, lease_bucket, _COLUMNS, made)
        update_rows(connection, lease_bucket, ("units",), _KEY, changed)
