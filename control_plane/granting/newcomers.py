"""Customers that nobody provisioned: made in the transaction that first leases to them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from control_plane.granting.limits import limit_for
from control_plane.granting.work import Asking, Want
from control_plane.metering.counters import CounterCache, CustomerCounters
from control_plane.provisioning import create_unprovisioned, load_customers


def create_newcomers(
    connection: Connection, cache: CounterCache, askings: Sequence[Asking], now_ms: int
) -> list[str]:
    """Make customers that the default plan has, and that are asked for what it gives them.

    The cache has been refreshed with everybody asked for in this transaction. Whoever asks for too
    much is refused as before: it makes nobody.
    """
    wants = {want.pool.customer for asking in askings for want in asking.wants}
    missing = {customer for customer in wants if cache.find(customer) is None}
    default = cache.default() if missing else None
    if default is None:
        return []
    coming = {
        want.pool.customer: None
        for asking in askings
        if all(
            want.pool.customer in missing and _is_given(default, want, now_ms)
            for want in asking.wants
        )
        for want in asking.wants
    }
    ids = [*coming]
    if ids:
        create_unprovisioned(connection, default.catalog.catalog, ids, now_ms)
        cache.put(connection, load_customers(connection, ids))
    return ids


def _is_given(default: CustomerCounters, want: Want, now_ms: int) -> bool:
    found = limit_for(default, want.pool, now_ms)
    return found is not None and 0 < want.units_min <= min(found.limit, want.limit)
