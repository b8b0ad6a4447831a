"""Which calls give units of an allocation back."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.holding import Owned
from sidecar.core.leases import Leases, Take
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


def given_back(leases: Leases, owned: Sequence[Owned], units: int) -> list[Take]:
    """Return what a release gives back to pools of hard limits, as far as they are known here."""
    takes = []
    for customer, (resource, feature), states, basis in owned:
        for state in states:
            limit, bounds = state.limit, state.bounds
            if limit.kind is not LimitKind.HARD or bounds is None:
                continue
            pool = leases.find(PoolKey(customer, resource, feature, limit.id, bounds.start_ms))
            if pool is not None and pool.basis == basis:
                takes.append(Take(pool, units))
    return takes


def not_releasable(feature: Feature, amount: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        "amount",
        f"{amount} is negative, and {feature.id!r} is no allocation feature, of which units are "
        "released",
    )
