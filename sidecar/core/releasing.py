"""Which calls give units of an allocation back."""

from __future__ import annotations

from sidecar.core.request import Request
from weighbridge.rules.catalog import Feature
from weighbridge.rules.errors import InvalidArgumentError


def is_release(request: Request, feature: Feature) -> bool:
    """Whether units are given back. Raises InvalidArgumentError where the feature has none."""
    if request.units >= 0:
        return False
    if not feature.is_allocation:
        raise not_releasable(feature, request.units)
    return True


def not_releasable(feature: Feature, amount: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        "amount",
        f"{amount} is negative, and {feature.id!r} is no allocation feature, of which units are "
        "released",
    )
