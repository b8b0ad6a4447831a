"""What an answer may say of how far limits are passed, on all sidecars together."""

from __future__ import annotations

from typing import Final

from sidecar.core.decided import Decided
from sidecar.core.holding import is_leased
from weighbridge.rules.catalog import LimitKind, OutageKind
from weighbridge.rules.lease import LostLease

_NEVER_PAST_LEASES: Final = (OutageKind.LEASED, OutageKind.DENY)


def max_overshoot(decided: Decided) -> int | None:
    """Return how many units past its hard limits may be admitted anywhere; None: unknown.

    0 where no unit is spent before it is leased, whatever fails. Where totals decide, or may in an
    outage, it depends on how many sidecars there are and what is in flight between them, which none
    of them knows.
    """
    feature = decided.feature
    if (
        feature is None
        or not feature.is_leased
        or feature.outage.kind not in _NEVER_PAST_LEASES
        or feature.lost_lease is LostLease.RELEASE
    ):
        return None
    bound: int | None = None
    for state in decided.states:
        if state.limit.kind is LimitKind.HARD and state.limit.limit is not None:
            if not is_leased(state):
                return None
            bound = 0
    return bound
