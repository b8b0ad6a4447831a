"""Which limit a pool is of, as customer and catalog have it now."""

from __future__ import annotations

from typing import Final, NamedTuple

from control_plane.leasing.accounts import TotalPlace
from control_plane.metering.counters import CounterCache, CustomerCounters
from weighbridge.rules.catalog import Limit, LimitKind
from weighbridge.rules.lease import LostLease, PoolKey
from weighbridge.rules.window import Window, WindowBounds, WindowKind, window_bounds

AHEAD_MS: Final = 5_000
"""How long before a window begins units of it are given out."""

FOUND_MAX: Final = 100_000
ROLLING_BOUNDS: Final = WindowBounds(0, None)
"""A rolling window never turns: units leave it."""


class FoundLimit(NamedTuple):
    """A hard limit that holds, or will in a moment."""

    place: TotalPlace
    limit: int
    window_end_ms: int | None
    rolling: Window | None = None


class _Kept(NamedTuple):
    customer: CustomerCounters
    found: FoundLimit | None
    until_ms: int


class LimitFinder:
    """Finds limits, and remembers them until they may have changed. For one thread at a time."""

    def __init__(self) -> None:
        self._kept: dict[PoolKey, _Kept] = {}

    def find(self, cache: CounterCache, key: PoolKey, now_ms: int) -> FoundLimit | None:
        """Return the limit of a pool; None where there is none now: nothing of it is given out.

        The cache has been refreshed with the customer in this transaction.
        """
        customer = cache.find(key.customer)
        if customer is None:
            return None
        kept = self._kept.get(key)
        if kept is None or kept.customer is not customer or now_ms >= kept.until_ms:
            if len(self._kept) >= FOUND_MAX:
                self._kept.clear()
            kept = self._kept[key] = _find(customer, key, now_ms)
        return kept.found


def is_released(cache: CounterCache, place: TotalPlace) -> bool:
    """Whether units of a place go to others when their sidecar stays away."""
    customer = cache.find(place.customer)
    features = {} if customer is None else customer.catalog.catalog.features
    feature = features.get(place.feature)
    return feature is not None and feature.lost_lease is LostLease.RELEASE


def limit_for(customer: CustomerCounters, key: PoolKey, now_ms: int) -> FoundLimit | None:
    """Return the limit that such a customer has of a pool; whose pool it is does not matter."""
    return _find(customer, key, now_ms).found


def _find(customer: CustomerCounters, key: PoolKey, now_ms: int) -> _Kept:
    found, until_ms = _find_at(customer, key, now_ms)
    if found is None:
        # Of the next window, looked for again each time: it is about to begin.
        ahead, _ = _find_at(customer, key, now_ms + AHEAD_MS)
        is_next = ahead is not None and key.window_start_ms > now_ms
        return _Kept(customer, ahead if is_next else None, now_ms)
    ends = (end_ms for end_ms in (until_ms, found.window_end_ms) if end_ms is not None)
    return _Kept(customer, found, min(ends, default=now_ms + 24 * 3_600_000))


def _find_at(
    customer: CustomerCounters, key: PoolKey, at_ms: int
) -> tuple[FoundLimit | None, int | None]:
    """Return the limit at an instant, and until when that is so."""
    entitled = customer.entitled(key.resource, key.feature, at_ms)
    entitlement = entitled.entitlement
    if entitlement is None or not entitlement.enabled or entitled.is_refused:
        return None, None
    for limit in entitlement.limits:
        if limit.id == key.limit_id and _is_leased(limit):
            bounds = ROLLING_BOUNDS
            if limit.window.length_ms is None:
                bounds = window_bounds(limit.window, at_ms, entitled.anchor_ms)
            found = _limit_in(limit, bounds, key)
            return found, entitled.changes_at_ms
    return None, None


def _is_leased(limit: Limit) -> bool:
    """Whether a sidecar spends of it by leases; sessions are decided from totals."""
    is_session = limit.window.kind is WindowKind.SESSION
    return limit.kind is LimitKind.HARD and limit.limit is not None and not is_session


def _limit_in(limit: Limit, bounds: WindowBounds, key: PoolKey) -> FoundLimit | None:
    if limit.limit is None or bounds.start_ms != key.window_start_ms:
        return None
    place = TotalPlace(
        key.customer, key.resource, key.feature, limit.window.key, key.window_start_ms
    )
    is_rolling = limit.window.kind is WindowKind.ROLLING
    return FoundLimit(place, limit.limit, bounds.end_ms, limit.window if is_rolling else None)
