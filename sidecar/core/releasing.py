"""Which calls give units of an allocation back."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.holding import Owned
from sidecar.core.leases import Leases, Pool
from sidecar.core.request import Request
from weighbridge.rules.catalog import Feature, LimitKind
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.lease import PoolKey


def is_release(request: Request, feature: Feature) -> bool:
    """Whether units are given back. Raises InvalidArgumentError where the feature has none."""
    if request.units >= 0:
        return False
    if not feature.is_allocation:
        raise not_releasable(feature, request.units)
    return True


def pools_of(leases: Leases, owned: Sequence[Owned]) -> list[Pool]:
    """Return the pools of hard limits that a release gives units back to, as far as known here."""
    pools = []
    for customer, (resource, feature), states, basis in owned:
        for state in states:
            limit, bounds = state.limit, state.bounds
            if limit.kind is not LimitKind.HARD or bounds is None:
                continue
            pool = leases.find(PoolKey(customer, resource, feature, limit.id, bounds.start_ms))
            if pool is not None and pool.basis == basis:
                pools.append(pool)
    return pools


def not_releasable(feature: Feature, amount: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        "amount",
        f"{amount} is negative, and {feature.id!r} is no allocation feature, of which units are "
        "released",
    )
