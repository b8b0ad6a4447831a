"""Open holds: units that records drew from leases and that nobody has used so far.

They belong to the sidecar and not to an epoch; only records move them, so each step counts once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import bindparam, delete

from control_plane.leasing.book import LeaseBook
from control_plane.storage.lease_tables import lease_hold
from control_plane.storage.rows import execute_rows, insert_rows, prepare, rows_by_key
from weighbridge.rules.moving import BUCKETS

_HOLD: Final = ("sidecar_id", "customer_id", "reservation")
_COLUMNS: Final = [column.name for column in lease_hold.columns]


class HoldKey(NamedTuple):
    """A reservation of a customer on one sidecar."""

    sidecar_id: str
    customer: str
    reservation: str


class HoldStep(NamedTuple):
    """A hold as it is from a record on: all units it holds, by lease; none where it closed."""

    key: HoldKey
    units: tuple[tuple[int, int], ...]
    expires_at_ms: int = 0


def post_holds(book: LeaseBook, steps: Sequence[HoldStep]) -> Mapping[int, int]:
    """Move holds; return by how many units what is held of each pool changed.

    A lease that is not known, or is another sidecar's, holds nothing.
    """
    if not steps:
        return {}
    changed: defaultdict[int, int] = defaultdict(int)
    before = _stored(book, {step.key for step in steps})
    book.load_leases({lease for step in steps for lease, _ in step.units})
    after: dict[HoldKey, HoldStep] = {step.key: step for step in steps}
    rows = []
    for key, step in after.items():
        for pool_id, units, is_presumed in before[key]:
            changed[pool_id] -= units
            if is_presumed:
                book.credits.presumed_holds[pool_id] -= units
        for id_, units in step.units:
            lease = book.leases.get(id_)
            if lease is not None and lease.sidecar_id == key.sidecar_id:
                changed[lease.pool_id] += units
                pool = book.pools[lease.pool_id]
                lapses_ms = _lapses_ms(pool.place.rolling_ms, step.expires_at_ms)
                rows.append((*key, id_, pool.id, units, step.expires_at_ms, False, lapses_ms))
    _delete(book, (key for key in after if before[key]))
    insert_rows(book.connection, lease_hold, _COLUMNS, rows)
    book.load_pools(changed)
    return changed


def _lapses_ms(rolling_ms: int | None, expires_at_ms: int) -> int | None:
    return None if rolling_ms is None else expires_at_ms + rolling_ms + rolling_ms // BUCKETS


def _stored(
    book: LeaseBook, keys: Iterable[HoldKey]
) -> defaultdict[HoldKey, list[tuple[int, int, bool]]]:
    found: defaultdict[HoldKey, list[tuple[int, int, bool]]] = defaultdict(list)
    rows = {tuple(row) for row in rows_by_key(book.connection, lease_hold, _HOLD, keys)}
    for sidecar_id, customer, reservation, _, pool_id, units, _, is_presumed, *_ in rows:
        found[HoldKey(sidecar_id, customer, reservation)].append(
            (pool_id, units, bool(is_presumed))
        )
    return found


def _delete(book: LeaseBook, keys: Iterable[HoldKey]) -> None:
    is_row = [lease_hold.c[name] == bindparam(name) for name in _HOLD]
    statement = prepare(book.connection.dialect, delete(lease_hold).where(*is_row), _HOLD)
    execute_rows(book.connection, statement, keys)
